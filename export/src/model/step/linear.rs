//! Linear layers in the precision that each is to have.

use crate::graph::{Graph, Quantized, QuantizedWeight, Value};
use crate::model::layers::Linear;
use crate::precisions::Precisions;
use crate::quantize;
use crate::target::Precision;
use crate::tensor::Tensor;

/// What several layers give for one input, which is quantised once for all of them.
pub(super) fn linear<'a, const LAYERS: usize>(
    graph: &mut Graph<'a>,
    precisions: &Precisions<'_>,
    layers: [Linear<'a>; LAYERS],
    x: &Value,
) -> [Value; LAYERS] {
    let mut input = Input::new(graph, precisions, &layers, x);
    layers.map(|layer| input.apply(graph, precisions, layer))
}

/// As [`linear`], for as many layers as the model has.
pub(super) fn linear_many<'a>(
    graph: &mut Graph<'a>,
    precisions: &Precisions<'_>,
    layers: Vec<Linear<'a>>,
    x: &Value,
) -> Vec<Value> {
    let mut input = Input::new(graph, precisions, &layers, x);
    let apply = |layer| input.apply(graph, precisions, layer);
    layers.into_iter().map(apply).collect()
}

/// The input of one or more layers.
struct Input<'x> {
    x: &'x Value,
    /// If more than one of the layers takes bytes.
    quantized: Option<Quantized>,
}

impl<'x> Input<'x> {
    fn new<'a>(
        graph: &mut Graph<'a>,
        precisions: &Precisions<'_>,
        layers: &[Linear<'a>],
        x: &'x Value,
    ) -> Self {
        let mut of_bytes = layers
            .iter()
            .filter(|layer| precisions.of(&layer.module) != Precision::Fp32);
        let quantized = match (of_bytes.next(), of_bytes.next()) {
            (Some(first), Some(_)) => Some(graph.within(&first.module, |graph| graph.dynamic_quantize(x))),
            _ => None,
        };
        Input { x, quantized }
    }

    fn apply<'a>(&mut self, graph: &mut Graph<'a>, precisions: &Precisions<'_>, layer: Linear<'a>) -> Value {
        graph.within(&layer.module, |graph| match precisions.of(&layer.module) {
            Precision::Fp32 => layer.apply(graph, self.x),
            _ => {
                let weight = int8_weight(graph, &layer.weight);
                let bias = layer.bias.as_ref().map(|bias| graph.weight(bias));
                match &self.quantized {
                    Some(x) => graph.matmul_integer_to_float(x, &weight, bias.as_ref()),
                    None => graph.dynamic_quantize_matmul(self.x, &weight, bias.as_ref()),
                }
            }
        })
    }
}

/// A weight `[in, out]` in bytes.
pub(super) fn int8_weight<'a>(graph: &mut Graph<'a>, weight: &Tensor<'a>) -> QuantizedWeight {
    let quantized = quantize::int8_columns(weight);
    let columns = quantized.scales.len();
    let zeros = Tensor::new(format!("int8_zeros_{columns}"), [columns], move || {
        vec![0i8; columns]
    });
    QuantizedWeight {
        values: graph.weight(&quantized.values),
        scales: graph.weight(&quantized.scales),
        zero_points: graph.weight(&zeros),
    }
}
