//! Products and tables of quantized weights, lowered to operators.

mod blocks;
mod channels;
mod nf4;

use florence2_layout::dtypes::Dtype;

use crate::graph::{Graph, Value};
use crate::tensor::Tensor;
pub(crate) use blocks::{BlockFormat, BlockWeight};
pub(crate) use channels::{Axis, ChannelWeight, QuantizedType};
use nf4::Nf4Weight;

/// `x · weight`, of a weight `[in, out]` stored in `dtype`, by operators that every target but the CPU's uses.
pub(crate) fn matmul<'a>(graph: &mut Graph<'a>, dtype: Dtype, x: &Value, weight: &Tensor<'a>) -> Value {
    match dtype {
        Dtype::Int8 | Dtype::Quantized => integer_matmul::<i8>(graph, x, weight),
        Dtype::Uint8 => integer_matmul::<u8>(graph, x, weight),
        Dtype::Q4 | Dtype::Q4F16 => {
            let weight = BlockWeight::new(&weight.clone().transposed(), BlockFormat::Int4);
            weight.matmul(graph, x)
        }
        Dtype::Bnb4 => Nf4Weight::new(weight).matmul(graph, x),
        // Fp32 and Fp16: `Target::dtypes` has no others.
        _ => {
            let weight = graph.weight(weight);
            graph.matmul(x, &weight)
        }
    }
}

/// Rows `indices` of the table that is `module`'s weight, `[rows, size]`. Only tables of 8 bits are quantized.
pub(crate) fn gather<'a>(graph: &mut Graph<'a>, module: &str, table: &Tensor<'a>, indices: &Value) -> Value {
    let dtypes = graph.lowering.dtypes.clone();
    let is_kept = || dtypes.of(module) == Dtype::Fp32;
    graph.within(module, |graph| match dtypes.dtype() {
        Dtype::Int8 | Dtype::Quantized if !is_kept() => integer_gather::<i8>(graph, table, indices),
        Dtype::Uint8 if !is_kept() => integer_gather::<u8>(graph, table, indices),
        _ => {
            let table = graph.weight(table);
            graph.gather(&table, indices)
        }
    })
}

/// A tensor quantized at run time, with one scale and zero point.
pub(crate) struct DynamicQuantized {
    /// u8, in the shape of the tensor.
    pub(crate) values: Value,
    pub(crate) scale: Value,
    pub(crate) zero_point: Value,
}

impl DynamicQuantized {
    /// Quantizes `x` at run time.
    pub(crate) fn new(graph: &mut Graph<'_>, x: &Value) -> Self {
        let [values, scale, zero_point] = graph.nodes("", "DynamicQuantizeLinear", &[x], &[]);
        DynamicQuantized {
            values,
            scale,
            zero_point,
        }
    }
}

/// `x · weight` in integers by standard operators, as ONNX Runtime's `quantize_dynamic` writes it; ONNX Runtime fuses
/// them into one.
fn integer_matmul<'a, Q: QuantizedType>(graph: &mut Graph<'a>, x: &Value, weight: &Tensor<'a>) -> Value {
    let x = DynamicQuantized::new(graph, x);
    let weight = ChannelWeight::<Q>::new(weight, Axis::Columns);
    let (values, scales) = (graph.weight(&weight.values), graph.weight(&weight.scales));
    let zero_points = graph.weight(&weight.zero_points);
    let inputs = [&x.values, &values, &x.zero_point, &zero_points];
    let product = graph.node("MatMulInteger", &inputs, &[]);
    let product = graph.cast_to_float(&product);
    let scale = graph.mul(&x.scale, &scales);
    graph.mul(&product, &scale)
}

/// Rows of a table, each with a scale and a zero point. (`quantize_dynamic` has one pair for the whole table.)
fn integer_gather<'a, Q: QuantizedType>(graph: &mut Graph<'a>, table: &Tensor<'a>, indices: &Value) -> Value {
    let ChannelWeight {
        values,
        scales,
        zero_points,
    } = ChannelWeight::<Q>::new(table, Axis::Rows);
    let [values, zero_points] = [values, zero_points].map(|table| {
        let table = graph.weight(&table);
        let rows = graph.gather(&table, indices);
        graph.cast_to_float(&rows)
    });
    let scales = graph.weight(&scales);
    let scales = graph.gather(&scales, indices);
    let [scales, zero_points] = [scales, zero_points].map(|of_rows| graph.unsqueeze(&of_rows, &[-1]));
    let values = graph.sub(&values, &zero_points);
    graph.mul(&values, &scales)
}

/// `x · weight + bias` in integers, with `x` quantized at run time, by ONNX Runtime's operators.
pub(crate) fn fused_integer_matmul<'a>(
    graph: &mut Graph<'a>,
    x: &Value,
    quantized: Option<&DynamicQuantized>,
    weight: &Tensor<'a>,
    bias: Option<&Value>,
) -> Value {
    let weight = ChannelWeight::<i8>::new(weight, Axis::Columns);
    let (values, scales) = (graph.weight(&weight.values), graph.weight(&weight.scales));
    // ONNX Runtime makes weights unsigned, where its kernels need it to be exact (`session.x64quantprecision`), only if
    // zero points are there.
    let zero_points = graph.weight(&weight.zero_points);
    let (op, mut inputs) = match quantized {
        Some(DynamicQuantized {
            values: x,
            scale,
            zero_point,
        }) => (
            "MatMulIntegerToFloat",
            vec![x, &values, scale, &scales, zero_point, &zero_points],
        ),
        None => ("DynamicQuantizeMatMul", vec![x, &values, &scales, &zero_points]),
    };
    inputs.extend(bias);
    graph.contrib(op, &inputs, &[])
}
