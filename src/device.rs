//! Devices and the problems with them: the data in errors. [`runtime`](crate::runtime) implements their methods.

use std::fmt;

/// A device that a graph can run on. Parsed from `cuda`, or `cuda:1` for the second of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    pub(crate) kind: DeviceKind,
    pub(crate) index: Option<u32>,
}

/// A kind of device: one of ONNX Runtime's execution providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DeviceKind {
    /// NVIDIA GPUs, operator by operator.
    Cuda,
    /// NVIDIA GPUs, by engines that TensorRT builds from the graph for the input sizes that occur.
    TensorRt,
    /// AMD GPUs, operator by operator (up to ONNX Runtime 1.22).
    Rocm,
    /// AMD GPUs, compiled by MIGraphX.
    MiGraphX,
    /// GPUs on Windows, by DirectX 12.
    DirectMl,
    /// Apple's neural engine, GPU and CPU.
    CoreMl,
    /// Intel CPUs, GPUs and NPUs, compiled by OpenVINO.
    OpenVino,
    /// Any GPU that WebGPU supports (Vulkan, Metal, DirectX 12).
    WebGpu,
    /// Qualcomm NPUs.
    Qnn,
    /// The CPU, with XNNPACK's kernels.
    Xnnpack,
    /// The CPU, with ONNX Runtime's own kernels.
    Cpu,
}

/// The reason why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceProblem {
    /// This crate was built without the provider.
    NotCompiledIn {
        /// The crate's feature that adds it.
        feature: &'static str,
    },
    /// The ONNX Runtime library in use was built without the provider.
    NotInLibrary {
        /// The library.
        library: String,
    },
    /// The provider's own library does not load, or a library that it needs is missing.
    NotLoaded {
        /// The message of the system's loader.
        message: String,
    },
    /// The provider loads but does not work: there is no such device, for instance, or its driver is too old.
    Refused {
        /// ONNX Runtime's message.
        message: String,
    },
}

impl fmt::Display for DeviceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceProblem::NotCompiledIn { feature } => {
                write!(
                    f,
                    "this program was built without feature `{feature}` of the crate florence2"
                )
            }
            DeviceProblem::NotInLibrary { library } => {
                write!(f, "ONNX Runtime ({library}) was built without its provider")
            }
            DeviceProblem::NotLoaded { message } => write!(f, "its library does not load: {message}"),
            DeviceProblem::Refused { message } => write!(f, "ONNX Runtime rejects it: {message}"),
        }
    }
}
