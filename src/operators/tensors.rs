//! An operator's inputs and outputs.

use ort::Error;
use ort::operator::{ComputeContext, FromKernelContext, KernelContext};
use ort::value::{Shape, TensorValueType, ValueRef, ValueRefMut};

/// An input that must be there.
pub(super) fn input(context: &ComputeContext, index: usize) -> ort::Result<ValueRef<'_>> {
    let value = context.input(index)?;
    value.ok_or_else(|| Error::new(format!("input {index} is missing")))
}

/// An output, allocated in this shape, that must be wanted.
pub(super) fn output<'a>(
    context: &'a ComputeContext,
    index: usize,
    shape: &Shape,
) -> ort::Result<ValueRefMut<'a>> {
    let value = context.output(index, shape.clone())?;
    value.ok_or_else(|| Error::new(format!("output {index} is missing")))
}

/// Inputs that are constants of the graph: shape and values of each.
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
        let sides = shape.iter().map(|&side| usize::try_from(side).unwrap_or(0));
        *constant = (sides.collect(), values.to_vec());
    }
    Ok(constants)
}

/// An attribute that must be there.
pub(super) fn attribute<'a, T: FromKernelContext<'a>>(
    context: &KernelContext<'a>,
    name: &str,
) -> ort::Result<T> {
    let value = context.get::<T>(name);
    value.ok_or_else(|| Error::new(format!("attribute {name} is missing or of another type")))
}
