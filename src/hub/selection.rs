//! Which of a repository's files a model needs.

use std::collections::{BTreeMap, BTreeSet};

use florence2_layout::files::{CONFIG, SETTINGS_FILES, TOKENIZER_FILES, WEIGHTS, WEIGHTS_INDEX};
use florence2_layout::graphs::is_external_data;

use crate::bundle::{BundleSource, Bytes, DtypePreference, GraphLayout};
use crate::error::{Error, Result};

/// What a repository offers, and which of its files that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// Graphs, with their weights and the configuration.
    Graphs {
        /// The files.
        files: Vec<String>,
        /// Decoder graphs that would do instead, should ONNX Runtime refuse those among the files.
        alternatives: Vec<String>,
    },
    /// Weights to be exported, and the configuration. Of weights in several files, it is the index that says which.
    Checkpoint {
        /// The files, without those that the index lists.
        files: Vec<String>,
        /// Whether there is an index.
        sharded: bool,
    },
}

impl Selection {
    /// The files; those of the index, if there is one, are not among them.
    pub(super) fn files(&self, with_alternatives: bool) -> Vec<String> {
        match self {
            Selection::Graphs { files, alternatives } if with_alternatives => {
                files.iter().chain(alternatives).cloned().collect()
            }
            Selection::Graphs { files, .. } | Selection::Checkpoint { files, .. } => files.clone(),
        }
    }

    /// Whether it is to be exported.
    pub(super) fn is_checkpoint(&self) -> bool {
        matches!(self, Selection::Checkpoint { .. })
    }

    /// Whether the index of the weights names further files.
    pub(super) fn is_sharded(&self) -> bool {
        matches!(self, Selection::Checkpoint { sharded: true, .. })
    }
}

/// Selects among the files of a repository (`name` in messages), by the rules by which models are loaded; `plain` says
/// whether a decoder of the `plain` layout is wanted, where there is another too.
///
/// # Errors
/// [`Error::InvalidBundle`] if there is neither a whole set of graphs nor a checkpoint.
pub(super) fn select(
    name: &str,
    paths: &[String],
    dtypes: &DtypePreference,
    plain: bool,
) -> Result<Selection> {
    let listed: BTreeMap<String, Bytes> = paths
        .iter()
        .map(|path| (path.clone(), Bytes::default()))
        .collect();
    let source = BundleSource::Memory {
        name: name.to_owned(),
        files: listed,
    };
    let layout = GraphLayout::find_with(&source, dtypes.clone());
    let has = |path: &str| paths.iter().any(|listed| listed == path);
    let settings: Vec<String> = [CONFIG]
        .into_iter()
        .chain(SETTINGS_FILES)
        .chain(TOKENIZER_FILES)
        .flat_map(|file| [file.to_owned(), format!("{}{file}", layout.prefix)])
        .filter(|file| has(file))
        .collect::<BTreeSet<String>>()
        .into_iter()
        .collect();
    if let Some(kind) = layout.kind_for(plain) {
        let with_data = |graph: &String| {
            let data = paths.iter().filter(|path| is_external_data(path, graph)).cloned();
            [graph.clone()].into_iter().chain(data).collect::<Vec<_>>()
        };
        let needed: Vec<String> = layout.needed(kind).iter().flat_map(&with_data).collect();
        let alternatives = layout.alternatives(kind);
        let alternatives = alternatives.iter().flat_map(with_data);
        return Ok(Selection::Graphs {
            alternatives: alternatives.filter(|file| !needed.contains(file)).collect(),
            files: settings.into_iter().chain(needed).collect(),
        });
    }
    let weights = [WEIGHTS, WEIGHTS_INDEX].into_iter().find(|file| has(file));
    match weights.filter(|_| has(CONFIG)) {
        Some(weights) => Ok(Selection::Checkpoint {
            files: settings.into_iter().chain([weights.to_owned()]).collect(),
            sharded: weights == WEIGHTS_INDEX,
        }),
        None => Err(Error::InvalidBundle {
            path: name.into(),
            reason: format!(
                "it has neither graphs ({} missing) nor a checkpoint ({CONFIG} and {WEIGHTS}){}. Name another model, or \
                 another dtype: `florence2 models` lists known models.",
                layout.missing().join(", "),
                layout.offer()
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Dtype;
    use crate::per_part::PerPart;

    /// A deployment with the usual types and decoders.
    fn deployment() -> Vec<String> {
        let mut files: Vec<String> = [
            "README.md",
            "config.json",
            "tokenizer.json",
            "vocab.json",
            "onnx/README.md",
        ]
        .map(str::to_owned)
        .to_vec();
        for graph in [
            "vision_encoder",
            "embed_tokens",
            "encoder_model",
            "decoder_model",
            "decoder_model_merged",
            "decoder_with_past_model",
        ] {
            for dtype in ["", "_fp16", "_q4"] {
                files.push(format!("onnx/{graph}{dtype}.onnx"));
            }
        }
        files.extend([
            "onnx/vision_encoder.onnx_data".to_owned(),
            "onnx/vision_encoder.onnx_data_1".into(),
        ]);
        files
    }

    fn preference(dtypes: &str) -> DtypePreference {
        match dtypes {
            "" => DtypePreference::default(),
            dtypes => dtypes.parse::<PerPart<Dtype>>().unwrap().into(),
        }
    }

    fn selected(files: &[String], dtypes: &str) -> Selection {
        select("org/name", files, &preference(dtypes), false).unwrap()
    }

    #[test]
    fn of_a_deployment_one_type_and_one_decoder_are_taken_with_their_data() {
        let Selection::Graphs { files, alternatives } = selected(&deployment(), "") else {
            panic!("no graphs");
        };
        assert_eq!(
            files,
            [
                "config.json",
                "tokenizer.json",
                "vocab.json",
                "onnx/vision_encoder.onnx",
                "onnx/vision_encoder.onnx_data",
                "onnx/vision_encoder.onnx_data_1",
                "onnx/embed_tokens.onnx",
                "onnx/encoder_model.onnx",
                "onnx/decoder_model_merged.onnx",
            ]
        );
        assert_eq!(
            alternatives,
            ["onnx/decoder_model.onnx", "onnx/decoder_with_past_model.onnx"]
        );
        let Selection::Graphs { files, .. } = selected(&deployment(), "q4,vision=fp16") else {
            panic!("no graphs");
        };
        assert!(
            files.contains(&"onnx/vision_encoder_fp16.onnx".to_owned()),
            "{files:?}"
        );
        assert!(
            files.contains(&"onnx/decoder_model_merged_q4.onnx".to_owned()),
            "{files:?}"
        );
        assert_eq!(files.iter().filter(|file| file.contains("onnx")).count(), 4);
    }

    #[test]
    fn of_two_layouts_the_one_that_suits_the_device_is_taken() {
        let mut files = deployment();
        files.extend(["text_encoder", "decoder_step"].map(|graph| format!("onnx/{graph}.onnx")));
        for (plain, decoder) in [
            (false, "onnx/decoder_step.onnx"),
            (true, "onnx/decoder_model_merged.onnx"),
        ] {
            let selection = select("org/name", &files, &DtypePreference::default(), plain).unwrap();
            let decoders: Vec<String> = selection.files(false);
            let decoders: Vec<&String> = decoders.iter().filter(|file| file.contains("decoder")).collect();
            assert_eq!(decoders, [decoder]);
            assert_eq!(
                selection
                    .files(true)
                    .contains(&"onnx/decoder_model.onnx".to_owned()),
                plain
            );
        }
    }

    #[test]
    fn names_of_older_exports_are_selected_by_dtype() {
        let graphs = ["vision-encoder", "embed-tokens", "encoder", "decoder-merged"];
        let mut files = vec!["config.json".to_owned()];
        for dtype in ["", "-f16"] {
            files.extend(graphs.map(|graph| format!("base-{graph}{dtype}.onnx")));
        }
        files.push("base-vision-encoder.onnx.data".into());
        for (dtypes, suffix, data) in [
            ("", "", Some("base-vision-encoder.onnx.data")),
            ("fp16", "-f16", None),
        ] {
            let Selection::Graphs { files, .. } = selected(&files, dtypes) else {
                panic!("no graphs");
            };
            let mut wanted = vec!["config.json".to_owned()];
            wanted.extend(graphs.map(|graph| format!("base-{graph}{suffix}.onnx")));
            if let Some(data) = data {
                wanted.insert(2, data.to_owned());
            }
            assert_eq!(files, wanted);
        }
    }

    #[test]
    fn checkpoints_are_for_want_of_graphs() {
        let files = [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
        ]
        .map(str::to_owned);
        let Selection::Checkpoint { files, sharded } = selected(&files, "") else {
            panic!("no checkpoint");
        };
        assert_eq!(files, ["config.json", "tokenizer.json", "model.safetensors"]);
        assert!(!sharded);

        let files = ["config.json", "pytorch_model.bin"].map(str::to_owned);
        let error = select("org/name", &files, &DtypePreference::default(), false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("org/name") && error.contains("model.safetensors"),
            "{error}"
        );
        let error = select("org/name", &deployment(), &preference("int8"), false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("vision_encoder_int8.onnx"), "{error}");
    }
}
