//! Attention among the channels of each group: a channel's values at all tokens are its features.

use florence2_layout::operators::CHANNEL_ATTENTION;

use super::gram;
use super::stage::Stage;
use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Attribute, Function, Graph, Transposed, Value};
use crate::layers::{Linear, LinearInput, merge_heads, split_heads};
use crate::target::Operators;
use florence2_layout::onnx::AttributeType;

impl Stage {
    /// Channel attention of `x`, `[batch, tokens, dim]`; the result has the same shape. `weights` has `qkv` and
    /// `proj`.
    pub(super) fn channel_attention<'a>(
        &self,
        graph: &mut Graph<'a>,
        weights: &Weights<'a>,
        x: &Value,
    ) -> Result<Value> {
        let (qkv, output) = self.projections(weights)?;
        let custom = graph.lowering.operators == Operators::Custom;
        if custom && gram::is_faster(self) && qkv.iter().chain([&output]).all(|layer| layer.is_fp32(graph)) {
            return Ok(graph.within(&weights.path("gram"), |graph| {
                gram::channel_attention(graph, self, qkv, output, x)
            }));
        }
        let x = graph.within(&weights.path("groups"), |graph| {
            if custom {
                let x = LinearInput::new(graph, &qkv, x);
                let qkv = qkv.each_ref().map(|layer| x.apply(graph, layer));
                let groups = [(GROUPS, Attribute::Int(self.groups as i64))];
                let [x] = graph.call(&OPERATOR, qkv.each_ref(), &groups);
                x
            } else {
                self.standard_channel_attention(graph, qkv, x)
            }
        });
        Ok(output.apply(graph, &x))
    }

    fn standard_channel_attention<'a>(
        &self,
        graph: &mut Graph<'a>,
        [query, key, value]: [Linear<'a>; 3],
        x: &Value,
    ) -> Value {
        let query = query.scaled((self.grid.tokens() as f64).powf(-0.5) as f32);
        // [batch, groups, tokens, channels of a group]
        let [query, key, value] = [query, key, value].map(|projection| {
            let x = projection.apply(graph, x);
            split_heads(graph, &x, self.groups, self.dim / self.groups)
        });
        let query = graph.transpose(&query, &[0, 1, 3, 2]);
        let scores = graph.matmul(&query, &key);
        let probabilities = graph.softmax(&scores);
        let probabilities = graph.transpose(&probabilities, &[0, 1, 3, 2]);
        let x = graph.matmul(&value, &probabilities);
        merge_heads(graph, &x, self.dim)
    }
}

const GROUPS: &str = "groups";

const OPERATOR: Function<3, 1> = Function {
    name: CHANNEL_ATTENTION,
    inputs: ["query", "key", "value"],
    attributes: &[GROUPS],
    outputs: ["attended"],
    body: |graph, inputs| [by_group(graph, inputs)],
};

/// The body of the custom operator, in standard operators and ONNX Runtime's.
fn by_group(graph: &mut Graph<'_>, inputs: [Value; 3]) -> Value {
    let groups = [("value_int", Attribute::Parameter(GROUPS, AttributeType::Int))];
    let groups = graph.node("Constant", &[], &groups);
    let [kept, one, rest] = [&[0, 0][..], &[1], &[-1]].map(|ints| constant(graph, ints));
    let groups = graph.reshape_to(&groups, &one);
    let grouped_shape = graph.concat(&[&kept, &groups, &rest], 0);
    let shape = graph.unary("Shape", &inputs[0]);
    let tokens = graph.node("Gather", &[&shape, &one], &[]);
    let tokens = graph.cast_to_float(&tokens);
    let root = graph.unary("Sqrt", &tokens);
    // [batch, groups, tokens, channels of a group]
    let [query, key, value] = inputs.map(|x| {
        let x = graph.reshape_to(&x, &grouped_shape);
        graph.transpose(&x, &[0, 2, 1, 3])
    });
    let scores = graph.fused_matmul(&query, &key, Transposed::Left, 1.0);
    let scores = graph.div(&scores, &root);
    let probabilities = graph.softmax(&scores);
    let x = graph.fused_matmul(&value, &probabilities, Transposed::Right, 1.0);
    let x = graph.transpose(&x, &[0, 2, 1, 3]);
    graph.reshape_to(&x, &shape)
}

fn constant(graph: &mut Graph<'_>, values: &[i64]) -> Value {
    graph.node("Constant", &[], &[("value_ints", Attribute::Ints(values))])
}
