//! Recording what a device does, and everything else that is done on devices, take turns.
//!
//! ONNX Runtime records in CUDA's global mode: an allocation or a copy by any thread of the process fails then, and spoils
//! the recording.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static RECORDING: RwLock<()> = RwLock::new(());

/// Held while something is done on a device: nothing is recorded. Not to be asked for by who holds it.
pub(crate) fn not_recording() -> RwLockReadGuard<'static, ()> {
    RECORDING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held while something may be recorded: nothing else is done.
pub(crate) fn recording() -> RwLockWriteGuard<'static, ()> {
    RECORDING.write().unwrap_or_else(PoisonError::into_inner)
}
