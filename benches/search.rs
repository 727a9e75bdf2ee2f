//! The search without the decoder: log-softmax, logits processors, candidates, beams. The logits come from a table.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use florence2::Result;
use florence2::generation::{Decoder, GenerationConfig, GenerationOptions, Hooks, Logits, generate};
use florence2::ndarray::{Array2, s};

const VOCABULARY: usize = 51_289;
const TOKENS: usize = 64;
const MAX_ROWS: usize = 5;

/// Returns rows of a table of logits, other ones at each step.
struct TableDecoder<'a> {
    table: &'a Array2<f32>,
    rows: usize,
    steps: usize,
}

impl Decoder for TableDecoder<'_> {
    fn inputs(&self) -> usize {
        1
    }

    fn admit(&mut self, _: &[u32]) -> Result<Option<Logits<'_>>> {
        if self.rows > 0 {
            return Ok(None);
        }
        self.rows = 1;
        self.step(&[]).map(Some)
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn step(&mut self, _: &[u32]) -> Result<Logits<'_>> {
        self.steps += 1;
        let first = self.steps % (self.table.nrows() - self.rows);
        Ok(Logits::new(self.table.slice(s![first..first + self.rows, ..])))
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        self.rows = parents.len();
        Ok(())
    }
}

/// Returns logits with a distribution like a model's: bell-shaped, with few high values.
fn table() -> Array2<f32> {
    let mut state = 1u32;
    let mut uniform = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    Array2::from_shape_simple_fn((MAX_ROWS + 16, VOCABULARY), || {
        (0..4).map(|_| uniform()).sum::<f32>() * 5.0 - 10.0
    })
}

/// Returns the settings of the published checkpoints, for a search of [`TOKENS`] tokens.
fn config(options: GenerationOptions) -> GenerationConfig {
    let mut config = GenerationConfig::default();
    config.forced_bos_token_id = Some(0);
    config.forced_eos_token_ids = vec![2];
    config.no_repeat_ngram_size = 3;
    config
        .with_options(&options.with_min_new_tokens(TOKENS).with_max_new_tokens(TOKENS))
        .unwrap()
}

fn search(criterion: &mut Criterion) {
    let table = table();
    let options = GenerationOptions::default;
    let mut group = criterion.benchmark_group("search, a token");
    // The first token is forced.
    group.throughput(Throughput::Elements(TOKENS as u64 - 1));
    for (name, options) in [
        ("greedy", options().with_num_beams(1)),
        ("3 beams", options().with_num_beams(3)),
        ("5 beams", options().with_num_beams(5)),
        (
            "sampling, top-k 50",
            options().with_do_sample(true).with_top_k(50),
        ),
        (
            "sampling, top-p 0.9",
            options().with_do_sample(true).with_top_k(0).with_top_p(0.9),
        ),
    ] {
        let config = config(options);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut decoder = TableDecoder {
                    table: black_box(&table),
                    rows: 0,
                    steps: 0,
                };
                let sequences = generate(&mut decoder, &config, Hooks::default()).unwrap();
                assert_eq!(sequences[0][0].token_ids.len(), TOKENS);
                sequences
            });
        });
    }
    group.finish();
}

criterion_group!(benches, search);
criterion_main!(benches);
