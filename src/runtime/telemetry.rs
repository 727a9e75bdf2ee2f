//! Disabling ONNX Runtime's telemetry.
//!
//! Official builds of ONNX Runtime 1.29 and later send events to Microsoft on Linux and macOS too, and keep a device id and
//! a database of unsent events in the user's cache folder (onnxruntime #27379). They read `ORT_DISABLE_TELEMETRY` once, while
//! the library is loaded (#29843). `ort`'s `with_telemetry(false)`, `DisableTelemetryEvents` of the C API, needs an
//! environment, which exists later: by then the id is written and the first event is queued.

use std::env;

/// ONNX Runtime's variable.
const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
/// The first version, 1.x, whose builds for Linux and macOS have telemetry.
const FIRST_MINOR_VERSION: u32 = 29;

/// Disables ONNX Runtime's telemetry for this process and its child processes, by `ORT_DISABLE_TELEMETRY=1` in the
/// environment. Returns whether the variable is set now; a value that the user has set is left as it is.
///
/// The variable counts if it is set before ONNX Runtime is loaded. [`init`](super::init) calls this function before it loads
/// the library. Programs that start threads earlier, or load ONNX Runtime themselves, call it first in `main`, or set the
/// variable where the process is started.
///
/// Returns `false`, and leaves the environment as it is, if the process has other threads: one of them may be reading the
/// environment. On systems other than Linux, Android, macOS, iOS and Windows, threads are not counted, and the result is
/// `false` unless the variable was set before.
pub fn disable_telemetry() -> bool {
    if env::var_os(VARIABLE).is_some() {
        return true;
    }
    if !environment_is_exclusive() {
        return false;
    }
    // SAFETY: On Windows, `set_var` is safe in any program. Elsewhere, this thread is the process's only one, so that no
    // other reads or writes the environment, or is started, during the call.
    unsafe { env::set_var(VARIABLE, "1") };
    true
}

/// Warns, after the library is loaded, if it has telemetry that is not disabled.
pub(super) fn warn_if_enabled(version: Option<&str>) {
    let minor = version.and_then(|version| version.split('.').nth(1)?.parse::<u32>().ok());
    let has_telemetry = minor.is_some_and(|minor| minor >= FIRST_MINOR_VERSION);
    if has_telemetry && env::var_os(VARIABLE).is_none() {
        tracing::warn!(
            "this version of ONNX Runtime may send telemetry to Microsoft: set {VARIABLE}=1 where the process is started, \
             or call florence2::runtime::disable_telemetry first in main, before other threads are started"
        );
    }
}

/// Returns `true` if no other thread can be using the process's environment.
fn environment_is_exclusive() -> bool {
    #[cfg(windows)]
    return true;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    #[cfg(target_vendor = "apple")]
    {
        unsafe extern "C" {
            /// Whether the process has ever had a second thread.
            safe fn pthread_is_threaded_np() -> std::ffi::c_int;
        }
        pthread_is_threaded_np() == 0
    }
    #[cfg(not(any(windows, target_os = "linux", target_os = "android", target_vendor = "apple")))]
    false
}
