//! The files of a repository that a model needs.

use std::collections::{BTreeMap, BTreeSet};

use florence2_layout::files::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS_FILES, CONFIG, NAMES, SETTINGS_FILES, TOKENIZER_FILES, WEIGHTS_FILES,
};
use florence2_layout::graphs::is_external_data;

use crate::bundle::{BundleSource, Bytes, DeploymentNames, DtypePreference, GraphLayout};
use crate::error::{Error, Result};

/// The files of a repository to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    /// Configuration and graphs with their weights, or configuration and a checkpoint's weights, of which safetensors are
    /// preferred. For sharded weights, only the index, which names the shards.
    pub(super) files: Vec<String>,
    /// Decoder graphs to fall back to if ONNX Runtime rejects those among the files.
    pub(super) alternatives: Vec<String>,
    /// Whether the files are a checkpoint, to be exported.
    pub(super) is_checkpoint: bool,
}

/// What to fetch of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A model to load: graphs, or a checkpoint without graphs.
    Model,
    /// A checkpoint, whether or not there are graphs.
    Checkpoint,
    /// A PEFT adapter.
    Adapter,
}

/// Selects the files of an adapter.
///
/// # Errors
/// [`Error::NoAdapter`] if there is none.
pub(super) fn select_adapter(name: &str, paths: &[String]) -> Result<Selection> {
    let listed = |file: &&str| paths.iter().any(|path| path == file);
    let weights = ADAPTER_WEIGHTS_FILES.into_iter().find(listed);
    let config = Some(ADAPTER_CONFIG).filter(listed);
    let (Some(config), Some(weights)) = (config, weights) else {
        return Err(Error::NoAdapter {
            model: name.to_owned(),
        });
    };
    Ok(Selection {
        files: vec![config.to_owned(), weights.to_owned()],
        alternatives: Vec::new(),
        is_checkpoint: false,
    })
}

/// Selects files of a repository by the rules of loading. `name` is the repository in errors; `plain` prefers a
/// decoder of the plain layout.
///
/// # Errors
/// [`Error::InvalidBundle`] if there is neither a complete set of graphs nor a checkpoint.
pub(super) fn select(
    name: &str,
    paths: &[String],
    dtypes: &DtypePreference,
    plain: bool,
    names: DeploymentNames,
    form: Form,
) -> Result<Selection> {
    let listed: BTreeMap<String, Bytes> = paths
        .iter()
        .map(|path| (path.clone(), Bytes::default()))
        .collect();
    let source = BundleSource::Memory {
        name: name.to_owned(),
        files: listed,
    };
    let layout = GraphLayout::find_with(&source, dtypes.clone(), names);
    let has = |path: &str| paths.iter().any(|listed| listed == path);
    let settings: BTreeSet<String> = [CONFIG, NAMES]
        .into_iter()
        .chain(SETTINGS_FILES)
        .chain(TOKENIZER_FILES)
        .flat_map(|file| [file.to_owned(), format!("{}{file}", layout.prefix)])
        .filter(|file| has(file))
        .collect();
    let mut files: Vec<String> = settings.into_iter().collect();
    if let Some(kind) = layout.kind_for(plain).filter(|_| form == Form::Model) {
        let with_data = |graph: &String| {
            let data = paths.iter().filter(|path| is_external_data(path, graph)).cloned();
            [graph.clone()].into_iter().chain(data).collect::<Vec<_>>()
        };
        files.extend(layout.needed(kind).iter().flat_map(&with_data));
        let mut alternatives: Vec<String> = layout.alternatives(kind).iter().flat_map(with_data).collect();
        alternatives.retain(|file| !files.contains(file));
        return Ok(Selection {
            files,
            alternatives,
            is_checkpoint: false,
        });
    }
    let weights = WEIGHTS_FILES.into_iter().find(|file| has(file));
    let Some(weights) = weights.filter(|_| has(CONFIG)) else {
        let missing = layout.missing();
        return Err(if layout.excludes_dtypes() {
            layout.incomplete(&source, missing)
        } else {
            Error::NoGraphs {
                model: name.to_owned(),
                missing,
            }
        });
    };
    files.push(weights.to_owned());
    Ok(Selection {
        files,
        alternatives: Vec::new(),
        is_checkpoint: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Dtype;
    use crate::per_part::PerPart;

    /// A deployment with the usual dtypes and decoders.
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
        select(
            "org/name",
            files,
            &preference(dtypes),
            false,
            DeploymentNames::default(),
            Form::Model,
        )
        .unwrap()
    }

    #[test]
    fn one_dtype_and_one_decoder_of_a_deployment_are_selected_with_their_data() {
        let Selection {
            files,
            alternatives,
            is_checkpoint,
        } = selected(&deployment(), "");
        assert!(!is_checkpoint);
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
        let files = selected(&deployment(), "q4,vision=fp16").files;
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
    fn the_layout_that_suits_the_device_is_selected() {
        let mut files = deployment();
        files.extend(["text_encoder", "decoder_step"].map(|graph| format!("onnx/{graph}.onnx")));
        for (plain, decoder) in [
            (false, "onnx/decoder_step.onnx"),
            (true, "onnx/decoder_model_merged.onnx"),
        ] {
            let selection = select(
                "org/name",
                &files,
                &DtypePreference::default(),
                plain,
                DeploymentNames::default(),
                Form::Model,
            )
            .unwrap();
            let decoders: Vec<&String> = selection
                .files
                .iter()
                .filter(|file| file.contains("decoder"))
                .collect();
            assert_eq!(decoders, [decoder]);
            assert_eq!(
                selection
                    .alternatives
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
            let files = selected(&files, dtypes).files;
            let mut wanted = vec!["config.json".to_owned()];
            wanted.extend(graphs.map(|graph| format!("base-{graph}{suffix}.onnx")));
            if let Some(data) = data {
                wanted.insert(2, data.to_owned());
            }
            assert_eq!(files, wanted);
        }
    }

    #[test]
    fn a_checkpoint_is_selected_without_graphs() {
        let files = [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
        ]
        .map(str::to_owned);
        let checkpoint = selected(&files, "");
        assert_eq!(
            checkpoint.files,
            ["config.json", "tokenizer.json", "model.safetensors"]
        );
        assert!(checkpoint.is_checkpoint);

        for weights in [
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ] {
            let files = ["config.json", weights].map(str::to_owned);
            assert_eq!(selected(&files, "").files, files);
        }

        let files = ["config.json", "tf_model.h5"].map(str::to_owned);
        let error = select(
            "org/name",
            &files,
            &DtypePreference::default(),
            false,
            DeploymentNames::default(),
            Form::Model,
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("org/name") && error.contains("model.safetensors"),
            "{error}"
        );
        let error = select(
            "org/name",
            &deployment(),
            &preference("int8"),
            false,
            DeploymentNames::default(),
            Form::Model,
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("vision_encoder_int8.onnx"), "{error}");
    }
}
