//! *SmoothQuant* (Xiao et al., 2022): the result of a norm is divided by a factor for each channel, and the weights of the
//! linear layers that take it are multiplied by the factor. Channels of large values then do not cost the others
//! precision, and the function is exactly the same, because the factors are powers of two.
//!
//! In the vision encoder only linear layers take a norm's result, and the norm's own weights are divided. In BART the
//! residual connection takes it too, so that the inputs of the layers are divided. The decoder is left as it is: its
//! rows are quantized by blocks.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::calibration::ActivationRanges;
use crate::checkpoint::Weights;
use crate::checkpoint::paths::{DECODER, ENCODER, VISION_TOWER};
use crate::config::{ModelConfig, TextConfig, VisionConfig};
use crate::error::{Error, Result};
use crate::lowering::Factors;

/// A norm, and the linear layers that take its result.
struct SmoothQuantSite {
    norm: String,
    width: usize,
    /// Paths and numbers of outputs.
    layers: Vec<(String, usize)>,
    /// Whether these layers are the only ones that take the result.
    exclusive: bool,
}

/// The factors of SmoothQuant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Smoothing {
    /// Factors on weights, by names of tensors.
    pub(crate) tensors: Factors,
    /// Factors on the inputs of linear layers, by paths of layers.
    pub(crate) inputs: Factors,
}

impl Smoothing {
    /// Computes the factors from the observed ranges of the norms and the weights of the following layers.
    ///
    /// # Errors
    /// [`Error::ActivationRanges`] if a norm has not been observed.
    pub(crate) fn new(
        config: &ModelConfig,
        weights: &Weights<'_>,
        ranges: &ActivationRanges,
    ) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        let mut inputs = BTreeMap::new();
        for site in sites(config) {
            let factors = site.factors(weights, ranges)?;
            if factors.iter().all(|&factor| factor == 1.0) {
                continue;
            }
            // Powers of two: the reciprocals are exact.
            let reciprocals: Rc<[f32]> = factors.iter().map(|factor| factor.recip()).collect();
            if site.exclusive {
                for part in ["weight", "bias"] {
                    tensors.insert(format!("{}.{part}", site.norm), reciprocals.clone());
                }
            }
            for (layer, _) in site.layers {
                tensors.insert(format!("{layer}.weight"), factors.clone());
                if !site.exclusive {
                    inputs.insert(layer, reciprocals.clone());
                }
            }
        }
        Ok(Smoothing {
            tensors: Rc::new(tensors),
            inputs: Rc::new(inputs),
        })
    }
}

impl SmoothQuantSite {
    /// The divisors of the norm's channels: `√(largest activation / largest weight)`, SmoothQuant's with α = 0.5, rounded to
    /// powers of two.
    fn factors(&self, weights: &Weights<'_>, ranges: &ActivationRanges) -> Result<Rc<[f32]>> {
        let activations = ranges.of(&self.norm).unwrap_or_default();
        if activations.len() != self.width {
            return Err(Error::ActivationRanges {
                module: self.norm.clone(),
                expected: self.width,
                found: activations.len(),
            });
        }
        let mut largest = vec![0.0f32; self.width];
        for (layer, outputs) in &self.layers {
            let weight = weights.tensor(&format!("{layer}.weight"), &[*outputs, self.width])?;
            for row in weight.values().chunks_exact(self.width.max(1)) {
                for (largest, weight) in largest.iter_mut().zip(row) {
                    *largest = largest.max(weight.abs());
                }
            }
        }
        let factor = |(activation, weight): (&f32, &f32)| {
            let exponent = 0.5 * (activation / weight).log2();
            // Both maxima may be 0.
            if exponent.is_finite() {
                exponent.round().clamp(-16.0, 16.0).exp2()
            } else {
                1.0
            }
        };
        Ok(activations.iter().zip(&largest).map(factor).collect())
    }
}

/// The paths of the norms to observe.
pub(crate) fn norms(config: &ModelConfig) -> impl Iterator<Item = String> {
    sites(config).into_iter().map(|site| site.norm)
}

fn sites(config: &ModelConfig) -> Vec<SmoothQuantSite> {
    let mut sites = vision(&config.vision_config);
    sites.extend(text_encoder(&config.text_config));
    sites
}

fn vision(config: &VisionConfig) -> Vec<SmoothQuantSite> {
    let mut sites = Vec::new();
    for (stage, (&dim, &depth)) in config.embed_dim.iter().zip(&config.depths).enumerate() {
        for block in 0..depth {
            for (half, attention) in [
                ("spatial_block", "window_attn"),
                ("channel_block", "channel_attn"),
            ] {
                let half = format!("{VISION_TOWER}.blocks.{stage}.{block}.{half}");
                let mut site = |norm: &str, layer: &str, outputs: usize| {
                    sites.push(SmoothQuantSite {
                        norm: format!("{half}.{norm}"),
                        width: dim,
                        layers: vec![(format!("{half}.{layer}"), outputs)],
                        exclusive: true,
                    });
                };
                site("norm1", &format!("{attention}.qkv"), 3 * dim);
                site("norm2", "ffn.fc1", config.mlp_dim(dim));
            }
        }
    }
    sites
}

fn text_encoder(config: &TextConfig) -> Vec<SmoothQuantSite> {
    let dim = config.d_model;
    let site = |norm: String, layers: Vec<(String, usize)>| SmoothQuantSite {
        norm,
        width: dim,
        layers,
        exclusive: false,
    };
    let mut sites = Vec::new();
    let mut norm = format!("{ENCODER}.layernorm_embedding");
    for layer in 0..config.encoder_layers {
        let layer = format!("{ENCODER}.layers.{layer}");
        let projections =
            ["q_proj", "k_proj", "v_proj"].map(|name| (format!("{layer}.self_attn.{name}"), dim));
        sites.push(site(norm, projections.into()));
        sites.push(site(
            format!("{layer}.self_attn_layer_norm"),
            vec![(format!("{layer}.fc1"), config.encoder_ffn_dim)],
        ));
        norm = format!("{layer}.final_layer_norm");
    }
    let cross = (0..config.decoder_layers).flat_map(|layer| {
        ["k_proj", "v_proj"].map(|name| (format!("{DECODER}.layers.{layer}.encoder_attn.{name}"), dim))
    });
    sites.push(site(norm, cross.collect()));
    sites
}
