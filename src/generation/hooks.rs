//! How a caller follows a search and stops it.

use std::ops::ControlFlow;

/// What to call while a search runs. [`Default`] calls nothing.
#[derive(Default)]
#[non_exhaustive]
pub struct Hooks<'a> {
    /// Gets each token as it is chosen. [`Break`](ControlFlow::Break) ends the sequence there; what there is of it
    /// is returned. Only for a search with one input and one row: beams change their minds.
    pub on_token: Option<&'a mut dyn FnMut(u32) -> ControlFlow<()>>,
    /// Asked before each step. Where it says yes, the search gives [`Error::Cancelled`](crate::Error::Cancelled).
    pub is_cancelled: Option<&'a dyn Fn() -> bool>,
}

impl<'a> Hooks<'a> {
    /// Streams the tokens to `on_token`.
    #[must_use]
    pub fn with_on_token(mut self, on_token: &'a mut dyn FnMut(u32) -> ControlFlow<()>) -> Self {
        self.on_token = Some(on_token);
        self
    }

    /// Lets `is_cancelled` call the search off.
    #[must_use]
    pub fn with_is_cancelled(mut self, is_cancelled: &'a dyn Fn() -> bool) -> Self {
        self.is_cancelled = Some(is_cancelled);
        self
    }
}
