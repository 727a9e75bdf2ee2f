//! Generation options: `--num-beams` and others.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use florence2::generation::{EarlyStopping, GenerationConfig, GenerationOptions};

use crate::console::Console;
use crate::error::{Error, Result};

/// Options of the search; the checkpoint's settings hold for those not given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Generation (default: the checkpoint's settings)")]
pub struct GenerationArgs {
    /// Number of beams; 1 is greedy search
    #[arg(long, value_name = "N")]
    num_beams: Option<usize>,
    /// Maximum number of tokens to generate
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Minimum number of tokens to generate
    #[arg(long, value_name = "N")]
    min_new_tokens: Option<usize>,
    /// Number of sequences to return, at most the number of beams
    #[arg(long, value_name = "N")]
    num_return_sequences: Option<usize>,
    /// Length penalty: above 0 favours long sequences, below 0 short ones
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    length_penalty: Option<f64>,
    /// When beam search stops: with as many finished sequences as beams (true), if better ones are unlikely (false) or
    /// impossible (never)
    #[arg(long, value_parser = early_stopping(), value_name = "WHEN")]
    early_stopping: Option<EarlyStopping>,
    /// Size of n-grams that may occur only once; 0 is off
    #[arg(long, value_name = "N")]
    no_repeat_ngram_size: Option<usize>,
    /// Above 1 makes repeated tokens less likely
    #[arg(long, value_name = "X")]
    repetition_penalty: Option<f64>,
    /// Sample tokens by their probabilities
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    do_sample: Option<bool>,
    /// Sampling: below 1 sharpens the distribution, above 1 flattens it
    #[arg(long, value_name = "X")]
    temperature: Option<f64>,
    /// Sampling: keep only the N best tokens; 0 is off
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Sampling: keep only the best tokens that together have this probability; 1 is off
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Sampling: keep only tokens with this fraction of the best one's probability
    #[arg(long, value_name = "P")]
    min_p: Option<f64>,
    /// Sampling: seed of the random numbers
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Parses transformers' values of `early_stopping`.
fn early_stopping() -> impl TypedValueParser<Value = EarlyStopping> {
    PossibleValuesParser::new(["true", "false", "never"]).map(|value| match value.as_str() {
        "true" => EarlyStopping::WhenFull,
        "never" => EarlyStopping::Never,
        _ => EarlyStopping::Heuristic,
    })
}

impl GenerationArgs {
    /// Returns the options given. With `stream`, beams and sequences default to 1, the only value allowed.
    pub fn options(&self, stream: bool) -> Result<GenerationOptions> {
        let mut options = GenerationOptions::default();
        options.num_beams = self.num_beams;
        options.max_new_tokens = self.max_new_tokens;
        options.min_new_tokens = self.min_new_tokens;
        options.num_return_sequences = self.num_return_sequences;
        options.length_penalty = self.length_penalty;
        options.early_stopping = self.early_stopping;
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

    /// Warns of options given that have no effect on this search.
    pub fn warn_of_idle_options(&self, search: &GenerationConfig, console: &Console) {
        let sampling = [
            ("--temperature", self.temperature.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--min-p", self.min_p.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        let beams = [
            ("--length-penalty", self.length_penalty.is_some()),
            ("--early-stopping", self.early_stopping.is_some()),
        ];
        for (is_on, switch, options) in [
            (search.do_sample, "--do-sample", sampling.as_slice()),
            (search.uses_beams(), "--num-beams 2 or more", &beams),
        ] {
            let given = options.iter().filter(|(_, is_given)| *is_given);
            let names: Vec<&str> = given.map(|(name, _)| *name).collect();
            if !is_on && !names.is_empty() {
                console.warn(&format!(
                    "without {switch}, these options have no effect: {}",
                    names.join(", ")
                ));
            }
        }
    }
}
