//! `CrossAttention`: attention of an image's queries to keys and values that they share.

use florence2_layout::operators::CROSS_ATTENTION;
use ort::Error;
use ort::operator::{ComputeContext, Kernel, KernelContext};
use ort::value::TensorElementType::{self, Float32, Int32};
use pulp::Arch;

use super::custom::CustomOperator;
use super::shared_attention::Head;
use super::{parallel, tensors};

/// | | | |
/// |---|---|---|
/// | inputs | `query` | `[images, queries, heads · size]` |
/// | | `key`, `value` | `[images, heads, capacity, size]` each |
/// | | `lengths` | 32-bit integers, `[images]`: the number of valid keys of each image |
/// | attributes | `heads` | |
/// | outputs | `attended` | `softmax(query · keyᵀ / √size) · value` of each head, shaped as `query` |
///
/// All but the lengths are 32-bit floats. Keys and values, most of the memory that is read, are read once for up to four
/// queries; a query's result does not depend on the others.
pub(super) struct CrossAttention {
    arch: Arch,
    heads: usize,
}

impl CustomOperator for CrossAttention {
    const NAME: &str = CROSS_ATTENTION;
    const INPUTS: &[TensorElementType] = &[Float32, Float32, Float32, Int32];
    const OUTPUTS: &[usize] = &[0];

    fn new(context: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self {
            arch: Arch::new(),
            heads: tensors::count(context, "heads")?,
        })
    }
}

impl Kernel for CrossAttention {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let inputs = [0, 1, 2, 3].map(|index| tensors::input(context, index));
        let [query, key, value, lengths] = inputs;
        let (query, key, value, lengths) = (query?, key?, value?, lengths?);
        let (query_shape, query) = query.try_extract_tensor::<f32>()?;
        let (key_shape, key) = key.try_extract_tensor::<f32>()?;
        let (value_shape, value) = value.try_extract_tensor::<f32>()?;
        let (_, lengths) = lengths.try_extract_tensor::<i32>()?;

        let sizes = (tensors::sizes(query_shape), tensors::sizes(key_shape));
        let (&[images, queries, width], &[key_images, heads, capacity, size]) = (&*sizes.0, &*sizes.1) else {
            return Err(Error::new("queries must have 3 dimensions, keys 4"));
        };
        let fits = [key_images, heads, heads * size, lengths.len()] == [images, self.heads, width, images];
        if !fits || key_shape != value_shape {
            return Err(Error::new(format!(
                "queries {query_shape} of {} heads do not fit keys {key_shape} and values {value_shape} of {} lengths",
                self.heads,
                lengths.len()
            )));
        }
        let lengths: Vec<usize> = lengths
            .iter()
            .map(|&length| usize::try_from(length).unwrap_or(0))
            .collect();
        if let Some(length) = lengths.iter().find(|length| !(1..=capacity).contains(length)) {
            return Err(Error::new(format!("{length} of {capacity} keys")));
        }
        let mut attended = tensors::output(context, 0, query_shape)?;
        let attended = attended.try_extract_tensor_mut::<f32>()?.1;
        if attended.is_empty() {
            return Ok(());
        }
        let part = capacity * size;
        let heads_of_images = key.chunks_exact(part).zip(value.chunks_exact(part));
        let mut work: Vec<Head<'_>> = heads_of_images
            .zip(
                lengths
                    .iter()
                    .flat_map(|&length| std::iter::repeat_n(length, heads)),
            )
            .map(|((keys, values), length)| Head {
                keys: &keys[..length * size],
                values: &values[..length * size],
                size,
                queries: Vec::with_capacity(queries),
                attended: Vec::with_capacity(queries),
            })
            .collect();
        let parts = query.chunks_exact(size).zip(attended.chunks_exact_mut(size));
        for (index, (query, attended)) in parts.enumerate() {
            let head = &mut work[index / (queries * heads) * heads + index % heads];
            head.queries.push(query);
            head.attended.push(attended);
        }
        parallel::for_each(context, work, |head| self.arch.dispatch(head))
    }
}
