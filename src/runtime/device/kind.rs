//! The kinds of devices: one table.

use std::fmt;
use std::str::FromStr;

use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};

use super::options::{Default::*, Options};
use super::provider::{arbitrary, cpu, direct_ml, migraphx};
use super::{invalid, options};
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

/// What is known of a kind.
pub(super) struct KindSpec {
    /// On the command line.
    name: &'static str,
    /// The provider's name in ONNX Runtime.
    provider: &'static str,
    /// Whether ONNX Runtime was built with it.
    is_in_library: fn() -> ort::Result<bool>,
    /// Makes the provider; the reason if it does not take an option.
    pub(super) make: fn(&Options) -> Result<ExecutionProviderDispatch, String>,
    /// The provider's options, where they are not as it has them itself.
    pub(super) defaults: &'static [(&'static str, options::Default)],
    /// The provider's options for the shapes that what it builds of a graph is to take, if it has any: the smallest, the
    /// usual and the largest, each as `input_ids:1x12,attention_mask:1x589`.
    shapes: Option<[&'static str; 3]>,
    /// The provider's option for the index, if it has one.
    pub(super) index: Option<&'static str>,
    /// Whether [`Devices::Auto`](super::Devices::Auto) may take it.
    pub(super) automatic: bool,
    /// What ONNX Runtime calls the memory of its own that it has, if it does: the others work in the processor's.
    pub(super) memory: Option<&'static str>,
    /// Whether the provider makes one node of many.
    compiles: bool,
    /// What to install where it is missing.
    needs: &'static str,
}

impl KindSpec {
    /// A kind without options of its own, whose provider is called as `ort` says.
    const fn new<P: ExecutionProvider>(
        name: &'static str,
        make: fn(&Options) -> Result<ExecutionProviderDispatch, String>,
        needs: &'static str,
    ) -> Self {
        Self {
            name,
            provider: P::NAME,
            is_in_library: P::is_available,
            make,
            defaults: &[],
            shapes: None,
            index: None,
            automatic: false,
            memory: None,
            compiles: false,
            needs,
        }
    }
}

const CPU: KindSpec = KindSpec::new::<ep::CPU>("cpu", cpu, "nothing more");
const CUDA: KindSpec = KindSpec {
    defaults: &[
        // An exhaustive search (the provider's default) measures every algorithm for every new shape.
        ("cudnn_conv_algo_search", Is("HEURISTIC")),
        // Doubling, the provider's default, can take twice the memory that is needed.
        ("arena_extend_strategy", Is("kSameAsRequested")),
        // The provider rounds float32 factors to 10 bits by default: other answers than the processor's.
        ("use_tf32", Is("0")),
    ],
    memory: Some("Cuda"),
    index: Some("device_id"),
    automatic: true,
    ..KindSpec::new::<ep::CUDA>(
        "cuda",
        arbitrary::<ep::CUDA>,
        "an NVIDIA GPU with its driver, ONNX Runtime built for CUDA (`pip install onnxruntime-gpu`), and CUDA and cuDNN \
         of the versions that it was built with, where the system's loader finds them (LD_LIBRARY_PATH, PATH)",
    )
};
const TENSOR_RT: KindSpec = KindSpec {
    defaults: &[
        ("trt_engine_cache_enable", WithCache("1")),
        ("trt_engine_cache_path", GraphCache),
        ("trt_timing_cache_enable", WithCache("1")),
        ("trt_timing_cache_path", SharedCache),
    ],
    shapes: Some([
        "trt_profile_min_shapes",
        "trt_profile_opt_shapes",
        "trt_profile_max_shapes",
    ]),
    memory: Some("Cuda"),
    index: Some("device_id"),
    compiles: true,
    ..KindSpec::new::<ep::TensorRT>(
        "tensorrt",
        arbitrary::<ep::TensorRT>,
        "what `cuda` needs, and TensorRT of the version that ONNX Runtime was built with (libnvinfer), where the system's \
         loader finds it",
    )
};
const ROCM: KindSpec = KindSpec {
    memory: Some("Hip"),
    index: Some("device_id"),
    automatic: true,
    ..KindSpec::new::<ep::ROCm>(
        "rocm",
        arbitrary::<ep::ROCm>,
        "an AMD GPU with ROCm, and ONNX Runtime 1.22 built for it (`pip install onnxruntime-rocm`); later ones have \
         `migraphx` instead",
    )
};
const MIGRAPHX: KindSpec = KindSpec {
    memory: Some("Hip"),
    index: Some("device_id"),
    compiles: true,
    ..KindSpec::new::<ep::MIGraphX>(
        "migraphx",
        migraphx,
        "an AMD GPU with ROCm and MIGraphX, and ONNX Runtime built for it (`pip install onnxruntime-migraphx`)",
    )
};
const DIRECT_ML: KindSpec = KindSpec {
    memory: Some("DML"),
    index: Some("device_id"),
    automatic: true,
    ..KindSpec::new::<ep::DirectML>(
        "directml",
        direct_ml,
        "Windows with a DirectX 12 GPU, and ONNX Runtime built for it (`pip install onnxruntime-directml`)",
    )
};
const CORE_ML: KindSpec = KindSpec {
    defaults: &[
        ("ModelFormat", Is("MLProgram")),
        ("ModelCacheDirectory", GraphCache),
    ],
    compiles: true,
    ..KindSpec::new::<ep::CoreML>(
        "coreml",
        arbitrary::<ep::CoreML>,
        "macOS or iOS; ONNX Runtime for them has it (`pip install onnxruntime`)",
    )
};
const OPEN_VINO: KindSpec = KindSpec {
    compiles: true,
    ..KindSpec::new::<ep::OpenVINO>(
        "openvino",
        arbitrary::<ep::OpenVINO>,
        "ONNX Runtime built with OpenVINO (`pip install onnxruntime-openvino`); for a GPU or NPU also Intel's driver, and \
         the option openvino.device_type=GPU",
    )
};
const WEB_GPU: KindSpec = KindSpec {
    memory: Some("WebGPU_Buffer"),
    ..KindSpec::new::<ep::WebGPU>(
        "webgpu",
        arbitrary::<ep::WebGPU>,
        "a GPU with a driver for Vulkan, Metal or DirectX 12, and ONNX Runtime built with WebGPU \
         (`pip install onnxruntime-webgpu`)",
    )
};
const QNN: KindSpec = KindSpec {
    compiles: true,
    ..KindSpec::new::<ep::QNN>(
        "qnn",
        arbitrary::<ep::QNN>,
        "a Qualcomm NPU with its driver, and ONNX Runtime built with QNN (`pip install onnxruntime-qnn`)",
    )
};
const XNNPACK: KindSpec = KindSpec::new::<ep::XNNPACK>(
    "xnnpack",
    arbitrary::<ep::XNNPACK>,
    "ONNX Runtime built with XNNPACK: those for Android and iOS are, others are to be built with --use_xnnpack",
);

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
