//! Calling work off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ort::session::RunOptions;

/// Calls work off from another thread. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cancelled: AtomicBool,
    /// The runs of graphs that are to end in their midst.
    runs: Mutex<Vec<Weak<RunOptions>>>,
}

impl CancelToken {
    /// A token that has not been used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls off all work that holds this token; it ends with [`Error::Cancelled`](crate::Error::Cancelled): the vision
    /// encoder after the operator that it is at, a search before its next step.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        for run in self.runs().iter().filter_map(Weak::upgrade) {
            end(&run);
        }
    }

    /// Whether the work has been called off.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Lets [`cancel`](Self::cancel) end the run with these options, as long as they live; at once, if it was called
    /// already.
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
        tracing::warn!(%error, "a run goes on although it was called off");
    }
}

#[cfg(all(test, feature = "fetch-runtime"))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::runtime::{self, GraphSource, RuntimeOptions, SessionOptions, build_session};

    /// Whether a graph runs to its end under these options.
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
    fn runs_end_when_they_are_called_off_or_were() {
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
    fn runs_that_have_ended_are_forgotten() {
        let token = CancelToken::new();
        for _ in 0..10 {
            token.watch(&options());
        }
        assert_eq!(token.runs().len(), 1);
    }
}
