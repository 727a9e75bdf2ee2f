//! Execution providers that the application has configured with `ort`.

use std::fmt;

use ort::ep::ExecutionProviderDispatch;

/// Execution providers of `ort`, for those that [`DeviceKind`](super::DeviceKind) does not name.
#[derive(Clone, Default)]
pub struct ExecutionProviders(Vec<ExecutionProviderDispatch>);

impl ExecutionProviders {
    /// Returns the providers, the preferred one first.
    pub fn as_slice(&self) -> &[ExecutionProviderDispatch] {
        &self.0
    }

    /// Returns `true` if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns ONNX Runtime's names for the providers.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(ExecutionProviderDispatch::name)
    }
}

impl FromIterator<ExecutionProviderDispatch> for ExecutionProviders {
    fn from_iter<I: IntoIterator<Item = ExecutionProviderDispatch>>(providers: I) -> Self {
        Self(providers.into_iter().collect())
    }
}

/// Formats the providers' names: their options are opaque.
impl fmt::Debug for ExecutionProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
