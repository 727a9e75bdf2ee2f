//! `CachedSelfAttention`: of new tokens to those before them, whose keys and values are kept.

use florence2_layout::operators::CACHED_SELF_ATTENTION;
use ort::Error;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput, ShapeInferenceContext,
};
use ort::value::Shape;
use ort::value::TensorElementType::{Float32, Int32};
use pulp::Arch;

use super::shared_attention::Head;
use super::{parallel, tensors};

/// | | | |
/// |---|---|---|
/// | inputs | `query_key_value` | of the new tokens: `[rows, tokens, 3 · heads · size]` |
/// | | `past_key`, `past_value` | `[rows, heads, capacity, size]` each |
/// | | `last_positions` | 32-bit integers, `[rows]`: where the last new token goes |
/// | | `longest` | of no use here |
/// | attributes | `heads` | |
/// | outputs | `attended` | `[rows, tokens, heads · size]`: `softmax(query · keyᵀ / √size) · value` for each head, over a token and all before it |
/// | | `present_key`, `present_value` | the past ones with the new tokens in their places |
///
/// All but the positions are 32-bit floats. Where past and present are bound to the same memory, only the new tokens are
/// written.
pub(super) struct CachedSelfAttention;

impl Operator for CachedSelfAttention {
    type Kernel<'attr> = CachedSelfAttentionKernel;

    fn name(&self) -> &str {
        CACHED_SELF_ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [Float32, Float32, Float32, Int32, Int32].map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [const { OperatorOutput::required(Float32) }; 3]
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        tensors::output_like_input(context, 0, 0, |sizes| {
            // Unknown ones, which are -1, stay so.
            if let Some(width) = sizes.last_mut() {
                *width = width.div_euclid(3);
            }
        })?;
        tensors::output_like_input(context, 1, 1, |_| ())?;
        tensors::output_like_input(context, 2, 2, |_| ())
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<CachedSelfAttentionKernel> {
        Ok(CachedSelfAttentionKernel {
            arch: Arch::new(),
            heads: tensors::count(context, "heads")?,
        })
    }
}

pub(super) struct CachedSelfAttentionKernel {
    arch: Arch,
    heads: usize,
}

impl Kernel for CachedSelfAttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let [new, past_key, past_value, last_positions] =
            [0, 1, 2, 3].map(|index| tensors::input(context, index));
        let (new, past_key, past_value, last_positions) = (new?, past_key?, past_value?, last_positions?);
        let (new_shape, new) = new.try_extract_tensor::<f32>()?;
        let last_positions = last_positions.try_extract_tensor::<i32>()?.1;
        let (sizes, cache_sizes) = (tensors::sizes(new_shape), tensors::sizes(past_key.shape()));
        let (&[rows, tokens, widths], &[cache_rows, heads, capacity, size]) = (&*sizes, &*cache_sizes) else {
            return Err(Error::new("new tokens must have 3 dimensions, caches 4"));
        };
        let width = heads * size;
        let fits = [cache_rows, heads, 3 * width, last_positions.len()] == [rows, self.heads, widths, rows];
        if !fits || past_value.shape() != past_key.shape() {
            return Err(Error::new(format!(
                "new tokens {new_shape} of {} heads do not fit caches {} and {} and {} positions",
                self.heads,
                past_key.shape(),
                past_value.shape(),
                last_positions.len()
            )));
        }
        let mut starts = Vec::with_capacity(rows);
        for &last in last_positions {
            let end = usize::try_from(last).map_or(0, |last| last + 1);
            match end.checked_sub(tokens) {
                Some(start) if end <= capacity => starts.push(start),
                _ => {
                    return Err(Error::new(format!(
                        "position {last} for {tokens} of {capacity} tokens"
                    )));
                }
            }
        }
        let mut attended = tensors::output(context, 0, &Shape::from(&[rows, tokens, width][..]))?;
        let attended = attended.try_extract_tensor_mut::<f32>()?.1;
        let mut present_key = tensors::output(context, 1, past_key.shape())?;
        let mut present_value = tensors::output(context, 2, past_value.shape())?;
        let keys = tensors::carry_over(&past_key, &mut present_key)?;
        let values = tensors::carry_over(&past_value, &mut present_value)?;
        if attended.is_empty() {
            return Ok(());
        }
        let new = NewTokens {
            values: new,
            tokens,
            width,
            size,
        };
        let part = capacity * size;
        for (cache, kind) in [(&mut *keys, NewTokens::KEY), (&mut *values, NewTokens::VALUE)] {
            for (index, cache) in cache.chunks_exact_mut(part).enumerate() {
                let (row, head) = (index / heads, index % heads);
                let places = cache.chunks_exact_mut(size).skip(starts[row]);
                for (token, place) in places.take(tokens).enumerate() {
                    place.copy_from_slice(new.get(row, token, kind, head));
                }
            }
        }
        let (keys, values) = (&*keys, &*values);
        let work = attended
            .chunks_exact_mut(size)
            .enumerate()
            .map(|(index, attended)| {
                let (row, token, head) = (index / (tokens * heads), index / heads % tokens, index % heads);
                let cache = (row * heads + head) * part..;
                let length = (starts[row] + token + 1) * size;
                Head {
                    keys: &keys[cache.clone()][..length],
                    values: &values[cache][..length],
                    size,
                    queries: vec![new.get(row, token, NewTokens::QUERY, head)],
                    attended: vec![attended],
                }
            });
        parallel::for_each(context, work, |head| self.arch.dispatch(head))
    }
}

/// Queries, keys and values of new tokens: `[rows, tokens, 3, heads, size]`.
struct NewTokens<'a> {
    values: &'a [f32],
    tokens: usize,
    /// Of all heads.
    width: usize,
    size: usize,
}

impl<'a> NewTokens<'a> {
    const QUERY: usize = 0;
    const KEY: usize = 1;
    const VALUE: usize = 2;

    fn get(&self, row: usize, token: usize, kind: usize, head: usize) -> &'a [f32] {
        let start = ((row * self.tokens + token) * 3 + kind) * self.width + head * self.size;
        &self.values[start..start + self.size]
    }
}
