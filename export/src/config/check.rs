//! Checks that a configuration is consistent.

use super::{TextConfig, VisionConfig};
use crate::error::{Error, Result};

/// The maximum of any dimension, depth or size: above all real models, and products of a few do not overflow.
const LARGEST: usize = 1 << 20;
/// The maximum number of stages of the vision tower; published models have four.
const MOST_STAGES: usize = 16;

impl VisionConfig {
    pub(super) fn check(&self) -> Result<()> {
        let stages = self.embed_dim.len();
        check(
            "vision_config.embed_dim",
            (1..=MOST_STAGES).contains(&stages),
            || format!("{stages} stages; DaViT has one to sixteen"),
        )?;
        for (key, list) in [
            ("vision_config.embed_dim", &self.embed_dim),
            ("vision_config.depths", &self.depths),
            ("vision_config.num_heads", &self.num_heads),
            ("vision_config.num_groups", &self.num_groups),
            ("vision_config.patch_size", &self.patch_size),
            ("vision_config.patch_stride", &self.patch_stride),
        ] {
            check_length(key, list.len(), stages)?;
            list.iter().try_for_each(|&size| check_range(key, size))?;
        }
        check_length("vision_config.patch_padding", self.patch_padding.len(), stages)?;
        check_length("vision_config.patch_prenorm", self.patch_prenorm.len(), stages)?;
        for (padding, kernel) in self.patch_padding.iter().zip(&self.patch_size) {
            check("vision_config.patch_padding", padding < kernel, || {
                format!("{padding} is not less than the kernel, {kernel}")
            })?;
        }
        for ((&dim, &heads), &groups) in self.embed_dim.iter().zip(&self.num_heads).zip(&self.num_groups) {
            check_divides("vision_config.num_heads", heads, dim)?;
            check_divides("vision_config.num_groups", groups, dim)?;
            check_range("vision_config.mlp_ratio", self.mlp_dim(dim))?;
        }
        check(
            "vision_config.embed_dim",
            self.embed_dim.last() != Some(&1),
            || "the last stage needs a channel each for positions of rows and columns".into(),
        )?;
        for (key, size) in [
            ("vision_config.in_channels", self.in_channels),
            ("vision_config.window_size", self.window_size),
            ("vision_config.projection_dim", self.projection_dim),
            (
                "vision_config.max_position_embeddings",
                self.max_position_embeddings,
            ),
            (
                "vision_config.max_temporal_embeddings",
                self.max_temporal_embeddings,
            ),
        ] {
            check_range(key, size)?;
        }
        check(
            "vision_config.image_feature_source",
            !self.image_feature_source.is_empty(),
            || "is empty; usual is [\"spatial_avg_pool\", \"temporal_avg_pool\"]".into(),
        )
    }
}

impl TextConfig {
    pub(super) fn check(&self) -> Result<()> {
        for (key, size) in [
            ("text_config.vocab_size", self.vocab_size),
            ("text_config.d_model", self.d_model),
            ("text_config.encoder_layers", self.encoder_layers),
            ("text_config.decoder_layers", self.decoder_layers),
            ("text_config.encoder_ffn_dim", self.encoder_ffn_dim),
            ("text_config.decoder_ffn_dim", self.decoder_ffn_dim),
            (
                "text_config.max_position_embeddings",
                self.max_position_embeddings,
            ),
        ] {
            check_range(key, size)?;
        }
        for (key, heads) in [
            (
                "text_config.encoder_attention_heads",
                self.encoder_attention_heads,
            ),
            (
                "text_config.decoder_attention_heads",
                self.decoder_attention_heads,
            ),
        ] {
            check_range(key, heads)?;
            check_divides(key, heads, self.d_model)?;
        }
        Ok(())
    }
}

/// Returns [`Error::Config`] with this reason if the condition on the setting `key` does not hold.
pub(super) fn check(key: &'static str, holds: bool, reason: impl FnOnce() -> String) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::Config {
            key,
            reason: reason(),
        })
    }
}

fn check_range(key: &'static str, size: usize) -> Result<()> {
    check(key, (1..=LARGEST).contains(&size), || {
        format!("{size} is not within 1 to {LARGEST}")
    })
}

fn check_length(key: &'static str, length: usize, stages: usize) -> Result<()> {
    check(key, length == stages, || {
        format!("has {length} entries for {stages} stages (vision_config.embed_dim)")
    })
}

fn check_divides(key: &'static str, parts: usize, dim: usize) -> Result<()> {
    check(key, dim.is_multiple_of(parts), || {
        format!("{parts} does not divide the width, {dim}")
    })
}
