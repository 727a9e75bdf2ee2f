//! `--num-beams` and the like.

use clap::{Args, ValueEnum};
use florence2::generation::{EarlyStopping, GenerationConfig, GenerationOptions};

use crate::console::Console;
use crate::error::{Error, Result};

/// The search; what is not given is as the checkpoint has it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Generation (default: what the checkpoint asks for)")]
pub struct GenerationArgs {
    /// Beams; 1 is greedy search
    #[arg(long, value_name = "N")]
    num_beams: Option<usize>,
    /// The most tokens to generate
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// No end before this many tokens
    #[arg(long, value_name = "N")]
    min_new_tokens: Option<usize>,
    /// Sequences to return, at most as many as beams
    #[arg(long, value_name = "N")]
    num_return_sequences: Option<usize>,
    /// Above 0 favours long sequences, below 0 short ones
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    length_penalty: Option<f64>,
    /// When beam search stops: with as many finished sequences as beams; when it sees no better ones coming; when
    /// there can be no better ones
    #[arg(long, value_enum, value_name = "WHEN")]
    early_stopping: Option<EarlyStoppingArg>,
    /// No n-gram of this size twice; 0 is off
    #[arg(long, value_name = "N")]
    no_repeat_ngram_size: Option<usize>,
    /// Above 1 makes tokens less likely that are there already
    #[arg(long, value_name = "X")]
    repetition_penalty: Option<f64>,
    /// Draw tokens at random, by their probabilities
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    do_sample: Option<bool>,
    /// Sampling: below 1 sharpens the distribution, above 1 flattens it
    #[arg(long, value_name = "X")]
    temperature: Option<f64>,
    /// Sampling: only the N best tokens; 0 is off
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Sampling: only the best tokens that together have this probability; 1 is off
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Sampling: only tokens with this share of the best one's probability
    #[arg(long, value_name = "P")]
    min_p: Option<f64>,
    /// Sampling: the seed of the random numbers
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// transformers' names.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum EarlyStoppingArg {
    True,
    False,
    Never,
}

impl From<EarlyStoppingArg> for EarlyStopping {
    fn from(arg: EarlyStoppingArg) -> Self {
        match arg {
            EarlyStoppingArg::True => EarlyStopping::WhenFull,
            EarlyStoppingArg::False => EarlyStopping::Heuristic,
            EarlyStoppingArg::Never => EarlyStopping::Never,
        }
    }
}

impl GenerationArgs {
    /// The settings given. Streaming is for one sequence, which is what it gets unless the user says otherwise.
    pub fn options(&self, stream: bool) -> Result<GenerationOptions> {
        let mut options = GenerationOptions::default();
        options.num_beams = self.num_beams;
        options.max_new_tokens = self.max_new_tokens;
        options.min_new_tokens = self.min_new_tokens;
        options.num_return_sequences = self.num_return_sequences;
        options.length_penalty = self.length_penalty;
        options.early_stopping = self.early_stopping.map(EarlyStopping::from);
        options.no_repeat_ngram_size = self.no_repeat_ngram_size;
        options.repetition_penalty = self.repetition_penalty;
        options.do_sample = self.do_sample;
        options.temperature = self.temperature;
        options.top_k = self.top_k;
        options.top_p = self.top_p;
        options.min_p = self.min_p;
        options.seed = self.seed;
        if stream {
            for (name, value) in [
                ("--num-beams", &mut options.num_beams),
                ("--num-return-sequences", &mut options.num_return_sequences),
            ] {
                if *value.get_or_insert(1) != 1 {
                    return Err(Error::Usage(format!(
                        "--stream follows one sequence: leave out {name}"
                    )));
                }
            }
        }
        Ok(options)
    }

    /// Says which of the settings given change nothing in this search.
    pub fn warn_of_idle_settings(&self, search: &GenerationConfig, console: &Console) {
        let idle = |given: &[(&str, bool)], unless: &str| {
            let names: Vec<&str> = given
                .iter()
                .filter(|(_, given)| *given)
                .map(|(name, _)| *name)
                .collect();
            if !names.is_empty() {
                console.warn(&format!(
                    "without {unless}, this changes nothing: {}",
                    names.join(", ")
                ));
            }
        };
        if !search.do_sample {
            let sampling = [
                ("--temperature", self.temperature.is_some()),
                ("--top-k", self.top_k.is_some()),
                ("--top-p", self.top_p.is_some()),
                ("--min-p", self.min_p.is_some()),
                ("--seed", self.seed.is_some()),
            ];
            idle(&sampling, "--do-sample");
        }
        if !search.uses_beams() {
            let beams = [
                ("--length-penalty", self.length_penalty.is_some()),
                ("--early-stopping", self.early_stopping.is_some()),
            ];
            idle(&beams, "--num-beams 2 or more");
        }
    }
}
