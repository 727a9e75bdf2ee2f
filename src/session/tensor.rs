//! Conversions between arrays and ONNX Runtime's tensors, in the float type of a graph.

use std::fmt::Debug;

use half::f16;
use ndarray::{Array, ArrayD, ArrayView, ArrayViewD, Dimension};
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorElementType, TensorRef, ValueType};

use crate::error::{Error, Result};

/// A float type of graphs' inputs and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatType {
    F32,
    F16,
}

impl FloatType {
    pub(crate) fn of(element: TensorElementType) -> Option<Self> {
        match element {
            TensorElementType::Float32 => Some(FloatType::F32),
            TensorElementType::Float16 => Some(FloatType::F16),
            _ => None,
        }
    }

    pub(crate) fn element(self) -> TensorElementType {
        match self {
            FloatType::F32 => TensorElementType::Float32,
            FloatType::F16 => TensorElementType::Float16,
        }
    }
}

/// An element type of tensors that Rust has, too.
pub(crate) trait Element: PrimitiveTensorElementType + Copy + Debug + 'static {}

impl<T: PrimitiveTensorElementType + Copy + Debug + 'static> Element for T {}

fn make<T: Element>(shape: Vec<usize>, values: Vec<T>) -> Result<DynValue> {
    let tensor = Tensor::from_array((shape, values)).map_err(Error::ort("making a tensor"))?;
    Ok(tensor.into_dyn())
}

/// Returns a tensor's values; `context` says in an error what they are read for.
fn values<T: Element>(value: &DynValue, context: impl FnOnce() -> String) -> Result<&[T]> {
    let extracted = value.try_extract_tensor::<T>();
    let (_, values) = extracted.map_err(|error| Error::ort(context())(error))?;
    Ok(values)
}

/// Returns a tensor of `shape` in a float type.
pub(crate) fn floats(shape: &[usize], values: Vec<f32>, float: FloatType) -> Result<DynValue> {
    match float {
        FloatType::F32 => make(shape.to_vec(), values),
        FloatType::F16 => make(shape.to_vec(), values.into_iter().map(f16::from_f32).collect()),
    }
}

/// Returns a tensor with the values of an array.
pub(crate) fn float_array<D: Dimension>(array: ArrayView<'_, f32, D>, float: FloatType) -> Result<DynValue> {
    let values = array
        .as_slice()
        .map_or_else(|| array.iter().copied().collect(), <[f32]>::to_vec);
    floats(array.shape(), values, float)
}

/// Returns an input with the values of an array, which is not copied if it is contiguous and of the float type.
pub(crate) fn float_input<D: Dimension + 'static>(
    array: ArrayView<'_, f32, D>,
    float: FloatType,
) -> Result<SessionInputValue<'_>> {
    if float == FloatType::F32 && array.is_standard_layout() {
        let tensor = TensorRef::from_array_view(array).map_err(Error::ort("making a tensor"))?;
        return Ok(tensor.into());
    }
    Ok(float_array(array, float)?.into())
}

/// Returns an int64 tensor.
pub(crate) fn integers(shape: &[usize], values: Vec<i64>) -> Result<DynValue> {
    make(shape.to_vec(), values)
}

/// Returns an int64 tensor of indices, `[indices]`.
pub(crate) fn indices(indices: &[usize]) -> Result<DynValue> {
    let values = indices.iter().map(|&index| index as i64);
    make(vec![indices.len()], values.collect())
}

/// Returns a bool tensor, `[1]`.
pub(crate) fn flag(value: bool) -> Result<DynValue> {
    make(vec![1], vec![value])
}

/// Converts a tensor to a float type; returns `None` if it has that type.
pub(crate) fn converted(value: &DynValue, float: FloatType) -> Result<Option<DynValue>> {
    match (element_type(value).and_then(FloatType::of), float) {
        (Some(FloatType::F32), FloatType::F16) => mapped(value, f16::from_f32).map(Some),
        (Some(FloatType::F16), FloatType::F32) => mapped(value, f16::to_f32).map(Some),
        _ => Ok(None),
    }
}

/// Converts int64 values to another type, booleans being 0 and 1; returns `None` if they have it, or another type than int64.
pub(crate) fn converted_integers(value: &DynValue, element: TensorElementType) -> Result<Option<DynValue>> {
    match (element_type(value), element) {
        (Some(TensorElementType::Int64), TensorElementType::Int32) => {
            mapped(value, |value: i64| i32::try_from(value).unwrap_or(i32::MAX)).map(Some)
        }
        (Some(TensorElementType::Int64), TensorElementType::Bool) => {
            mapped(value, |value: i64| value != 0).map(Some)
        }
        _ => Ok(None),
    }
}

fn mapped<A: Element, B: Element>(value: &DynValue, map: fn(A) -> B) -> Result<DynValue> {
    let values = values(value, || "converting a tensor".into())?;
    make(shape(value), values.iter().copied().map(map).collect())
}

/// Returns the values of output `name` as f32, with `D`'s number of dimensions.
pub(crate) fn to_f32<D: Dimension>(value: &DynValue, graph: &str, name: &str) -> Result<Array<f32, D>> {
    let context = || format!("reading {name} of {graph}");
    let array: ArrayD<f32> = match element_type(value) {
        Some(TensorElementType::Float16) => {
            let view: ArrayViewD<'_, f16> = value.try_extract_array().map_err(Error::ort(context()))?;
            view.mapv(f16::to_f32)
        }
        _ => {
            let view: ArrayViewD<'_, f32> = value.try_extract_array().map_err(Error::ort(context()))?;
            view.to_owned()
        }
    };
    let found = array.shape().to_vec();
    array.into_dimensionality().map_err(|_| Error::InvalidGraph {
        graph: graph.into(),
        reason: format!("{name} has shape {found:?}"),
    })
}

/// Checks that an output is finite. `values` are contiguous.
pub(crate) fn check_finite(values: &[f32], graph: &str, output: &str) -> Result<()> {
    if all_finite(values, |value| value.is_finite()) {
        Ok(())
    } else {
        Err(not_finite(graph, output))
    }
}

/// Checks that an output in the CPU's memory is finite.
pub(crate) fn check_finite_value(value: &DynValue, graph: &str, output: &str) -> Result<()> {
    let context = || format!("reading {output} of {graph}");
    match element_type(value) {
        Some(TensorElementType::Float16) if all_finite(values(value, context)?, f16::is_finite) => Ok(()),
        Some(TensorElementType::Float16) => Err(not_finite(graph, output)),
        _ => check_finite(values(value, context)?, graph, output),
    }
}

pub(crate) fn not_finite(graph: &str, output: &str) -> Error {
    Error::NotFinite {
        graph: graph.into(),
        output: output.into(),
    }
}

/// Returns whether all values are finite. Blocks are checked without a branch for each value, so that the loop is vectorized.
fn all_finite<T: Copy>(values: &[T], is_finite: impl Fn(T) -> bool) -> bool {
    const BLOCK: usize = 1024;
    let mut blocks = values.chunks(BLOCK);
    blocks.all(|block| block.iter().fold(true, |all, &value| all & is_finite(value)))
}

/// Returns a tensor's shape; empty for another kind of value.
pub(crate) fn shape(value: &DynValue) -> Vec<usize> {
    match value.dtype() {
        ValueType::Tensor { shape, .. } => shape
            .iter()
            .map(|&dim| usize::try_from(dim).unwrap_or(0))
            .collect(),
        _ => Vec::new(),
    }
}

fn element_type(value: &DynValue) -> Option<TensorElementType> {
    match value.dtype() {
        ValueType::Tensor { ty, .. } => Some(*ty),
        _ => None,
    }
}

/// Returns a tensor whose row `i` (along the first axis) is a copy of row `rows[i]` of `value`.
pub(crate) fn gather_rows(value: &DynValue, rows: &[usize]) -> Result<DynValue> {
    match element_type(value) {
        Some(TensorElementType::Float32) => gather::<f32>(value, rows),
        Some(TensorElementType::Float16) => gather::<f16>(value, rows),
        Some(TensorElementType::Int64) => gather::<i64>(value, rows),
        Some(TensorElementType::Int32) => gather::<i32>(value, rows),
        Some(TensorElementType::Bool) => gather::<bool>(value, rows),
        other => Err(invalid_cache(format!("a cache has type {other:?}"))),
    }
}

fn gather<T: Element>(value: &DynValue, rows: &[usize]) -> Result<DynValue> {
    let (mut shape, values) = (shape(value), values::<T>(value, || "reordering a cache".into())?);
    let row_size: usize = shape.iter().skip(1).product();
    let mut gathered = Vec::with_capacity(rows.len() * row_size);
    for &row in rows {
        let source = values.get(row * row_size..(row + 1) * row_size);
        let source =
            source.ok_or_else(|| invalid_cache(format!("a cache of shape {shape:?} has no row {row}")))?;
        gathered.extend_from_slice(source);
    }
    if let Some(first) = shape.first_mut() {
        *first = rows.len();
    }
    make(shape, gathered)
}

fn invalid_cache(reason: String) -> Error {
    Error::InvalidGraph {
        graph: "decoder".into(),
        reason,
    }
}

/// Concatenates tensors along the first axis; their other axes are the same.
pub(crate) fn join_rows(tensors: &[DynValue]) -> Result<DynValue> {
    match tensors.first().and_then(element_type) {
        Some(TensorElementType::Float16) => join::<f16>(tensors),
        Some(TensorElementType::Int64) => join::<i64>(tensors),
        _ => join::<f32>(tensors),
    }
}

fn join<T: Element>(tensors: &[DynValue]) -> Result<DynValue> {
    let mut shape = tensors.first().map(shape).unwrap_or_default();
    let mut joined = Vec::new();
    for tensor in tensors {
        joined.extend_from_slice(values::<T>(tensor, || "joining the rows of an output".into())?);
    }
    if let Some(first) = shape.first_mut() {
        let rows = tensors
            .iter()
            .filter_map(|tensor| self::shape(tensor).first().copied());
        *first = rows.sum();
    }
    make(shape, joined)
}
