//! The layers of BART's encoder and decoder.

use florence2_layout::graphs::Attention;

use crate::checkpoint::Weights;
use crate::config::TextConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::{Activation, Linear, layer_norm, mlp, self_attention};

/// A layer of the encoder or the decoder.
pub(super) struct Layer<'a, 'c> {
    pub(super) weights: Weights<'a>,
    pub(super) text: &'c TextConfig,
    activation: Activation,
}

impl<'a, 'c> Layer<'a, 'c> {
    /// The first `count` layers of the encoder or decoder that `weights` belongs to.
    fn first(count: usize, text: &'c TextConfig, weights: &Weights<'a>) -> Result<Vec<Self>> {
        let activation =
            Activation::from_config("text_config.activation_function", &text.activation_function)?;
        let layer = |index| Layer {
            weights: weights.at(format_args!("layers.{index}")),
            text,
            activation,
        };
        Ok((0..count).map(layer).collect())
    }

    /// Number and size of the decoder's heads.
    pub(super) fn decoder_heads(&self) -> [usize; 2] {
        let heads = self.text.decoder_attention_heads;
        [heads, self.text.d_model / heads]
    }

    /// One of the projections of an attention, which keep the width.
    pub(super) fn projection(&self, name: &str) -> Result<Linear<'a>> {
        let dim = self.text.d_model;
        Linear::load(&self.weights.at(name), dim, dim, true)
    }

    /// The output of one of the projections.
    pub(super) fn project(&self, graph: &mut Graph<'a>, name: &str, x: &Value) -> Result<Value> {
        Ok(self.projection(name)?.apply(graph, x))
    }

    /// `norm(x + y)`.
    fn residual_norm(&self, graph: &mut Graph<'a>, norm: &str, x: &Value, y: &Value) -> Result<Value> {
        let sum = graph.add(x, y);
        layer_norm(graph, &self.weights.at(norm), self.text.d_model, &sum)
    }

    /// The MLP behind the attentions, with its residual connection and norm.
    fn mlp(&self, graph: &mut Graph<'a>, hidden: usize, x: &Value) -> Result<Value> {
        let dims = [self.text.d_model, hidden];
        let y = mlp(graph, &self.weights, dims, self.activation, x)?;
        self.residual_norm(graph, "final_layer_norm", x, &y)
    }
}

/// All layers of the encoder that `weights` belongs to; `mask` is a term of the attentions' scores.
pub(super) fn encoder_layers<'a>(
    graph: &mut Graph<'a>,
    text: &TextConfig,
    weights: &Weights<'a>,
    x: Value,
    mask: Option<&Value>,
) -> Result<Value> {
    let mut x = x;
    for layer in Layer::first(text.encoder_layers, text, weights)? {
        let qkv = [
            layer.projection("self_attn.q_proj")?,
            layer.projection("self_attn.k_proj")?,
            layer.projection("self_attn.v_proj")?,
        ];
        let y = graph.within(&layer.weights.path("self_attn"), |graph| {
            self_attention(graph, qkv, text.encoder_attention_heads, &x, mask)
        });
        let y = layer.project(graph, "self_attn.out_proj", &y)?;
        x = layer.residual_norm(graph, "self_attn_layer_norm", &x, &y)?;
        x = layer.mlp(graph, text.encoder_ffn_dim, &x)?;
    }
    Ok(x)
}

/// All layers of the decoder that `weights` belongs to. `attend` returns the self-attention or the cross-attention of a
/// layer; its arguments are the graph, the layer, the layer's index, the kind of attention and the input.
pub(super) fn decoder_layers<'a>(
    graph: &mut Graph<'a>,
    text: &TextConfig,
    weights: &Weights<'a>,
    x: Value,
    mut attend: impl FnMut(&mut Graph<'a>, &Layer<'a, '_>, usize, Attention, &Value) -> Result<Value>,
) -> Result<Value> {
    let mut x = x;
    for (index, layer) in Layer::first(text.decoder_layers, text, weights)?
        .iter()
        .enumerate()
    {
        for (attention, norm) in [
            (Attention::Decoder, "self_attn_layer_norm"),
            (Attention::Encoder, "encoder_attn_layer_norm"),
        ] {
            let y = attend(graph, layer, index, attention, &x)?;
            x = layer.residual_norm(graph, norm, &x, &y)?;
        }
        x = layer.mlp(graph, text.decoder_ffn_dim, &x)?;
    }
    Ok(x)
}
