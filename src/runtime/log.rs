//! What ONNX Runtime logs: handed on to `tracing`, under the target that `ort` uses for it.

use std::cell::RefCell;
use std::sync::Arc;

use ort::logging::{LogLevel, LoggerFunction};
use tracing::Level;

/// The target of ONNX Runtime's messages.
const TARGET: &str = "ort::logging";

thread_local! {
    /// The errors logged in this thread, while they are wanted.
    static ERRORS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Whether anyone reads what ONNX Runtime says beside warnings and errors. It formats every message of its level.
pub(super) fn details_are_read() -> bool {
    tracing::enabled!(target: TARGET, Level::INFO)
}

/// The logger of the environment.
pub(super) fn logger() -> LoggerFunction {
    Arc::new(|level, _, _, location, message| hand_on(level, location, message))
}

/// Hands a message on. Errors that are [kept](keeping_errors) are for whoever keeps them.
pub(super) fn hand_on(level: LogLevel, location: &str, message: &str) {
    let is_error = matches!(level, LogLevel::Error | LogLevel::Fatal);
    let kept = is_error
        && ERRORS.with_borrow_mut(|errors| match errors {
            Some(errors) => {
                errors.push(message.to_owned());
                true
            }
            None => false,
        });
    match level {
        LogLevel::Verbose => tracing::trace!(target: TARGET, location, "{message}"),
        LogLevel::Info => tracing::info!(target: TARGET, location, "{message}"),
        LogLevel::Warning => tracing::warn!(target: TARGET, location, "{message}"),
        LogLevel::Error | LogLevel::Fatal if kept => tracing::debug!(target: TARGET, location, "{message}"),
        LogLevel::Error => tracing::error!(target: TARGET, location, "{message}"),
        LogLevel::Fatal => tracing::error!(target: TARGET, location, "(fatal) {message}"),
    }
}

/// Does `work`, and gives the errors that ONNX Runtime logs in this thread meanwhile: some say more than what it
/// returns.
pub(super) fn keeping_errors<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let outer = ERRORS.replace(Some(Vec::new()));
    let done = work();
    (done, ERRORS.replace(outer).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_kept_where_they_are_wanted() {
        hand_on(LogLevel::Error, "here", "before");
        let ((), errors) = keeping_errors(|| {
            hand_on(LogLevel::Error, "here", "first");
            hand_on(LogLevel::Warning, "here", "a warning");
            let ((), inner) = keeping_errors(|| hand_on(LogLevel::Fatal, "here", "inner"));
            assert_eq!(inner, ["inner"]);
            hand_on(LogLevel::Error, "here", "second");
        });
        assert_eq!(errors, ["first", "second"]);
    }
}
