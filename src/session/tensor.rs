//! Conversions between arrays and ONNX Runtime's tensors, in the float type of a graph.

use half::f16;
use ndarray::{Array, ArrayD, ArrayView, ArrayViewD, Dimension};
use ort::session::SessionInputValue;
use ort::value::{DynValue, Tensor, TensorElementType, TensorRef, ValueType};

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

/// Returns a tensor of `shape` in a float type.
pub(crate) fn floats(shape: &[usize], values: Vec<f32>, float: FloatType) -> Result<DynValue> {
    let context = "making an input tensor";
    Ok(match float {
        FloatType::F32 => Tensor::from_array((shape, values))
            .map_err(Error::ort(context))?
            .into_dyn(),
        FloatType::F16 => {
            let values: Vec<f16> = values.into_iter().map(f16::from_f32).collect();
            Tensor::from_array((shape, values))
                .map_err(Error::ort(context))?
                .into_dyn()
        }
    })
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
        let tensor = TensorRef::from_array_view(array).map_err(Error::ort("making an input tensor"))?;
        return Ok(tensor.into());
    }
    Ok(float_array(array, float)?.into())
}

/// Returns an int64 tensor.
pub(crate) fn integers(shape: &[usize], values: Vec<i64>) -> Result<DynValue> {
    Ok(Tensor::from_array((shape, values))
        .map_err(Error::ort("making an input tensor"))?
        .into_dyn())
}

/// Returns an int64 tensor of indices, `[indices]`.
pub(crate) fn indices(indices: &[usize]) -> Result<DynValue> {
    integers(
        &[indices.len()],
        indices.iter().map(|&index| index as i64).collect(),
    )
}

/// Returns a bool tensor, `[1]`.
pub(crate) fn flag(value: bool) -> Result<DynValue> {
    Ok(Tensor::from_array(([1usize], vec![value]))
        .map_err(Error::ort("making an input tensor"))?
        .into_dyn())
}

/// Converts a tensor to a float type; returns `None` if it has that type.
pub(crate) fn converted(value: &DynValue, float: FloatType) -> Result<Option<DynValue>> {
    let context = "converting a cache";
    match (element_type(value).and_then(FloatType::of), float) {
        (Some(FloatType::F32), FloatType::F16) => {
            let (dims, values) = value.try_extract_tensor::<f32>().map_err(Error::ort(context))?;
            let values: Vec<f16> = values.iter().copied().map(f16::from_f32).collect();
            tensor(dims.to_vec(), values).map(Some)
        }
        (Some(FloatType::F16), FloatType::F32) => {
            let (dims, values) = value.try_extract_tensor::<f16>().map_err(Error::ort(context))?;
            let values: Vec<f32> = values.iter().copied().map(f16::to_f32).collect();
            tensor(dims.to_vec(), values).map(Some)
        }
        _ => Ok(None),
    }
}

fn tensor<T>(shape: Vec<i64>, values: Vec<T>) -> Result<DynValue>
where
    T: ort::value::PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    Ok(Tensor::from_array((shape, values))
        .map_err(Error::ort("converting a cache"))?
        .into_dyn())
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

/// [`check_finite`] of a tensor in the CPU's memory.
pub(crate) fn check_finite_value(value: &DynValue, graph: &str, output: &str) -> Result<()> {
    let context = || format!("reading {output} of {graph}");
    let is_finite = match element_type(value) {
        Some(TensorElementType::Float16) => {
            let (_, values) = value.try_extract_tensor::<f16>().map_err(Error::ort(context()))?;
            all_finite(values, |value| value.is_finite())
        }
        _ => {
            let (_, values) = value.try_extract_tensor::<f32>().map_err(Error::ort(context()))?;
            all_finite(values, |value| value.is_finite())
        }
    };
    if is_finite {
        Ok(())
    } else {
        Err(not_finite(graph, output))
    }
}

pub(crate) fn not_finite(graph: &str, output: &str) -> Error {
    Error::NotFinite {
        graph: graph.into(),
        output: output.into(),
    }
}

/// Returns whether all values are finite. Blocks are checked without a branch for each value, so that the loop is vectorised.
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
        Some(TensorElementType::Bool) => gather::<bool>(value, rows),
        other => Err(Error::InvalidGraph {
            graph: "decoder".into(),
            reason: format!("a cache has type {other:?}"),
        }),
    }
}

/// Concatenates tensors along the first axis; their other axes are the same.
pub(crate) fn join_rows(values: &[DynValue]) -> Result<DynValue> {
    match values.first().and_then(element_type) {
        Some(TensorElementType::Float16) => join::<f16>(values),
        Some(TensorElementType::Int64) => join::<i64>(values),
        _ => join::<f32>(values),
    }
}

fn join<T>(values: &[DynValue]) -> Result<DynValue>
where
    T: ort::value::PrimitiveTensorElementType + Copy + std::fmt::Debug + 'static,
{
    let context = "joining the rows of an output";
    let (mut shape, mut joined) = (Vec::new(), Vec::new());
    for value in values {
        let (dims, data) = value.try_extract_tensor::<T>().map_err(Error::ort(context))?;
        let rows: i64 = shape.first().copied().unwrap_or(0);
        shape = dims.to_vec();
        if let Some(first) = shape.first_mut() {
            *first += rows;
        }
        joined.extend_from_slice(data);
    }
    Ok(Tensor::from_array((shape, joined))
        .map_err(Error::ort(context))?
        .into_dyn())
}

fn gather<T>(value: &DynValue, rows: &[usize]) -> Result<DynValue>
where
    T: ort::value::PrimitiveTensorElementType + Copy + std::fmt::Debug + 'static,
{
    let (dims, data) = value
        .try_extract_tensor::<T>()
        .map_err(Error::ort("reordering a cache"))?;
    let mut shape: Vec<i64> = dims.to_vec();
    let row_size: usize = shape
        .iter()
        .skip(1)
        .map(|&dim| usize::try_from(dim).unwrap_or(0))
        .product();
    let mut gathered = Vec::with_capacity(rows.len() * row_size);
    for &row in rows {
        let source = data
            .get(row * row_size..(row + 1) * row_size)
            .ok_or_else(|| Error::InvalidGraph {
                graph: "decoder".into(),
                reason: format!("a cache of shape {dims:?} has no row {row}"),
            })?;
        gathered.extend_from_slice(source);
    }
    if let Some(first) = shape.first_mut() {
        *first = rows.len() as i64;
    }
    Ok(Tensor::from_array((shape, gathered))
        .map_err(Error::ort("reordering a cache"))?
        .into_dyn())
}
