//! Cancellation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ort::session::RunOptions;

/// Cancels work from another thread. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cancelled: AtomicBool,
    /// The graph runs to terminate.
    runs: Mutex<Vec<Weak<RunOptions>>>,
}

impl CancelToken {
    /// Creates a token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels all work that was given this token: the vision encoder after its current operator, a search before its
    /// next step. The work returns [`Error::Cancelled`](crate::Error::Cancelled).
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        for run in self.runs().iter().filter_map(Weak::upgrade) {
            end(&run);
        }
    }

    /// Returns whether the work is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Makes [`cancel`](Self::cancel) terminate the run that uses these options; terminates it now if the token is
    /// already cancelled.
    pub(crate) fn watch(&self, run: &Arc<RunOptions>) {
        let mut runs = self.runs();
        runs.retain(|run| run.strong_count() > 0);
        runs.push(Arc::downgrade(run));
        if self.is_cancelled() {
            end(run);
        }
    }

    fn runs(&self) -> MutexGuard<'_, Vec<Weak<RunOptions>>> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(run: &RunOptions) {
    if let Err(error) = run.terminate() {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a cancelled run continues"
        );
    }
}

#[cfg(all(test, feature = "fetch-runtime"))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::runtime::{self, GraphSource, RuntimeOptions, SessionOptions, build_session};

    /// Returns whether a graph runs to its end with these options.
    fn runs(options: &RunOptions) -> bool {
        let graph = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_external.onnx");
        let mut session = build_session(&GraphSource::File(graph), &SessionOptions::default()).unwrap();
        let x = ort::value::Tensor::from_array(([1, 3], vec![1.0f32; 3])).unwrap();
        let result = session.run_with_options(ort::inputs! { "x" => x }, options);
        result.is_ok()
    }

    fn options() -> Arc<RunOptions> {
        runtime::init_or_fetch(&RuntimeOptions::default(), &|_| {}).unwrap();
        Arc::new(RunOptions::new().unwrap())
    }

    #[test]
    fn runs_end_if_cancelled_before_or_during_them() {
        let (token, [before, after, other]) = (CancelToken::new(), [options(), options(), options()]);
        token.watch(&before);
        assert!(runs(&before));
        token.clone().cancel();
        assert!(!runs(&before));
        token.watch(&after);
        assert!(!runs(&after));
        assert!(runs(&other));
    }

    #[test]
    fn finished_runs_are_forgotten() {
        let token = CancelToken::new();
        for _ in 0..10 {
            token.watch(&options());
        }
        assert_eq!(token.runs().len(), 1);
    }
}
