//! `CachedSelfAttention`: attention of new tokens to earlier ones, with a KV cache.

use florence2_layout::operators::CACHED_SELF_ATTENTION;
use ort::Error;
use ort::operator::{ComputeContext, Kernel, KernelContext};
use ort::value::Shape;
use ort::value::TensorElementType::{self, Float32, Int32};
use pulp::Arch;

use super::custom::CustomOperator;
use super::shared_attention::Head;
use super::{parallel, tensors};

/// | | | |
/// |---|---|---|
/// | inputs | `query_key_value` | of the new tokens: `[rows, tokens, 3 · heads · size]` |
/// | | `past_key`, `past_value` | `[rows, heads, capacity, size]` each |
/// | | `last_positions` | 32-bit integers, `[rows]`: the position of the last new token |
/// | | `longest` | unused |
/// | attributes | `heads` | |
/// | outputs | `attended` | `[rows, tokens, heads · size]`: `softmax(query · keyᵀ / √size) · value` of each head, causal |
/// | | `present_key`, `present_value` | the past ones with the new tokens at their positions |
///
/// All but the positions are 32-bit floats. If past and present are bound to the same memory, only the new tokens are
/// written.
pub(super) struct CachedSelfAttention {
    arch: Arch,
    heads: usize,
}

impl CustomOperator for CachedSelfAttention {
    const NAME: &str = CACHED_SELF_ATTENTION;
    const INPUTS: &[TensorElementType] = &[Float32, Float32, Float32, Int32, Int32];
    const OUTPUTS: &[usize] = &[0, 1, 2];

    fn new(context: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self {
            arch: Arch::new(),
            heads: tensors::count(context, "heads")?,
        })
    }

    fn adjust_shape(output: usize, sizes: &mut [i64]) {
        if let (0, Some(width)) = (output, sizes.last_mut()) {
            // -1, an unknown width, stays -1.
            *width = width.div_euclid(3);
        }
    }
}

impl Kernel for CachedSelfAttention {
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
        let new = NewTokens {
            values: new,
            tokens,
            heads,
            size,
            capacity,
            starts: starts(last_positions, tokens, capacity)?,
        };
        let mut attended = tensors::output(context, 0, &Shape::from(&[rows, tokens, width][..]))?;
        let attended = attended.try_extract_tensor_mut::<f32>()?.1;
        let mut present_key = tensors::output(context, 1, past_key.shape())?;
        let mut present_value = tensors::output(context, 2, past_value.shape())?;
        let keys = tensors::carry_over(&past_key, &mut present_key)?;
        let values = tensors::carry_over(&past_value, &mut present_value)?;
        if attended.is_empty() {
            return Ok(());
        }
        new.append(NewTokens::KEY, keys);
        new.append(NewTokens::VALUE, values);
        let work = new.attention(keys, values, attended);
        parallel::for_each(context, work, |head| self.arch.dispatch(head))
    }
}

/// Returns the position of each row's first new token.
fn starts(last_positions: &[i32], tokens: usize, capacity: usize) -> ort::Result<Vec<usize>> {
    let start = |&last: &i32| {
        let end = usize::try_from(last).map_or(0, |last| last + 1);
        let start = end.checked_sub(tokens).filter(|_| end <= capacity);
        start.ok_or_else(|| Error::new(format!("position {last} for {tokens} of {capacity} tokens")))
    };
    last_positions.iter().map(start).collect()
}

/// Queries, keys and values of new tokens, and where they go in the caches.
struct NewTokens<'a> {
    /// `[rows, tokens, 3, heads, size]`
    values: &'a [f32],
    tokens: usize,
    heads: usize,
    size: usize,
    /// The capacity of a cache's row, in tokens.
    capacity: usize,
    /// By row: the position of the first new token.
    starts: Vec<usize>,
}

impl NewTokens<'_> {
    const QUERY: usize = 0;
    const KEY: usize = 1;
    const VALUE: usize = 2;

    /// Returns the query, key or value of a token's head.
    fn get(&self, row: usize, token: usize, kind: usize, head: usize) -> &[f32] {
        let start = (((row * self.tokens + token) * 3 + kind) * self.heads + head) * self.size;
        &self.values[start..start + self.size]
    }

    /// Copies the keys or values into a cache, `[rows, heads, capacity, size]`.
    fn append(&self, kind: usize, cache: &mut [f32]) {
        for (index, cache) in cache.chunks_exact_mut(self.capacity * self.size).enumerate() {
            let (row, head) = (index / self.heads, index % self.heads);
            let slots = cache.chunks_exact_mut(self.size).skip(self.starts[row]);
            for (token, slot) in slots.take(self.tokens).enumerate() {
                slot.copy_from_slice(self.get(row, token, kind, head));
            }
        }
    }

    /// Returns the attention of each new token's heads to the tokens in the caches up to its own position.
    fn attention<'o>(
        &'o self,
        keys: &'o [f32],
        values: &'o [f32],
        attended: &'o mut [f32],
    ) -> impl Iterator<Item = Head<'o>> {
        let (tokens, heads, size) = (self.tokens, self.heads, self.size);
        let results = attended.chunks_exact_mut(size).enumerate();
        results.map(move |(index, attended)| {
            let (row, token, head) = (index / (tokens * heads), index / heads % tokens, index % heads);
            let cache = (row * heads + head) * self.capacity * size..;
            let length = (self.starts[row] + token + 1) * size;
            Head {
                keys: &keys[cache.clone()][..length],
                values: &values[cache][..length],
                size,
                queries: vec![self.get(row, token, Self::QUERY, head)],
                attended: vec![attended],
            }
        })
    }
}
