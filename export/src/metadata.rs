//! The `metadata_props` of a graph's file.

use florence2_layout::dtypes::Dtype;
use florence2_layout::graphs::{
    CACHES_ON_DEVICE, GraphFile, MIXED_Q4, ModelPart, PRECISION, SHARED_ENCODER_ROW,
};
use florence2_layout::image_size::ImageSize;

use crate::config::ModelConfig;
use crate::options::ExportOptions;
use crate::target::Target;

/// Returns keys and values in the order in which they are written.
pub(crate) fn metadata(
    config: &ModelConfig,
    file: GraphFile,
    options: &ExportOptions,
    image_size: ImageSize,
) -> Vec<(String, String)> {
    let (text, vision) = (&config.text_config, &config.vision_config);
    let name = options
        .model_name
        .as_deref()
        .unwrap_or_else(|| published_name(config));
    let exporter = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let facts = [
        ("model", name.to_owned()),
        ("graph", file.name().to_owned()),
        ("target", options.target.name().to_owned()),
        (
            "image_size",
            format!("{}x{}", image_size.height, image_size.width),
        ),
        ("vision_depths", format!("{:?}", vision.depths)),
        ("vision_dims", format!("{:?}", vision.embed_dim)),
        ("d_model", text.d_model.to_string()),
        ("vocab_size", text.vocab_size.to_string()),
        ("encoder_layers", text.encoder_layers.to_string()),
        ("decoder_layers", text.decoder_layers.to_string()),
        (
            "encoder_attention_heads",
            text.encoder_attention_heads.to_string(),
        ),
        (
            "decoder_attention_heads",
            text.decoder_attention_heads.to_string(),
        ),
        ("exporter", exporter.to_owned()),
    ]
    .map(|(key, value)| (format!("florence2.{key}"), value));
    let is_fused = options.target != Target::Plain;
    let precision = if is_fused && options.dtype == Dtype::Q4 {
        MIXED_Q4
    } else {
        options.dtype.name()
    };
    let flag = match file.part() {
        ModelPart::Decoder if !is_fused => Some(SHARED_ENCODER_ROW),
        ModelPart::Decoder => (options.target == Target::Cuda).then_some(CACHES_ON_DEVICE),
        ModelPart::Vision | ModelPart::Text => None,
    };
    let mut metadata = facts.to_vec();
    metadata.push((PRECISION.to_owned(), precision.to_owned()));
    metadata.extend(flag.map(|key| (key.to_owned(), "true".to_owned())));
    metadata
}

/// Returns the name of the published model with these dimensions. (The folder's name is not used: the same weights
/// must give the same bytes in every folder.)
fn published_name(config: &ModelConfig) -> &'static str {
    let text = &config.text_config;
    match (text.d_model, text.encoder_layers, text.decoder_layers) {
        (768, 6, 6) => "Florence-2-base",
        (1024, 12, 12) => "Florence-2-large",
        _ => "Florence-2",
    }
}
