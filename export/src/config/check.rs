//! Whether a configuration is consistent.

use super::{TextConfig, VisionConfig};
use crate::error::{Error, Result};

/// No dimension, depth or size of a model comes near this; products of a few stay far from overflow.
const LARGEST: usize = 1 << 20;

impl VisionConfig {
    pub(super) fn check(&self) -> Result<()> {
        let stages = self.embed_dim.len();
        let lists = [
            ("vision_config.embed_dim", &self.embed_dim),
            ("vision_config.depths", &self.depths),
            ("vision_config.num_heads", &self.num_heads),
            ("vision_config.num_groups", &self.num_groups),
            ("vision_config.patch_size", &self.patch_size),
            ("vision_config.patch_stride", &self.patch_stride),
        ];
        for (key, list) in lists {
            same_length(key, list.len(), stages)?;
            list.iter().try_for_each(|&size| in_range(key, size))?;
        }
        same_length("vision_config.patch_padding", self.patch_padding.len(), stages)?;
        same_length("vision_config.patch_prenorm", self.patch_prenorm.len(), stages)?;
        for (padding, kernel) in self.patch_padding.iter().zip(&self.patch_size) {
            if padding >= kernel {
                return Err(Error::Config {
                    key: "vision_config.patch_padding",
                    reason: format!("{padding} is not less than the kernel, {kernel}"),
                });
            }
        }
        if stages == 0 || stages > 16 {
            return Err(Error::Config {
                key: "vision_config.embed_dim",
                reason: format!("{stages} stages; DaViT has one to sixteen"),
            });
        }
        for ((&dim, &heads), &groups) in self.embed_dim.iter().zip(&self.num_heads).zip(&self.num_groups) {
            divides("vision_config.num_heads", heads, dim)?;
            divides("vision_config.num_groups", groups, dim)?;
        }
        if self.embed_dim.last().is_some_and(|&dim| dim < 2) {
            return Err(Error::Config {
                key: "vision_config.embed_dim",
                reason: "the last stage needs a channel each for positions of rows and columns".into(),
            });
        }
        in_range("vision_config.in_channels", self.in_channels)?;
        in_range("vision_config.window_size", self.window_size)?;
        in_range("vision_config.projection_dim", self.projection_dim)?;
        in_range(
            "vision_config.max_position_embeddings",
            self.max_position_embeddings,
        )?;
        in_range(
            "vision_config.max_temporal_embeddings",
            self.max_temporal_embeddings,
        )?;
        for &dim in &self.embed_dim {
            in_range("vision_config.mlp_ratio", self.mlp_dim(dim))?;
        }
        if self.image_feature_source.is_empty() {
            return Err(Error::Config {
                key: "vision_config.image_feature_source",
                reason: "is empty; usual is [\"spatial_avg_pool\", \"temporal_avg_pool\"]".into(),
            });
        }
        Ok(())
    }
}

impl TextConfig {
    pub(super) fn check(&self) -> Result<()> {
        for (key, size) in [
            ("text_config.vocab_size", self.vocab_size),
            ("text_config.d_model", self.d_model),
            ("text_config.encoder_layers", self.encoder_layers),
            ("text_config.decoder_layers", self.decoder_layers),
            (
                "text_config.encoder_attention_heads",
                self.encoder_attention_heads,
            ),
            (
                "text_config.decoder_attention_heads",
                self.decoder_attention_heads,
            ),
            ("text_config.encoder_ffn_dim", self.encoder_ffn_dim),
            ("text_config.decoder_ffn_dim", self.decoder_ffn_dim),
            (
                "text_config.max_position_embeddings",
                self.max_position_embeddings,
            ),
        ] {
            in_range(key, size)?;
        }
        divides(
            "text_config.encoder_attention_heads",
            self.encoder_attention_heads,
            self.d_model,
        )?;
        divides(
            "text_config.decoder_attention_heads",
            self.decoder_attention_heads,
            self.d_model,
        )
    }
}

fn in_range(key: &'static str, size: usize) -> Result<()> {
    if (1..=LARGEST).contains(&size) {
        return Ok(());
    }
    Err(Error::Config {
        key,
        reason: format!("{size} is not within 1 to {LARGEST}"),
    })
}

fn same_length(key: &'static str, length: usize, stages: usize) -> Result<()> {
    if length == stages {
        return Ok(());
    }
    Err(Error::Config {
        key,
        reason: format!("has {length} entries for {stages} stages (vision_config.embed_dim)"),
    })
}

fn divides(key: &'static str, parts: usize, dim: usize) -> Result<()> {
    if dim.is_multiple_of(parts) {
        return Ok(());
    }
    Err(Error::Config {
        key,
        reason: format!("{parts} does not divide the width, {dim}"),
    })
}
