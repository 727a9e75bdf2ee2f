//! Inputs and output of attention whose query, key and value have the same shape.

use ort::Error;
use ort::operator::ComputeContext;

use super::tensors;

/// Calls `attend` with the sizes `[batch, tokens, width]` of all tensors, the values of query, key and value (inputs 0 to 2)
/// and those of the output, unless it is empty. The width is a multiple of `parts`, the number of heads or groups.
pub(super) fn compute(
    context: &ComputeContext,
    parts: usize,
    attend: impl FnOnce([usize; 3], [&[f32]; 3], &mut [f32]) -> ort::Result<()>,
) -> ort::Result<()> {
    let [query, key, value] = [0, 1, 2].map(|index| tensors::input(context, index));
    let (query, key, value) = (query?, key?, value?);
    let (shape, query) = query.try_extract_tensor::<f32>()?;
    let (key_shape, key) = key.try_extract_tensor::<f32>()?;
    let (value_shape, value) = value.try_extract_tensor::<f32>()?;
    let &[batch, tokens, width] = &*tensors::sizes(shape) else {
        return Err(Error::new("queries must have 3 dimensions"));
    };
    if [key_shape, value_shape] != [shape; 2] || !width.is_multiple_of(parts) {
        return Err(Error::new(format!(
            "queries {shape} of {parts} heads or groups do not fit keys {key_shape} and values {value_shape}"
        )));
    }
    let mut attended = tensors::output(context, 0, shape)?;
    match attended.try_extract_tensor_mut::<f32>()?.1 {
        [] => Ok(()),
        attended => attend([batch, tokens, width], [query, key, value], attended),
    }
}
