//! Forwards ONNX Runtime's log to `tracing`, under the target that `ort` uses for it.

use std::cell::RefCell;
use std::sync::Arc;

use ort::logging::{LogLevel, LoggerFunction};
use tracing::Level;

/// The target of ONNX Runtime's messages.
const TARGET: &str = "ort::logging";

thread_local! {
    /// The errors logged in this thread while [`keeping_errors`] runs.
    static ERRORS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Returns `true` if messages below warnings are logged. ONNX Runtime formats every message of its level.
pub(super) fn details_are_logged() -> bool {
    tracing::enabled!(target: TARGET, Level::INFO)
}

/// Returns the logger of the environment.
pub(super) fn logger() -> LoggerFunction {
    Arc::new(|level, _, _, location, message| forward(level, location, message))
}

/// Logs a message. Errors that [`keeping_errors`] collects are logged at debug level.
pub(super) fn forward(level: LogLevel, location: &str, message: &str) {
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

/// Runs `work`, and returns the errors that ONNX Runtime logs in this thread meanwhile: some have details that the
/// returned error lacks.
pub(super) fn keeping_errors<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let outer = ERRORS.replace(Some(Vec::new()));
    let done = work();
    (done, ERRORS.replace(outer).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_collected_where_they_are_wanted() {
        forward(LogLevel::Error, "here", "before");
        let ((), errors) = keeping_errors(|| {
            forward(LogLevel::Error, "here", "first");
            forward(LogLevel::Warning, "here", "a warning");
            let ((), inner) = keeping_errors(|| forward(LogLevel::Fatal, "here", "inner"));
            assert_eq!(inner, ["inner"]);
            forward(LogLevel::Error, "here", "second");
        });
        assert_eq!(errors, ["first", "second"]);
    }
}
