//! ONNX Runtime: finding (or fetching) the library, starting it once per process, building sessions on devices.
//!
//! With the feature `load-dynamic`, the library is loaded at run time. [`init`] looks for it in this order: [`RuntimeOptions::library`], the variable
//! `ORT_DYLIB_PATH`, the executable's folder, the [cache](crate::cache_dir), the system's loader path, the Python package
//! `onnxruntime`. Without the feature, the application links the library, or `ort` loads it.
//!
//! A process has one library and one environment. [`environment`] returns the one in use, for other crates that use `ort`.
//!
//! Official builds of ONNX Runtime 1.29 and later send telemetry to Microsoft unless `ORT_DISABLE_TELEMETRY=1` is in the
//! environment before the library is loaded. [`init`] sets it if the process has only one thread by then (on Windows,
//! always), and logs a warning if it cannot: programs with threads set it where the process is started, or call
//! [`disable_telemetry`] first in `main`.

mod cpu;
#[cfg(feature = "load-dynamic")]
mod cpu_provider;
mod custom_operators;
mod device;
#[cfg(feature = "load-dynamic")]
mod elf;
mod environment;
#[cfg(feature = "fetch-runtime")]
mod fetch;
mod graph_source;
#[cfg(feature = "load-dynamic")]
mod library;
#[cfg(feature = "load-dynamic")]
mod library_cache;
#[cfg_attr(not(feature = "load-dynamic"), path = "linked.rs")]
mod load;
mod log;
mod placement;
mod provider_cache;
mod session;
mod signature;
pub(crate) mod small_graph;
mod telemetry;

pub(crate) use cpu::byte_products_saturate;
pub(crate) use device::DeviceMemory;
pub use device::{Device, DeviceKind, DeviceProblem, Devices, ExecutionProviders, ProviderOption};
pub use environment::{RuntimeInfo, RuntimeOptions, environment, init};
#[cfg(feature = "fetch-runtime")]
pub use fetch::{Progress, fetch, init_or_fetch};
pub(crate) use graph_source::{CheckedGraph, ModelFile, is_inside};
pub use graph_source::{GraphSource, SharedSession};
#[cfg(feature = "load-dynamic")]
pub use load::find_library;
pub use placement::{Placement, ProviderNodes};
pub use session::{OptimizationLevel, SessionOptions, build_session};
pub(crate) use session::{load_session, run_options, session_of_model};
pub(crate) use signature::ElementType;
pub use signature::{Dimension, GraphSignature, TensorSpec};
pub use telemetry::disable_telemetry;
