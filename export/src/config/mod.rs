//! A model's configuration, from `config.json` in the form of transformers or of Microsoft's repositories.

mod check;
mod grid;

use florence2_layout::files::CONFIG;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
pub(crate) use grid::Grid;

/// The setting `model_type` of Florence-2.
const MODEL_TYPE: &str = "florence2";

/// The configuration of a model.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct ModelConfig {
    /// Vision tower (DaViT) and projector.
    pub vision_config: VisionConfig,
    /// The language model (BART).
    pub text_config: TextConfig,
    /// Whether the output projection shares the embedding matrix.
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
}

/// The configuration of the vision encoder: DaViT, positional embeddings, pooling and projection to BART's width.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct VisionConfig {
    /// The number of color channels of an image.
    #[serde(default = "defaults::in_channels")]
    pub in_channels: usize,
    /// Channels of each stage.
    pub embed_dim: Vec<usize>,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Heads of each stage's window attention.
    pub num_heads: Vec<usize>,
    /// Groups of each stage's channel attention.
    pub num_groups: Vec<usize>,
    /// Kernel of each stage's convolution.
    #[serde(default = "defaults::patch_size")]
    pub patch_size: Vec<usize>,
    /// Stride of each stage's convolution.
    #[serde(default = "defaults::patch_stride")]
    pub patch_stride: Vec<usize>,
    /// Padding of each stage's convolution.
    #[serde(default = "defaults::patch_padding")]
    pub patch_padding: Vec<usize>,
    /// Whether a stage's layer norm precedes its convolution (otherwise it follows).
    #[serde(default = "defaults::patch_prenorm")]
    pub patch_prenorm: Vec<bool>,
    /// Side of the attention windows, in tokens.
    #[serde(default = "defaults::window_size")]
    pub window_size: usize,
    /// Ratio of the MLPs' hidden width to their input width.
    #[serde(default = "defaults::mlp_ratio")]
    pub mlp_ratio: f64,
    /// Whether the query, key and value projections have a bias.
    #[serde(default = "yes")]
    pub qkv_bias: bool,
    /// The name of the MLPs' activation function, as `gelu`.
    #[serde(default = "defaults::activation_function")]
    pub activation_function: String,
    /// The width of the image features, which is the text model's `d_model`.
    pub projection_dim: usize,
    /// The parts of the image features, in order; only in Microsoft's form.
    #[serde(default = "defaults::image_feature_source")]
    pub image_feature_source: Vec<ImageFeatureSource>,
    /// Rows of each of the two tables of learned positions: the largest grid, in tokens.
    #[serde(default = "defaults::max_positions")]
    pub max_position_embeddings: usize,
    /// Rows of the table of temporal positions; an image uses only the first row.
    #[serde(default = "defaults::max_frames")]
    pub max_temporal_embeddings: usize,
}

/// A part of the image features. For a single image, the average over frames and the last frame are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ImageFeatureSource {
    /// The mean of all tokens.
    SpatialAvgPool,
    /// All tokens.
    TemporalAvgPool,
    /// All tokens.
    LastFrame,
}

/// The configuration of BART.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct TextConfig {
    /// The number of tokens, rows of the embedding matrix.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub d_model: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Heads of the encoder's attention.
    pub encoder_attention_heads: usize,
    /// Heads of the decoder's attention.
    pub decoder_attention_heads: usize,
    /// Hidden width of the encoder's MLPs.
    pub encoder_ffn_dim: usize,
    /// Hidden width of the decoder's MLPs.
    pub decoder_ffn_dim: usize,
    /// Longest sequence, in tokens.
    #[serde(default = "defaults::max_position_embeddings")]
    pub max_position_embeddings: usize,
    /// The name of the MLPs' activation function, as `gelu`.
    #[serde(default = "defaults::activation_function")]
    pub activation_function: String,
    /// Whether embeddings are multiplied by √d_model.
    #[serde(default)]
    pub scale_embedding: bool,
}

fn yes() -> bool {
    true
}

/// The defaults of transformers' configuration classes.
mod defaults {
    use super::ImageFeatureSource;

    pub(super) fn in_channels() -> usize {
        3
    }
    pub(super) fn patch_size() -> Vec<usize> {
        vec![7, 3, 3, 3]
    }
    pub(super) fn patch_stride() -> Vec<usize> {
        vec![4, 2, 2, 2]
    }
    pub(super) fn patch_padding() -> Vec<usize> {
        vec![3, 1, 1, 1]
    }
    pub(super) fn patch_prenorm() -> Vec<bool> {
        vec![false, true, true, true]
    }
    pub(super) fn window_size() -> usize {
        12
    }
    pub(super) fn mlp_ratio() -> f64 {
        4.0
    }
    pub(super) fn activation_function() -> String {
        "gelu".into()
    }
    pub(super) fn max_positions() -> usize {
        50
    }
    pub(super) fn max_frames() -> usize {
        100
    }
    pub(super) fn max_position_embeddings() -> usize {
        1024
    }
    pub(super) fn image_feature_source() -> Vec<ImageFeatureSource> {
        vec![
            ImageFeatureSource::SpatialAvgPool,
            ImageFeatureSource::TemporalAvgPool,
        ]
    }
}

impl ModelConfig {
    /// Parses a `config.json` and checks that it is consistent.
    ///
    /// # Errors
    /// [`Error::Json`] if a setting is missing or has the wrong type, [`Error::Architecture`] if that is since the
    /// configuration is another model's, [`Error::Config`] if settings are inconsistent.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let mut json: Value = serde_json::from_slice(json).map_err(Error::json(CONFIG))?;
        if let Some(vision) = json.get_mut("vision_config") {
            rename_microsoft(vision);
        }
        let other = json.get("model_type").and_then(Value::as_str);
        let other = other
            .filter(|model_type| *model_type != MODEL_TYPE)
            .map(str::to_owned);
        let config: ModelConfig = serde_json::from_value(json).map_err(|source| match other {
            Some(model_type) => Error::Architecture { model_type },
            None => Error::json(CONFIG)(source),
        })?;
        config.vision_config.check()?;
        config.text_config.check()?;
        let (features, embeddings) = (config.vision_config.projection_dim, config.text_config.d_model);
        check::check("vision_config.projection_dim", features == embeddings, || {
            format!(
                "{features} differs from text_config.d_model, {embeddings}: image features and token embeddings share \
                 one sequence"
            )
        })?;
        Ok(config)
    }
}

/// Paths of settings in Microsoft's form of `vision_config`, and their keys in transformers' form. Converted checkpoints may
/// have both; the value of transformers' key is used then.
const MICROSOFT_SETTINGS: [(&str, &str); 4] = [
    ("/dim_embed", "embed_dim"),
    ("/in_chans", "in_channels"),
    ("/image_pos_embed/max_pos_embeddings", "max_position_embeddings"),
    (
        "/visual_temporal_embedding/max_temporal_embeddings",
        "max_temporal_embeddings",
    ),
];

fn rename_microsoft(vision: &mut Value) {
    for (path, key) in MICROSOFT_SETTINGS {
        let Some(value) = vision.pointer(path).cloned() else {
            continue;
        };
        if let Value::Object(settings) = vision {
            settings.entry(key).or_insert(value);
        }
    }
}

impl VisionConfig {
    /// Returns the hidden width of a stage's MLPs.
    pub fn mlp_dim(&self, embed_dim: usize) -> usize {
        (embed_dim as f64 * self.mlp_ratio) as usize
    }

    /// Returns the pixels per token along each axis: the product of the strides.
    pub fn total_stride(&self) -> usize {
        let strides = self.patch_stride.iter();
        strides.fold(1, |product, &stride| product.saturating_mul(stride))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(vision: Value) -> Result<ModelConfig> {
        let json = json!({
            "vision_config": vision,
            "text_config": {
                "vocab_size": 51289, "d_model": 768, "encoder_layers": 6, "decoder_layers": 6,
                "encoder_attention_heads": 12, "decoder_attention_heads": 12,
                "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072,
            },
        });
        ModelConfig::from_json(json.to_string().as_bytes())
    }

    fn microsoft() -> Value {
        json!({
            "model_type": "davit", "drop_path_rate": 0.1, "patch_size": [7, 3, 3, 3],
            "patch_stride": [4, 2, 2, 2], "patch_padding": [3, 1, 1, 1],
            "patch_prenorm": [false, true, true, true], "enable_checkpoint": false,
            "dim_embed": [128, 256, 512, 1024], "num_heads": [4, 8, 16, 32], "num_groups": [4, 8, 16, 32],
            "depths": [1, 1, 9, 1], "window_size": 12, "projection_dim": 768,
            "visual_temporal_embedding": { "type": "COSINE", "max_temporal_embeddings": 90 },
            "image_pos_embed": { "type": "learned_abs_2d", "max_pos_embeddings": 40 },
            "image_feature_source": ["temporal_avg_pool", "spatial_avg_pool"],
        })
    }

    #[test]
    fn microsofts_form_is_parsed() {
        let vision = config(microsoft()).unwrap().vision_config;
        assert_eq!(vision.embed_dim, [128, 256, 512, 1024]);
        assert_eq!(
            (vision.max_position_embeddings, vision.max_temporal_embeddings),
            (40, 90)
        );
        let sources = [
            ImageFeatureSource::TemporalAvgPool,
            ImageFeatureSource::SpatialAvgPool,
        ];
        assert_eq!(vision.image_feature_source, sources);
        assert_eq!(vision.total_stride(), 32);
    }

    #[test]
    fn transformers_form_has_priority_in_a_mixture() {
        let mut mixed = microsoft();
        mixed["embed_dim"] = json!([64, 128, 256, 512]);
        mixed["max_position_embeddings"] = json!(50);
        let vision = config(mixed).unwrap().vision_config;
        assert_eq!(vision.embed_dim, [64, 128, 256, 512]);
        assert_eq!(vision.max_position_embeddings, 50);
    }

    #[test]
    fn an_unknown_feature_source_is_an_error() {
        let mut unknown = microsoft();
        unknown["image_feature_source"] = json!(["middle_frame"]);
        assert!(matches!(config(unknown), Err(Error::Json { .. })));
    }

    #[test]
    fn huge_strides_fit_no_image() {
        let mut vision = microsoft();
        vision["patch_stride"] = json!([1 << 20, 1 << 20, 1 << 20, 1 << 20]);
        let vision = config(vision).unwrap().vision_config;
        let image = florence2_layout::image_size::ImageSize::PUBLISHED;
        assert!(matches!(vision.grid(image), Err(Error::ImageSize { .. })));
    }
}
