//! Translation between the two naming schemes of Florence-2's weights.
//!
//! This crate uses native names: those of `Florence2ForConditionalGeneration.state_dict()` in transformers. Microsoft's
//! original names are translated by two tables: of prefixes, and of parts of names in the vision tower.

/// The projection of the image features, stored as `[in, out]` by Microsoft and as `[out, in]` natively.
pub(crate) const IMAGE_PROJECTION: &str = "model.multi_modal_projector.image_projection.weight";

/// Prefixes of names: (Microsoft's, native).
const PREFIXES: [(&str, &str); 8] = [
    ("vision_tower.", "model.vision_tower."),
    ("image_projection", IMAGE_PROJECTION),
    ("image_proj_norm.", "model.multi_modal_projector.image_proj_norm."),
    (
        "image_pos_embed.",
        "model.multi_modal_projector.image_position_embed.",
    ),
    (
        "visual_temporal_embed.",
        "model.multi_modal_projector.visual_temporal_embed.",
    ),
    ("language_model.model.", "model.language_model."),
    ("language_model.lm_head.", "lm_head."),
    ("language_model.final_logits_bias", "final_logits_bias"),
];

/// Parts of names in the vision tower: (Microsoft's, native). A native part that occurs in the translation of another one
/// must precede that one.
const VISION_PARTS: [(&str, &str); 8] = [
    (".window_attn.fn.", ".window_attn."),
    (".channel_attn.fn.", ".channel_attn."),
    (".ffn.fn.net.", ".ffn."),
    (".conv1.fn.dw.", ".conv1."),
    (".conv2.fn.dw.", ".conv2."),
    (".spatial_block.window_attn.norm.", ".spatial_block.norm1."),
    (".channel_block.channel_attn.norm.", ".channel_block.norm1."),
    (".ffn.norm.", ".norm2."),
];

/// The convolution of a stage's patch embedding in names with `.convs.`: (Microsoft's, native).
const PATCH_CONVOLUTION: (&str, &str) = (".proj.", ".conv.");

/// Prefixes of all names of a model that was saved within a PEFT model.
const PEFT_PREFIX: &str = "base_model.model.";
/// Modules that wrappers put around others: `DistributedDataParallel`, `torch.compile`, FSDP and activation checkpointing.
const WRAPPERS: [&str; 4] = [
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
];

/// Returns the name of a weight without the names of wrappers; `None` if it has none.
pub(crate) fn unwrapped(name: &str) -> Option<String> {
    let parts = name.split('.').filter(|part| !WRAPPERS.contains(part));
    let kept = parts.collect::<Vec<_>>().join(".");
    let inner = kept.strip_prefix(PEFT_PREFIX).unwrap_or(&kept);
    (inner != name).then(|| inner.to_owned())
}

/// Returns whether the weight `native` is stored, as `stored`, as the transpose of what transformers has.
pub(crate) fn is_transposed(native: &str, stored: &str) -> bool {
    native == IMAGE_PROJECTION && stored != native
}

/// Returns the native name of a weight with this Microsoft name; `None` if it is not a Microsoft name.
pub(crate) fn native(microsoft: &str) -> Option<String> {
    let (from, to) = PREFIXES.iter().find(|(from, _)| microsoft.starts_with(from))?;
    let mut name = microsoft.replacen(from, to, 1);
    if *from == "vision_tower." {
        for (from, to) in VISION_PARTS {
            name = name.replace(from, to);
        }
        if name.contains(".convs.") {
            name = name.replace(PATCH_CONVOLUTION.0, PATCH_CONVOLUTION.1);
        }
    }
    Some(name)
}

/// Returns Microsoft's name of a weight with this native name; `None` if it is not a native name.
pub(crate) fn microsoft(native: &str) -> Option<String> {
    let (to, from) = PREFIXES.iter().find(|(_, from)| native.starts_with(from))?;
    let mut name = native.replacen(from, to, 1);
    if *to == "vision_tower." {
        if name.contains(".convs.") {
            name = name.replace(PATCH_CONVOLUTION.1, PATCH_CONVOLUTION.0);
        }
        for (to, from) in VISION_PARTS {
            name = name.replace(from, to);
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of transformers' conversion of the original checkpoints.
    const PAIRS: [(&str, &str); 15] = [
        (
            "vision_tower.convs.0.proj.weight",
            "model.vision_tower.convs.0.conv.weight",
        ),
        (
            "vision_tower.convs.3.norm.bias",
            "model.vision_tower.convs.3.norm.bias",
        ),
        (
            "vision_tower.blocks.2.8.spatial_block.conv1.fn.dw.weight",
            "model.vision_tower.blocks.2.8.spatial_block.conv1.weight",
        ),
        (
            "vision_tower.blocks.0.0.spatial_block.window_attn.norm.weight",
            "model.vision_tower.blocks.0.0.spatial_block.norm1.weight",
        ),
        (
            "vision_tower.blocks.0.0.spatial_block.window_attn.fn.qkv.bias",
            "model.vision_tower.blocks.0.0.spatial_block.window_attn.qkv.bias",
        ),
        (
            "vision_tower.blocks.0.0.spatial_block.window_attn.fn.proj.weight",
            "model.vision_tower.blocks.0.0.spatial_block.window_attn.proj.weight",
        ),
        (
            "vision_tower.blocks.1.0.channel_block.channel_attn.norm.bias",
            "model.vision_tower.blocks.1.0.channel_block.norm1.bias",
        ),
        (
            "vision_tower.blocks.1.0.channel_block.channel_attn.fn.proj.bias",
            "model.vision_tower.blocks.1.0.channel_block.channel_attn.proj.bias",
        ),
        (
            "vision_tower.blocks.1.0.channel_block.ffn.norm.weight",
            "model.vision_tower.blocks.1.0.channel_block.norm2.weight",
        ),
        (
            "vision_tower.blocks.1.0.channel_block.ffn.fn.net.fc2.weight",
            "model.vision_tower.blocks.1.0.channel_block.ffn.fc2.weight",
        ),
        ("image_projection", IMAGE_PROJECTION),
        (
            "image_pos_embed.row_embeddings.weight",
            "model.multi_modal_projector.image_position_embed.row_embeddings.weight",
        ),
        (
            "visual_temporal_embed.pos_idx_to_embed",
            "model.multi_modal_projector.visual_temporal_embed.pos_idx_to_embed",
        ),
        (
            "language_model.model.decoder.layers.0.fc1.weight",
            "model.language_model.decoder.layers.0.fc1.weight",
        ),
        ("language_model.lm_head.weight", "lm_head.weight"),
    ];

    #[test]
    fn names_are_translated_both_ways() {
        for (original, converted) in PAIRS {
            assert_eq!(native(original).as_deref(), Some(converted));
            assert_eq!(microsoft(converted).as_deref(), Some(original));
        }
        assert_eq!(native("optimizer.state"), None);
    }

    #[test]
    fn names_of_wrappers_are_removed() {
        for wrapped in [
            "module.lm_head.weight",
            "_orig_mod.lm_head.weight",
            "base_model.model.lm_head.weight",
            "module._orig_mod.base_model.model.lm_head.weight",
            "base_model.model.module.lm_head._orig_mod.weight",
        ] {
            assert_eq!(unwrapped(wrapped).as_deref(), Some("lm_head.weight"), "{wrapped}");
        }
        for (_, converted) in PAIRS {
            assert_eq!(unwrapped(converted), None);
        }
    }
}
