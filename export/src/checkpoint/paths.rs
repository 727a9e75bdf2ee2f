//! Paths of modules and shared weights in the checkpoint.

/// DaViT, the vision encoder.
pub(crate) const VISION_TOWER: &str = "model.vision_tower";
/// The projection to the text side's width.
pub(crate) const PROJECTOR: &str = "model.multi_modal_projector";
/// BART's encoder.
pub(crate) const ENCODER: &str = "model.language_model.encoder";
/// BART's decoder.
pub(crate) const DECODER: &str = "model.language_model.decoder";

/// The names under which a checkpoint may keep the embedding matrix.
pub(crate) const EMBEDDINGS: [&str; 3] = [
    "model.language_model.shared.weight",
    "model.language_model.encoder.embed_tokens.weight",
    "model.language_model.decoder.embed_tokens.weight",
];
/// The output projection, which is tied to the embedding matrix unless the checkpoint has another.
pub(crate) const OUTPUT_PROJECTION: &str = "lm_head.weight";
