//! A caller's overrides of generation settings.

use super::config::{EarlyStopping, GenerationConfig};
use crate::error::Result;

/// Declares the options, their setters and how they override a [`GenerationConfig`].
macro_rules! generation_options {
    ($($(#[$doc:meta])* $name:ident, $with:ident: $type:ty;)+) => {
        /// A caller's overrides of the checkpoint's generation settings; `None` keeps the checkpoint's.
        #[derive(Debug, Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct GenerationOptions {
            $($(#[$doc])* pub $name: Option<$type>,)+
        }

        impl GenerationOptions {
            $($(#[$doc])*
            #[must_use]
            pub fn $with(mut self, $name: $type) -> Self {
                self.$name = Some($name);
                self
            })+

            fn override_in(&self, config: &mut GenerationConfig) {
                $(if let Some($name) = self.$name.clone() {
                    config.$name = $name.into();
                })+
            }
        }
    };
}

generation_options! {
    /// Overrides [`GenerationConfig::num_beams`].
    num_beams, with_num_beams: usize;
    /// Overrides [`GenerationConfig::num_return_sequences`].
    num_return_sequences, with_num_return_sequences: usize;
    /// Overrides [`GenerationConfig::max_new_tokens`].
    max_new_tokens, with_max_new_tokens: usize;
    /// Overrides [`GenerationConfig::min_new_tokens`].
    min_new_tokens, with_min_new_tokens: usize;
    /// Overrides [`GenerationConfig::length_penalty`].
    length_penalty, with_length_penalty: f64;
    /// Overrides [`GenerationConfig::early_stopping`].
    early_stopping, with_early_stopping: EarlyStopping;
    /// Overrides [`GenerationConfig::no_repeat_ngram_size`].
    no_repeat_ngram_size, with_no_repeat_ngram_size: usize;
    /// Overrides [`GenerationConfig::repetition_penalty`].
    repetition_penalty, with_repetition_penalty: f64;
    /// Overrides [`GenerationConfig::bad_words_ids`].
    bad_words_ids, with_bad_words_ids: Vec<Vec<u32>>;
    /// Overrides [`GenerationConfig::suppress_tokens`].
    suppress_tokens, with_suppress_tokens: Vec<u32>;
    /// Overrides [`GenerationConfig::begin_suppress_tokens`].
    begin_suppress_tokens, with_begin_suppress_tokens: Vec<u32>;
    /// Overrides [`GenerationConfig::forced_bos_token_id`].
    forced_bos_token_id, with_forced_bos_token_id: u32;
    /// Overrides [`GenerationConfig::forced_eos_token_ids`].
    forced_eos_token_ids, with_forced_eos_token_ids: Vec<u32>;
    /// Overrides [`GenerationConfig::renormalize_logits`].
    renormalize_logits, with_renormalize_logits: bool;
    /// Overrides [`GenerationConfig::do_sample`].
    do_sample, with_do_sample: bool;
    /// Overrides [`GenerationConfig::temperature`].
    temperature, with_temperature: f64;
    /// Overrides [`GenerationConfig::top_k`].
    top_k, with_top_k: usize;
    /// Overrides [`GenerationConfig::top_p`].
    top_p, with_top_p: f64;
    /// Overrides [`GenerationConfig::min_p`].
    min_p, with_min_p: f64;
    /// Overrides [`GenerationConfig::typical_p`].
    typical_p, with_typical_p: f64;
    /// Overrides [`GenerationConfig::seed`].
    seed, with_seed: u64;
}

impl GenerationConfig {
    /// Returns these settings with a caller's overrides. `max_new_tokens` is reduced to the decoder's positions.
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for the first invalid setting.
    pub fn with_options(&self, options: &GenerationOptions) -> Result<Self> {
        let mut config = self.clone();
        options.override_in(&mut config);
        config.limit_to_positions();
        config.validate()?;
        Ok(config)
    }

    pub(super) fn limit_to_positions(&mut self) {
        if self.max_new_tokens > self.max_positions {
            tracing::debug!(
                "max_new_tokens {} is reduced to the decoder's {} positions",
                self.max_new_tokens,
                self.max_positions
            );
            self.max_new_tokens = self.max_positions;
        }
    }
}
