//! Paths of modules in the checkpoint.

/// DaViT, the vision encoder.
pub(crate) const VISION_TOWER: &str = "model.vision_tower";
/// The projection to the text side's width.
pub(crate) const PROJECTOR: &str = "model.multi_modal_projector";
/// BART's encoder.
pub(crate) const ENCODER: &str = "model.language_model.encoder";
/// BART's decoder.
pub(crate) const DECODER: &str = "model.language_model.decoder";
