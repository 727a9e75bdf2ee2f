//! Callbacks of a search: to stream its tokens, to change their scores, and to cancel it.

use std::ops::ControlFlow;

use super::processors::LogitsProcessors;

/// Callbacks of a running search. [`Default`] has none.
#[derive(Default)]
#[non_exhaustive]
pub struct Hooks<'a> {
    /// Called with each chosen token; if it returns [`Break`](ControlFlow::Break), the sequence ends after that
    /// token. `generate` fails unless there is one input and one sequence without beams: beam
    /// search may drop tokens that it has chosen.
    pub on_token: Option<&'a mut dyn FnMut(u32) -> ControlFlow<()>>,
    /// Called before each step. If it returns `true`, the search returns [`Error::Cancelled`](crate::Error::Cancelled).
    pub is_cancelled: Option<&'a dyn Fn() -> bool>,
    /// Change the scores of each row's next token.
    pub logits_processors: LogitsProcessors,
}

impl<'a> Hooks<'a> {
    /// Streams the tokens to `on_token`.
    #[must_use]
    pub fn with_on_token(mut self, on_token: &'a mut dyn FnMut(u32) -> ControlFlow<()>) -> Self {
        self.on_token = Some(on_token);
        self
    }

    /// Cancels the search when `is_cancelled` returns `true`.
    #[must_use]
    pub fn with_is_cancelled(mut self, is_cancelled: &'a dyn Fn() -> bool) -> Self {
        self.is_cancelled = Some(is_cancelled);
        self
    }

    /// Changes the scores of each row's next token by `processors`.
    #[must_use]
    pub fn with_logits_processors(mut self, processors: LogitsProcessors) -> Self {
        self.logits_processors = processors;
        self
    }
}
