//! Inputs, outputs and attributes of operators.

use std::sync::atomic::{AtomicUsize, Ordering};

use florence2_layout::operators::DOMAIN;
use ort::Error;
use ort::operator::{ComputeContext, FromKernelContext, KernelContext, ShapeInferenceContext};
use ort::value::{Shape, TensorValueType, ValueRef, ValueRefMut, ValueType};

/// Returns a required input.
pub(super) fn input(context: &ComputeContext, index: usize) -> ort::Result<ValueRef<'_>> {
    let value = context.input(index)?;
    value.ok_or_else(|| Error::new(format!("input {index} is missing")))
}

/// Infers an output's shape from an input's, modified by `change`. Sizes that are neither known nor named get a unique name:
/// ONNX Runtime would take unnamed ones for sizes of -1.
pub(super) fn output_like_input(
    context: &mut ShapeInferenceContext,
    output: usize,
    input: usize,
    change: impl FnOnce(&mut [i64]),
) -> ort::Result<()> {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let Some(ValueType::Tensor {
        ty,
        shape,
        dimension_symbols,
    }) = context.inputs().into_iter().nth(input)
    else {
        return Ok(());
    };
    let mut sizes = shape.to_vec();
    change(&mut sizes);
    let name = |(&size, name): (&i64, &String)| {
        if size < 0 && name.is_empty() {
            format!("{DOMAIN}_{}", NAMES.fetch_add(1, Ordering::Relaxed))
        } else {
            name.clone()
        }
    };
    let dimension_symbols = sizes.iter().zip(dimension_symbols.iter()).map(name).collect();
    let shape = Shape::from(sizes);
    context.set_output(
        output,
        &ValueType::Tensor {
            ty,
            shape,
            dimension_symbols,
        },
    )
}

/// Returns an output's values, initialized with an input of the same shape, which may be in the same memory.
pub(super) fn carry_over<'o>(
    past: &ValueRef<'_>,
    present: &'o mut ValueRefMut<'_>,
) -> ort::Result<&'o mut [f32]> {
    let past_values = past.try_extract_tensor::<f32>()?.1.as_ptr();
    let values = present.try_extract_tensor_mut::<f32>()?.1;
    // If the memory is the same, only this view of it is used.
    if values.as_ptr() != past_values {
        values.copy_from_slice(past.try_extract_tensor::<f32>()?.1);
    }
    Ok(values)
}

/// Allocates a required output.
pub(super) fn output<'a>(
    context: &'a ComputeContext,
    index: usize,
    shape: &Shape,
) -> ort::Result<ValueRefMut<'a>> {
    let value = context.output(index, shape.clone())?;
    value.ok_or_else(|| Error::new(format!("output {index} is missing")))
}

/// Returns the shapes and values of inputs that are constants of the graph.
pub(super) fn constants<const N: usize>(
    context: &KernelContext<'_>,
    indices: [usize; N],
) -> ort::Result<[(Vec<usize>, Vec<f32>); N]> {
    let mut constants = [const { (Vec::new(), Vec::new()) }; N];
    for (constant, index) in constants.iter_mut().zip(indices) {
        let value = context
            .constant_input::<TensorValueType<f32>>(index)
            .map_err(|error| {
                Error::new(format!(
                    "input {index} must be a constant of 32-bit floats: {error}"
                ))
            })?;
        let (shape, values) = value.extract_tensor();
        *constant = (sizes(shape), values.to_vec());
    }
    Ok(constants)
}

/// Returns the sizes of a tensor's axes.
pub(super) fn sizes(shape: &Shape) -> Vec<usize> {
    let sizes = shape.iter().map(|&size| usize::try_from(size).unwrap_or(0));
    sizes.collect()
}

/// Returns a required attribute that is 1 or more.
pub(super) fn count(context: &KernelContext<'_>, name: &str) -> ort::Result<usize> {
    let count: i64 = attribute(context, name)?;
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(Error::new(format!(
            "attribute {name} must be 1 or more, and is {count}"
        ))),
    }
}

/// Returns a required attribute.
pub(super) fn attribute<'a, T: FromKernelContext<'a>>(
    context: &KernelContext<'a>,
    name: &str,
) -> ort::Result<T> {
    let value = context.get::<T>(name);
    value.ok_or_else(|| Error::new(format!("attribute {name} is missing or of another type")))
}
