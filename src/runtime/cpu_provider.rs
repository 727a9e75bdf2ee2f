//! Naming ONNX Runtime's provider for the processor, where it does not find it by itself.

use std::ffi::c_int;

use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort::sys::{OrtSessionOptions, OrtStatusPtr};

use super::environment::RuntimeInfo;

/// ONNX Runtime's function: session options, whether tensors come from an arena.
type AppendCpu = unsafe extern "C" fn(*mut OrtSessionOptions, c_int) -> OrtStatusPtr;
const APPEND_CPU: &[u8] = b"OrtSessionOptionsAppendExecutionProvider_CPU";

/// The version of ONNX Runtime that lists no devices, outside Windows. It then refuses every session without a registered
/// provider, as `ort` always asks for one by policy.
const BLIND: &str = "1.22";

/// Registers the processor's provider by name, where ONNX Runtime would not find it.
pub(super) fn register(builder: &mut SessionBuilder, runtime: &RuntimeInfo) -> ort::Result<()> {
    let (Some(library), Some(BLIND)) = (&runtime.path, runtime.version.as_deref()) else {
        return Ok(());
    };
    let failed = |error: libloading::Error| ort::Error::new(error.to_string());
    // SAFETY: the library is loaded already, and for good: this only counts another user of it, and runs nothing.
    let library = unsafe { libloading::Library::new(library) }.map_err(failed)?;
    // SAFETY: the type is that of ONNX Runtime's header cpu_provider_factory.h, the same since its first version.
    let append = unsafe { library.get::<AppendCpu>(APPEND_CPU) }.map_err(failed)?;
    // SAFETY: the options are valid, and nothing else uses them meanwhile.
    let status = unsafe { append(builder.ptr_mut(), 1) };
    // SAFETY: the status is ONNX Runtime's, and is used nowhere else.
    unsafe { ort::Error::result_from_status(status) }
}
