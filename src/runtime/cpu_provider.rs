//! Registering ONNX Runtime's CPU provider by name, for versions that do not find it by themselves.

use std::ffi::c_int;

use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort::sys::{OrtSessionOptions, OrtStatusPtr};

use super::environment::RuntimeInfo;

/// ONNX Runtime's function; its second argument is 1 to allocate tensors from an arena.
type AppendCpu = unsafe extern "C" fn(*mut OrtSessionOptions, c_int) -> OrtStatusPtr;
const APPEND_CPU: &[u8] = b"OrtSessionOptionsAppendExecutionProvider_CPU";

/// The version of ONNX Runtime that lists no devices outside Windows. It rejects every session without a registered
/// provider, as `ort` always selects one by policy.
const WITHOUT_DEVICES: &str = "1.22";

/// Registers the CPU provider by name if ONNX Runtime does not find it.
pub(super) fn register(builder: &mut SessionBuilder, runtime: &RuntimeInfo) -> ort::Result<()> {
    let (Some(library), Some(WITHOUT_DEVICES)) = (&runtime.path, runtime.version.as_deref()) else {
        return Ok(());
    };
    let failed = |error: libloading::Error| ort::Error::new(error.to_string());
    // SAFETY: the library is loaded already and never unloaded: this increments its reference count and runs nothing.
    let library = unsafe { libloading::Library::new(library) }.map_err(failed)?;
    // SAFETY: the type is that of ONNX Runtime's header cpu_provider_factory.h, the same since its first version.
    let append = unsafe { library.get::<AppendCpu>(APPEND_CPU) }.map_err(failed)?;
    // SAFETY: the options are valid, and `builder` is borrowed exclusively.
    let status = unsafe { append(builder.ptr_mut(), 1) };
    // SAFETY: the status is ONNX Runtime's, and is not used again.
    unsafe { ort::Error::result_from_status(status) }
}
