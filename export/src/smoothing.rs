//! *SmoothQuant* (Xiao et al., 2022): what comes out of a norm is divided by a factor for each channel, and the weights
//! of the layers that it goes into are multiplied by it. Channels of large values then do not take the steps of bytes
//! away from the others, and the function stays as it was: exactly, because the factors are powers of two.
//!
//! In the vision encoder a norm's result goes into linear layers only, and the norm's own weights are divided. In BART
//! it is also what the next residual connection adds to, so that it is divided on its way into the layers. The decoder
//! is left as it is: its rows are quantised by blocks.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::calibration::ActivationRanges;
use crate::checkpoint::Weights;
use crate::config::{ModelConfig, TextConfig, VisionConfig};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::model::{DECODER, ENCODER, VISION_TOWER};
use crate::tensor::Tensor;

/// A norm, and the linear layers that its result goes into.
struct Junction {
    norm: String,
    width: usize,
    /// Paths and numbers of outputs.
    layers: Vec<(String, usize)>,
    /// Whether its result goes nowhere else.
    exclusive: bool,
}

/// What is multiplied by what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Smoothing {
    /// By names of tensors: a factor for each place along their last axis.
    pub(crate) tensors: Rc<BTreeMap<String, Rc<[f32]>>>,
    /// By paths of norms: a factor for each channel on its way into the layers behind.
    inputs: BTreeMap<String, Rc<[f32]>>,
}

impl Smoothing {
    /// From what was seen of the norms and from the weights behind them.
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
        for junction in junctions(config) {
            let factors = junction.factors(weights, ranges)?;
            if factors.iter().all(|&factor| factor == 1.0) {
                continue;
            }
            // Powers of two: the reciprocals are exact.
            let reciprocals: Rc<[f32]> = factors.iter().map(|factor| factor.recip()).collect();
            for (layer, _) in junction.layers {
                tensors.insert(format!("{layer}.weight"), factors.clone());
            }
            if junction.exclusive {
                for part in ["weight", "bias"] {
                    tensors.insert(format!("{}.{part}", junction.norm), reciprocals.clone());
                }
            } else {
                inputs.insert(junction.norm, reciprocals);
            }
        }
        let tensors = Rc::new(tensors);
        Ok(Smoothing { tensors, inputs })
    }

    /// What goes into the layers behind `norm`, of what it gave.
    pub(crate) fn input(&self, graph: &mut Graph<'_>, norm: &str, x: &Value) -> Value {
        let Some(factors) = self.inputs.get(norm).cloned() else {
            return x.clone();
        };
        let factors = Tensor::new(format!("{norm}.smoothing"), [factors.len()], move || {
            factors.to_vec()
        });
        let factors = graph.weight(&factors);
        graph.mul(x, &factors)
    }
}

impl Junction {
    /// What the norm's channels are divided by: `√(largest activation / largest weight)`, which is SmoothQuant's with
    /// α = 0.5, as the nearest power of two.
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
            // Where either is nothing, there is nothing to gain.
            if exponent.is_finite() {
                exponent.round().clamp(-16.0, 16.0).exp2()
            } else {
                1.0
            }
        };
        Ok(activations.iter().zip(&largest).map(factor).collect())
    }
}

/// The norms that are observed.
pub(crate) fn norms(config: &ModelConfig) -> impl Iterator<Item = String> {
    junctions(config).into_iter().map(|junction| junction.norm)
}

fn junctions(config: &ModelConfig) -> Vec<Junction> {
    let mut junctions = vision(&config.vision_config);
    junctions.extend(text_encoder(&config.text_config));
    junctions
}

fn vision(config: &VisionConfig) -> Vec<Junction> {
    let mut junctions = Vec::new();
    for (stage, (&dim, &depth)) in config.embed_dim.iter().zip(&config.depths).enumerate() {
        for block in 0..depth {
            for (half, attention) in [
                ("spatial_block", "window_attn"),
                ("channel_block", "channel_attn"),
            ] {
                let half = format!("{VISION_TOWER}.blocks.{stage}.{block}.{half}");
                let mut junction = |norm: &str, layer: &str, outputs: usize| {
                    junctions.push(Junction {
                        norm: format!("{half}.{norm}"),
                        width: dim,
                        layers: vec![(format!("{half}.{layer}"), outputs)],
                        exclusive: true,
                    });
                };
                junction("norm1", &format!("{attention}.qkv"), 3 * dim);
                junction("norm2", "ffn.fc1", config.mlp_dim(dim));
            }
        }
    }
    junctions
}

fn text_encoder(config: &TextConfig) -> Vec<Junction> {
    let dim = config.d_model;
    let junction = |norm: String, layers: Vec<(String, usize)>| Junction {
        norm,
        width: dim,
        layers,
        exclusive: false,
    };
    let mut junctions = Vec::new();
    let mut norm = format!("{ENCODER}.layernorm_embedding");
    for layer in 0..config.encoder_layers {
        let layer = format!("{ENCODER}.layers.{layer}");
        let projections =
            ["q_proj", "k_proj", "v_proj"].map(|name| (format!("{layer}.self_attn.{name}"), dim));
        junctions.push(junction(norm, projections.into()));
        junctions.push(junction(
            format!("{layer}.self_attn_layer_norm"),
            vec![(format!("{layer}.fc1"), config.encoder_ffn_dim)],
        ));
        norm = format!("{layer}.final_layer_norm");
    }
    let cross = (0..config.decoder_layers).flat_map(|layer| {
        ["k_proj", "v_proj"].map(|name| (format!("{DECODER}.layers.{layer}.encoder_attn.{name}"), dim))
    });
    junctions.push(junction(norm, cross.collect()));
    junctions
}
