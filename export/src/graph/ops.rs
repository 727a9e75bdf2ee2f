//! ONNX operators as methods, of opset 17 unless stated otherwise.

use super::{Attribute, Graph, Value};
use crate::tensor::Tensor;
use florence2_layout::onnx::{DataType, TensorProto};

/// PyTorch's `LayerNorm` default, which every norm of the model uses.
pub(crate) const LAYER_NORM_EPSILON: f32 = 1e-5;

/// The geometry of a 2-D convolution, the same along both axes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv2d {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) groups: usize,
}

impl<'a> Graph<'a> {
    pub(crate) fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b], &[])
    }

    pub(crate) fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Sub", &[a, b], &[])
    }

    pub(crate) fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b], &[])
    }

    pub(crate) fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Div", &[a, b], &[])
    }

    pub(crate) fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("MatMul", &[a, b], &[])
    }

    /// An operator of one argument and no attributes.
    pub(crate) fn unary(&mut self, op: &str, x: &Value) -> Value {
        self.node(op, &[x], &[])
    }

    /// Softmax over the last axis.
    pub(crate) fn softmax(&mut self, x: &Value) -> Value {
        self.node("Softmax", &[x], &[("axis", Attribute::Int(-1))])
    }

    /// `LayerNorm` over the last axis.
    pub(crate) fn layer_norm(&mut self, x: &Value, weight: &Tensor<'a>, bias: &Tensor<'a>) -> Value {
        let (weight, bias) = (self.weight(weight), self.weight(bias));
        let attributes = [
            ("axis", Attribute::Int(-1)),
            ("epsilon", Attribute::Float(LAYER_NORM_EPSILON)),
        ];
        self.node("LayerNormalization", &[x, &weight, &bias], &attributes)
    }

    /// The convolution of `x`, `[batch, channels, height, width]`.
    pub(crate) fn conv2d(
        &mut self,
        x: &Value,
        weight: &Tensor<'a>,
        bias: &Tensor<'a>,
        conv: Conv2d,
    ) -> Value {
        let Conv2d {
            kernel,
            stride,
            padding,
            groups,
        } = conv;
        let (kernel, stride, padding) = (kernel as i64, stride as i64, padding as i64);
        let (weight, bias) = (self.weight(weight), self.weight(bias));
        let attributes = [
            ("group", Attribute::Int(groups as i64)),
            ("kernel_shape", Attribute::Ints(&[kernel; 2])),
            ("pads", Attribute::Ints(&[padding; 4])),
            ("strides", Attribute::Ints(&[stride; 2])),
        ];
        self.node("Conv", &[x, &weight, &bias], &attributes)
    }

    /// `x` in another shape, in which 0 keeps the size of an axis and -1 stands for the remaining values.
    pub(crate) fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.node("Reshape", &[x, &shape], &[])
    }

    pub(crate) fn transpose(&mut self, x: &Value, axes: &[i64]) -> Value {
        self.node("Transpose", &[x], &[("perm", Attribute::Ints(axes))])
    }

    pub(crate) fn concat(&mut self, parts: &[&Value], axis: i64) -> Value {
        self.node("Concat", parts, &[("axis", Attribute::Int(axis))])
    }

    /// `x[starts..ends]` along `axes`; all three have the same length.
    pub(crate) fn slice(&mut self, x: &Value, starts: &Value, ends: &Value, axes: &[i64]) -> Value {
        let axes = self.ints(axes);
        self.node("Slice", &[x, starts, ends, &axes], &[])
    }

    /// `x` padded at the end of each axis with `after` zeros (one number for each axis).
    pub(crate) fn pad_end(&mut self, x: &Value, after: &[i64]) -> Value {
        let pads: Vec<i64> = std::iter::repeat_n(0, after.len())
            .chain(after.iter().copied())
            .collect();
        let pads = self.ints(&pads);
        self.node("Pad", &[x, &pads], &[])
    }

    /// `x` padded with the scalar `value`; `before` and `after` have a number for each axis.
    pub(crate) fn pad_with(&mut self, x: &Value, before: &[i64], after: &[i64], value: &Value) -> Value {
        let pads = self.ints(&[before, after].concat());
        self.node("Pad", &[x, &pads, value], &[])
    }

    /// Every `steps`th of `x[starts..ends]` along `axes`; all four have the same length.
    pub(crate) fn strided_slice(&mut self, x: &Value, [starts, ends, axes, steps]: [&[i64]; 4]) -> Value {
        let [starts, ends, axes, steps] = [starts, ends, axes, steps].map(|list| self.ints(list));
        self.node("Slice", &[x, &starts, &ends, &axes, &steps], &[])
    }

    pub(crate) fn unsqueeze(&mut self, x: &Value, axes: &[i64]) -> Value {
        let axes = self.ints(axes);
        self.node("Unsqueeze", &[x, &axes], &[])
    }

    pub(crate) fn squeeze(&mut self, x: &Value) -> Value {
        self.node("Squeeze", &[x], &[])
    }

    /// Rows `indices` of `table`, by integers of any shape.
    pub(crate) fn gather(&mut self, table: &Value, indices: &Value) -> Value {
        self.node("Gather", &[table, indices], &[("axis", Attribute::Int(0))])
    }

    /// The last element along `axis`, which is dropped.
    pub(crate) fn last(&mut self, x: &Value, axis: i64) -> Value {
        let last = self.int(-1);
        self.node("Gather", &[x, &last], &[("axis", Attribute::Int(axis))])
    }

    /// The largest value, as a vector of one.
    pub(crate) fn largest(&mut self, x: &Value) -> Value {
        self.node("ReduceMax", &[x], &[])
    }

    /// `a · bᵀ`, of matrices.
    pub(crate) fn matmul_transposed(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Gemm", &[a, b], &[("transB", Attribute::Int(1))])
    }

    /// `x` in the shape of the vector of integers `shape`.
    pub(crate) fn reshape_to(&mut self, x: &Value, shape: &Value) -> Value {
        self.node("Reshape", &[x, shape], &[])
    }

    /// `x` cut along `axis` into parts of these sizes.
    pub(crate) fn split(&mut self, x: &Value, sizes: &[usize], axis: i64) -> Vec<Value> {
        let lengths: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
        let lengths = self.ints(&lengths);
        let attributes = [("axis", Attribute::Int(axis))];
        self.push("", "Split", &[x, &lengths], &attributes, sizes.len())
    }

    /// `x · Φ(x)`, by the error function or approximated by tanh. Needs opset 20.
    pub(crate) fn gelu(&mut self, x: &Value, approximate: bool) -> Value {
        let approximate = if approximate { "tanh" } else { "none" };
        self.node("Gelu", &[x], &[("approximate", Attribute::Text(approximate))])
    }

    /// The sum over `axis`, which stays with size 1.
    pub(crate) fn reduce_sum(&mut self, x: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.node("ReduceSum", &[x, &axes], &[("keepdims", Attribute::Int(1))])
    }

    /// `x` as floats of the type that the current module computes in.
    pub(crate) fn cast_to_float(&mut self, x: &Value) -> Value {
        let to = self.float_type();
        self.cast(x, to)
    }

    pub(crate) fn cast(&mut self, x: &Value, to: DataType) -> Value {
        self.node("Cast", &[x], &[("to", Attribute::Int(to as i64))])
    }

    /// The size along `axis`, as a vector of one integer.
    pub(crate) fn dim(&mut self, x: &Value, axis: i64) -> Value {
        self.node(
            "Shape",
            &[x],
            &[("start", Attribute::Int(axis)), ("end", Attribute::Int(axis + 1))],
        )
    }

    /// [`dim`](Self::dim) as a 32-bit integer.
    pub(crate) fn int32_dim(&mut self, x: &Value, axis: i64) -> Value {
        let size = self.dim(x, axis);
        self.cast(&size, DataType::Int32)
    }

    /// `start, start + step, ..` below `end`, all three scalars of the same type.
    pub(crate) fn range(&mut self, [start, end, step]: [&Value; 3]) -> Value {
        self.node("Range", &[start, end, step], &[])
    }

    /// `x` broadcast with the shape in the vector of integers `shape`.
    pub(crate) fn expand(&mut self, x: &Value, shape: &Value) -> Value {
        self.node("Expand", &[x, shape], &[])
    }

    /// Whether `a > b`, by element.
    pub(crate) fn greater(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Greater", &[a, b], &[])
    }

    /// Floats that are 0, of a constant shape.
    pub(crate) fn zeros(&mut self, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        // The operator's default is a 32-bit 0.
        let float16_zero = TensorProto {
            dims: vec![1],
            data_type: DataType::Float16 as i32,
            raw_data: Some(vec![0; 2].into()),
            ..TensorProto::default()
        };
        let value = ("value", Attribute::Tensor(float16_zero));
        let is_float16 = self.float_type() == DataType::Float16;
        let attributes = if is_float16 { vec![value] } else { Vec::new() };
        self.node("ConstantOfShape", &[&shape], &attributes)
    }
}
