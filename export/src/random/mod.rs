//! Checkpoints of real size with random weights, for benchmarks and tests.

mod values;

use std::collections::HashMap;
use std::path::Path;

use florence2_layout::dtypes::Dtype;
use florence2_layout::files::{CONFIG, GENERATION_CONFIG, WEIGHTS};
use florence2_layout::graphs::GraphFile;
use florence2_layout::image_size::ImageSize;
use florence2_layout::setters;
use serde_json::{Value, json};

use crate::atomic_file::AtomicFile;
use crate::bundle::{pretty, published_generation_config};
use crate::checkpoint::Weights;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::{self, Recipe};
use crate::smoothing::Smoothing;
use crate::target::Target;
use crate::weight_dtypes::WeightDtypes;
use values::{RandomTensor, Values};

/// The name of the table of temporal positions, which is a constant of the model.
const TEMPORAL_POSITIONS: &str = "model.multi_modal_projector.visual_temporal_embed.pos_idx_to_embed";

/// The published model whose dimensions a random checkpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RandomSize {
    /// Florence-2-base: 0.23 billion parameters.
    #[default]
    Base,
    /// Florence-2-large: 0.77 billion parameters.
    Large,
}

/// Options of [`random_checkpoint`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RandomOptions {
    /// The number and width of the layers.
    pub size: RandomSize,
    /// The seed; the same seed gives the same bytes on every machine.
    pub seed: u64,
    /// Whether weights are stored as f16 (otherwise as f32).
    pub half_precision: bool,
}

setters! { RandomOptions {
    with_size(size: RandomSize);
    with_seed(seed: u64);
    with_half_precision(half_precision: bool);
}}

/// Writes `config.json`, `generation_config.json` and `model.safetensors` (native names) into `folder`, which is created if
/// needed. At most one tensor is in memory at a time.
///
/// The distribution of the weights makes answers depend on image and prompt, and separates the best tokens from the others.
///
/// # Errors
/// [`Error::Write`] if a file cannot be written.
pub fn random_checkpoint(folder: impl AsRef<Path>, options: &RandomOptions) -> Result<()> {
    write_checkpoint(folder.as_ref(), &config(options), options)
}

fn write_checkpoint(folder: &Path, json: &Value, options: &RandomOptions) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::write(folder))?;
    let config = ModelConfig::from_json(json.to_string().as_bytes())?;
    AtomicFile::write(&folder.join(CONFIG), &pretty(json.clone()))?;
    AtomicFile::write(
        &folder.join(GENERATION_CONFIG),
        &pretty(published_generation_config()),
    )?;

    let tensor = |shape, values| RandomTensor {
        shape,
        values,
        half_precision: options.half_precision,
    };
    let mut tensors: Vec<(String, RandomTensor)> = Vec::new();
    for (name, shape) in planned_weights(&config)? {
        let values = Values::of(&name, &shape, options.seed);
        tensors.push((name, tensor(shape, values)));
    }
    let vision = &config.vision_config;
    let dim = vision.embed_dim.last().copied().unwrap_or_default();
    let temporal = tensor(
        vec![vision.max_temporal_embeddings, dim],
        Values::Sinusoids { dim },
    );
    tensors.push((TEMPORAL_POSITIONS.to_owned(), temporal));

    let path = folder.join(WEIGHTS);
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let failed = Error::write(&path);
    safetensors::serialize_to_file(tensors, Some(metadata), &path)
        .map_err(|source| failed(std::io::Error::other(source)))?;
    // The library makes the file readable for its owner only: copy the permissions of another file.
    let permissions = std::fs::metadata(folder.join(CONFIG))
        .map_err(&failed)?
        .permissions();
    std::fs::set_permissions(&path, permissions).map_err(&failed)
}

/// Returns names and shapes of all weights that the graphs use.
fn planned_weights(config: &ModelConfig) -> Result<impl Iterator<Item = (String, Vec<usize>)> + use<>> {
    let weights = Weights::planned();
    let recipe = Recipe {
        target: Target::Plain,
        config,
        image_size: ImageSize::PUBLISHED,
        dtypes: WeightDtypes::new(Dtype::Fp32, &[]),
        smoothing: Smoothing::default(),
        observers: false,
        float16_io: false,
    };
    for file in GraphFile::PLAIN {
        model::build(file, &recipe, &weights)?;
    }
    // Entries without a shape are other names of the embedding matrix.
    Ok(weights.used().into_iter().filter(|(_, shape)| !shape.is_empty()))
}

fn config(options: &RandomOptions) -> Value {
    let (d_model, layers, heads, embed_dim, vision_heads) = match options.size {
        RandomSize::Base => (768, 6, 12, [128, 256, 512, 1024], [4, 8, 16, 32]),
        RandomSize::Large => (1024, 12, 16, [256, 512, 1024, 2048], [8, 16, 32, 64]),
    };
    let dtype = if options.half_precision {
        "float16"
    } else {
        "float32"
    };
    json!({
        "architectures": ["Florence2ForConditionalGeneration"],
        "dtype": dtype,
        "image_token_id": 51289,
        "is_encoder_decoder": true,
        "model_type": "florence2",
        "tie_word_embeddings": true,
        "text_config": {
            "model_type": "bart",
            "activation_function": "gelu",
            "d_model": d_model,
            "encoder_layers": layers,
            "decoder_layers": layers,
            "encoder_attention_heads": heads,
            "decoder_attention_heads": heads,
            "encoder_ffn_dim": 4 * d_model,
            "decoder_ffn_dim": 4 * d_model,
            "max_position_embeddings": 1024,
            "scale_embedding": false,
            "tie_word_embeddings": true,
            "vocab_size": 51290,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": 2,
        },
        "vision_config": {
            "model_type": "florence_vision",
            "activation_function": "gelu",
            "depths": [1, 1, 9, 1],
            "embed_dim": embed_dim,
            "in_channels": 3,
            "max_position_embeddings": 50,
            "max_temporal_embeddings": 100,
            "mlp_ratio": 4.0,
            "num_groups": vision_heads,
            "num_heads": vision_heads,
            "patch_padding": [3, 1, 1, 1],
            "patch_prenorm": [false, true, true, true],
            "patch_size": [7, 3, 3, 3],
            "patch_stride": [4, 2, 2, 2],
            "projection_dim": d_model,
            "qkv_bias": true,
            "window_size": 12,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::export::export;
    use crate::options::ExportOptions;

    /// Returns a configuration of base's form with small dimensions.
    fn small_config(options: &RandomOptions) -> Value {
        let mut json = config(options);
        for (section, key, value) in [
            ("vision_config", "embed_dim", json!([8, 16, 16, 32])),
            ("vision_config", "num_heads", json!([2, 2, 2, 2])),
            ("vision_config", "num_groups", json!([2, 2, 2, 2])),
            ("vision_config", "projection_dim", json!(12)),
            ("text_config", "d_model", json!(12)),
            ("text_config", "vocab_size", json!(50)),
        ] {
            json[section][key] = value;
        }
        json
    }

    #[test]
    fn a_seed_gives_a_complete_and_reproducible_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, options: &RandomOptions| {
            let folder = folder.path().join(name);
            write_checkpoint(&folder, &small_config(options), options).unwrap();
            let checkpoint = Checkpoint::open(&folder).unwrap();
            let report = export(&checkpoint, folder.join("out"), &ExportOptions::default()).unwrap();
            assert!(report.unused_tensors.is_empty());
            std::fs::read(folder.join(WEIGHTS)).unwrap()
        };
        let options = RandomOptions::default().with_seed(3);
        let first = write("first", &options);
        assert_eq!(first, write("again", &options));
        assert_ne!(first, write("other", &options.clone().with_seed(4)));
        let half = write("half", &options.with_half_precision(true));
        assert!(half.len() < first.len() * 3 / 4);
    }

    #[test]
    fn both_sizes_have_the_published_parameter_counts() {
        for (size, billions) in [(RandomSize::Base, 0.23), (RandomSize::Large, 0.77)] {
            let json = config(&RandomOptions::default().with_size(size));
            let config = ModelConfig::from_json(json.to_string().as_bytes()).unwrap();
            let weights = planned_weights(&config).unwrap();
            let parameters: usize = weights.map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert!((parameters as f64 / 1e9 - billions).abs() < 0.01, "{parameters}");
        }
    }
}
