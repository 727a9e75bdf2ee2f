//! Naming ONNX Runtime's provider for the processor, where it does not find it by itself.

use std::ffi::c_int;
use std::path::Path;

use ort::AsPointer;
use ort::environment::Environment;
use ort::session::builder::SessionBuilder;
use ort::sys::{OrtSessionOptions, OrtStatusPtr};

/// ONNX Runtime's function: session options, whether tensors come from an arena.
type AppendCpu = unsafe extern "C" fn(*mut OrtSessionOptions, c_int) -> OrtStatusPtr;
const APPEND_CPU: &[u8] = b"OrtSessionOptionsAppendExecutionProvider_CPU";

/// Registers the processor's provider by name if `library` is an ONNX Runtime that lists no devices: 1.22 does outside
/// Windows. It then refuses every session without a registered provider, as `ort` always asks for one by policy.
pub(super) fn register(
    builder: &mut SessionBuilder,
    environment: &Environment,
    library: Option<&Path>,
) -> ort::Result<()> {
    let Some(library) = library.filter(|_| environment.devices().next().is_none()) else {
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
