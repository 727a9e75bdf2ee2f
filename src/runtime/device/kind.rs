//! The kinds of devices.

use std::fmt;
use std::str::FromStr;

use super::invalid;
use super::spec::{
    CORE_ML, CPU, CUDA, DIRECT_ML, KindSpec, MIGRAPHX, OPEN_VINO, QNN, ROCM, TENSOR_RT, WEB_GPU, XNNPACK,
};
use crate::error::{Error, Result};

/// A kind of device: one of ONNX Runtime's execution providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// NVIDIA GPUs, operator by operator.
    Cuda,
    /// NVIDIA GPUs, by engines that TensorRT builds of the graph for the sizes that it meets.
    TensorRt,
    /// AMD GPUs, operator by operator (up to ONNX Runtime 1.22).
    Rocm,
    /// AMD GPUs, compiled by MIGraphX.
    MiGraphX,
    /// GPUs under Windows, by DirectX 12.
    DirectMl,
    /// Apple's neural engine, GPU and processor.
    CoreMl,
    /// Intel's processors, GPUs and NPUs, compiled by OpenVINO.
    OpenVino,
    /// Any GPU that WebGPU reaches (Vulkan, Metal, DirectX 12).
    WebGpu,
    /// Qualcomm's NPUs.
    Qnn,
    /// The processor, with XNNPACK's kernels.
    Xnnpack,
}

impl DeviceKind {
    /// All kinds; those that [`Devices::Auto`](super::Devices::Auto) may take in its order, the processor last.
    pub const ALL: &[DeviceKind] = &[
        DeviceKind::Cuda,
        DeviceKind::TensorRt,
        DeviceKind::Rocm,
        DeviceKind::MiGraphX,
        DeviceKind::DirectMl,
        DeviceKind::CoreMl,
        DeviceKind::OpenVino,
        DeviceKind::WebGpu,
        DeviceKind::Qnn,
        DeviceKind::Xnnpack,
        DeviceKind::Cpu,
    ];

    pub(super) const fn spec(self) -> &'static KindSpec {
        match self {
            DeviceKind::Cpu => &CPU,
            DeviceKind::Cuda => &CUDA,
            DeviceKind::TensorRt => &TENSOR_RT,
            DeviceKind::Rocm => &ROCM,
            DeviceKind::MiGraphX => &MIGRAPHX,
            DeviceKind::DirectMl => &DIRECT_ML,
            DeviceKind::CoreMl => &CORE_ML,
            DeviceKind::OpenVino => &OPEN_VINO,
            DeviceKind::WebGpu => &WEB_GPU,
            DeviceKind::Qnn => &QNN,
            DeviceKind::Xnnpack => &XNNPACK,
        }
    }

    /// The name on the command line: `tensorrt`.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// ONNX Runtime's name for the provider: `TensorrtExecutionProvider`.
    pub const fn provider(self) -> &'static str {
        self.spec().provider
    }

    /// What a machine needs for it, in words.
    pub const fn needs(self) -> &'static str {
        self.spec().needs
    }

    /// The names of the provider's options for the smallest, the usual and the largest shapes of a graph's inputs, if it
    /// has them.
    pub(crate) const fn shape_options(self) -> Option<[&'static str; 3]> {
        self.spec().shapes
    }

    /// What the provider's own library is called, after `onnxruntime_providers_`, if it has one.
    pub(crate) fn library(self) -> Option<&'static str> {
        self.spec().library
    }

    /// Whether 16-bit floats are what to compute in there, unless something else is asked for.
    pub(crate) fn prefers_float16(self) -> bool {
        self.spec().float16
    }

    /// Whether the provider makes one node of many, so that a [`Placement`](crate::runtime::Placement) counts its parts
    /// of the graph.
    pub const fn compiles(self) -> bool {
        self.spec().compiles
    }

    /// Whether the ONNX Runtime library in use was built with it. That does not mean that it can be used here:
    /// [`Device::usable`](super::Device::usable). ONNX Runtime is started with the default options if it is not running
    /// yet.
    ///
    /// # Errors
    /// What [`init`](crate::runtime::init) returns, and [`Error::Ort`] if ONNX Runtime does not say.
    pub fn is_in_library(self) -> Result<bool> {
        // `ort` may be asked nothing before.
        crate::runtime::environment::environment()?;
        (self.spec().is_in_library)().map_err(Error::ort("asking which devices it was built for"))
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DeviceKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.trim();
        let mut all = DeviceKind::ALL.iter().copied();
        all.find(|kind| kind.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let names: Vec<&str> = DeviceKind::ALL.iter().map(|kind| kind.name()).collect();
                invalid(format!(
                    "there is no device {name:?}; the devices are {}",
                    names.join(", ")
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_one_kind_only() {
        for &kind in DeviceKind::ALL {
            assert_eq!(kind.name().parse::<DeviceKind>().unwrap(), kind);
            let same = |other: &&DeviceKind| other.provider() == kind.provider();
            assert_eq!(DeviceKind::ALL.iter().filter(same).count(), 1);
            assert!(!kind.needs().is_empty());
        }
        assert_eq!(DeviceKind::TensorRt.provider(), "TensorrtExecutionProvider");
        assert_eq!(DeviceKind::DirectMl.provider(), "DmlExecutionProvider");
    }
}
