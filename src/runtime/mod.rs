//! ONNX Runtime: finding (or fetching) the library, starting it once per process, building sessions.
//!
//! The library is loaded at run time. [`init`] looks for it, in this order: [`RuntimeOptions::library`], the
//! variable `ORT_DYLIB_PATH`, beside the executable, our [cache](crate::cache_dir), the system's loader path, an
//! installed Python package `onnxruntime`.

mod cached;
mod device;
mod elf;
mod environment;
#[cfg(feature = "fetch-runtime")]
pub mod fetch;
mod library;
mod own_operators;
mod processor;
mod session;
mod signature;

pub use device::Device;
pub use environment::{RuntimeInfo, RuntimeOptions, init};
#[cfg(feature = "fetch-runtime")]
pub use fetch::{FetchOptions, Progress, fetch, init_or_fetch};
pub(crate) use processor::byte_products_saturate;
pub(crate) use session::run_options;
pub use session::{GraphSource, OptimizationLevel, SessionOptions, build_session};
pub use signature::{Dimension, ElementType, GraphSignature, TensorSpec};
