//! The kinds of devices: one table with all their properties.

use std::fmt;
use std::str::FromStr;

use super::binding::{Binding, binding};
use super::invalid;
use crate::device::DeviceKind;
use crate::error::{Error, Result};

impl DeviceKind {
    /// All kinds, in the order in which [`Devices::AUTO`](super::Devices::AUTO) considers them.
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

    pub(crate) const fn spec(self) -> &'static KindSpec {
        &TABLE[self as usize]
    }

    /// The name that devices are parsed from: `tensorrt`.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// ONNX Runtime's name for the provider: `TensorrtExecutionProvider`.
    pub const fn provider(self) -> &'static str {
        self.spec().provider
    }

    /// Returns the hardware, drivers and packages that the device needs.
    pub const fn needs(self) -> &'static str {
        self.spec().needs
    }

    /// Whether the provider compiles parts of a graph into one node each, which a
    /// [`Placement`](crate::runtime::Placement) counts.
    pub const fn compiles(self) -> bool {
        self.spec().compiles
    }

    /// Returns `true` if this crate has the provider's feature, of the same name as the kind.
    pub const fn is_compiled_in(self) -> bool {
        self.spec().binding.is_some()
    }

    /// Returns `true` if the ONNX Runtime library in use was built with the provider, and this crate with its feature. That
    /// does not mean that the device can be used here: see [`Device::usable`](super::Device::usable). ONNX Runtime is started
    /// with the default options if it is not running yet.
    ///
    /// # Errors
    /// Errors of [`init`](crate::runtime::init); [`Error::Ort`] if ONNX Runtime cannot list its providers.
    pub fn is_in_library(self) -> Result<bool> {
        // `ort` must not be called before.
        crate::runtime::environment::environment()?;
        match &self.spec().binding {
            Some(binding) => (binding.is_in_library)().map_err(Error::ort("listing its providers")),
            None => Ok(false),
        }
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

/// A row of the table.
pub(crate) struct KindSpec {
    name: &'static str,
    provider: &'static str,
    /// `None` if this crate is built without the provider's feature.
    pub(super) binding: Option<Binding>,
    /// The part of the name of the provider's own library that follows `onnxruntime_providers_`, if it has one.
    #[cfg_attr(not(feature = "load-dynamic"), expect(dead_code))] // libraries are not searched
    pub(crate) library: Option<&'static str>,
    /// This crate's defaults for the provider's options.
    pub(super) defaults: &'static [(&'static str, &'static str)],
    /// This crate's defaults for the options of the provider's cache of compiled graphs; `None` stands for the cache
    /// folder's path.
    pub(super) cache: &'static [(&'static str, Option<&'static str>)],
    /// The provider's options for the smallest, usual and largest input shapes to compile for, each as
    /// `input_ids:1x12,attention_mask:1x589`.
    pub(crate) shapes: Option<[&'static str; 3]>,
    /// The provider's option for the device's index.
    pub(super) index: Option<&'static str>,
    /// Whether [`Devices::AUTO`](super::Devices::AUTO) considers it.
    pub(super) automatic: bool,
    /// ONNX Runtime's name for the device's own memory; `None` if the provider works in the CPU's.
    pub(super) memory: Option<&'static str>,
    /// The provider's option that captures a run and replays it.
    pub(super) captures_runs: Option<&'static str>,
    /// Whether float16 is the dtype to prefer.
    pub(crate) float16: bool,
    compiles: bool,
    needs: &'static str,
}

impl KindSpec {
    /// Creates a row for a provider without default options.
    const fn new(
        name: &'static str,
        provider: &'static str,
        binding: Option<Binding>,
        needs: &'static str,
    ) -> Self {
        Self {
            name,
            provider,
            binding,
            library: None,
            defaults: &[],
            cache: &[],
            shapes: None,
            index: None,
            automatic: false,
            memory: None,
            captures_runs: None,
            float16: false,
            compiles: false,
            needs,
        }
    }
}

/// One row per kind, in the order of [`DeviceKind`].
const TABLE: [KindSpec; 11] = [
    KindSpec {
        defaults: &[
            // The provider's default, an exhaustive search, measures every algorithm for every new shape.
            ("cudnn_conv_algo_search", "HEURISTIC"),
            // The provider's default, doubling, can take twice the memory that is needed.
            ("arena_extend_strategy", "kSameAsRequested"),
            // By default the provider rounds float32 factors to 10 bits: other answers than the CPU's.
            ("use_tf32", "0"),
        ],
        memory: Some("Cuda"),
        library: Some("cuda"),
        captures_runs: Some("enable_cuda_graph"),
        float16: true,
        index: Some("device_id"),
        automatic: true,
        ..KindSpec::new(
            "cuda",
            "CUDAExecutionProvider",
            binding!("cuda", ep::CUDA),
            "an NVIDIA GPU with its driver, ONNX Runtime built for CUDA (`pip install onnxruntime-gpu`), and CUDA and cuDNN \
             of the versions that it was built with, where the system's loader finds them (LD_LIBRARY_PATH, PATH)",
        )
    },
    KindSpec {
        cache: &[
            ("trt_engine_cache_enable", Some("1")),
            ("trt_engine_cache_path", None),
            ("trt_timing_cache_enable", Some("1")),
            ("trt_timing_cache_path", None),
        ],
        shapes: Some([
            "trt_profile_min_shapes",
            "trt_profile_opt_shapes",
            "trt_profile_max_shapes",
        ]),
        memory: Some("Cuda"),
        library: Some("tensorrt"),
        captures_runs: Some("trt_cuda_graph_enable"),
        float16: true,
        index: Some("device_id"),
        compiles: true,
        ..KindSpec::new(
            "tensorrt",
            "TensorrtExecutionProvider",
            binding!("tensorrt", ep::TensorRT),
            "what `cuda` needs, and TensorRT of the version that ONNX Runtime was built with (libnvinfer), where the \
             system's loader finds it",
        )
    },
    KindSpec {
        library: Some("rocm"),
        memory: Some("Hip"),
        index: Some("device_id"),
        automatic: true,
        ..KindSpec::new(
            "rocm",
            "ROCMExecutionProvider",
            binding!("rocm", ep::ROCm),
            "an AMD GPU with ROCm, and ONNX Runtime 1.22 built for it (`pip install onnxruntime-rocm`); later ones have \
             `migraphx` instead",
        )
    },
    KindSpec {
        library: Some("migraphx"),
        memory: Some("Hip"),
        index: Some("device_id"),
        compiles: true,
        ..KindSpec::new(
            "migraphx",
            "MIGraphXExecutionProvider",
            binding!("migraphx", ep::MIGraphX, migraphx),
            "an AMD GPU with ROCm and MIGraphX, and ONNX Runtime built for it (`pip install onnxruntime-migraphx`)",
        )
    },
    KindSpec {
        memory: Some("DML"),
        index: Some("device_id"),
        automatic: true,
        ..KindSpec::new(
            "directml",
            "DmlExecutionProvider",
            binding!("directml", ep::DirectML, direct_ml),
            "Windows with a DirectX 12 GPU, and ONNX Runtime built for it (`pip install onnxruntime-directml`)",
        )
    },
    KindSpec {
        defaults: &[("ModelFormat", "MLProgram")],
        cache: &[("ModelCacheDirectory", None)],
        float16: true,
        compiles: true,
        ..KindSpec::new(
            "coreml",
            "CoreMLExecutionProvider",
            binding!("coreml", ep::CoreML),
            "macOS or iOS; ONNX Runtime for them has it (`pip install onnxruntime`)",
        )
    },
    KindSpec {
        library: Some("openvino"),
        compiles: true,
        ..KindSpec::new(
            "openvino",
            "OpenVINOExecutionProvider",
            binding!("openvino", ep::OpenVINO),
            "ONNX Runtime built with OpenVINO (`pip install onnxruntime-openvino`); for a GPU or NPU also Intel's driver, \
             and the option openvino.device_type=GPU",
        )
    },
    KindSpec {
        memory: Some("WebGPU_Buffer"),
        captures_runs: Some("enableGraphCapture"),
        ..KindSpec::new(
            "webgpu",
            "WebGpuExecutionProvider",
            binding!("webgpu", ep::WebGPU),
            "a GPU with a driver for Vulkan, Metal or DirectX 12, and ONNX Runtime built with WebGPU \
             (`pip install onnxruntime-webgpu`)",
        )
    },
    KindSpec {
        compiles: true,
        ..KindSpec::new(
            "qnn",
            "QNNExecutionProvider",
            binding!("qnn", ep::QNN),
            "a Qualcomm NPU with its driver, and ONNX Runtime built with QNN (`pip install onnxruntime-qnn`)",
        )
    },
    KindSpec::new(
        "xnnpack",
        "XnnpackExecutionProvider",
        binding!("xnnpack", ep::XNNPACK),
        "ONNX Runtime built with XNNPACK: builds for Android and iOS have it, others need --use_xnnpack",
    ),
    KindSpec::new("cpu", "CPUExecutionProvider", Some(Binding::CPU), "nothing more"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_one_kind_only() {
        for &kind in DeviceKind::ALL {
            assert_eq!(kind.name().parse::<DeviceKind>().unwrap(), kind);
            assert_eq!(kind.name(), format!("{kind:?}").to_lowercase());
            let same = |other: &&DeviceKind| other.provider() == kind.provider();
            assert_eq!(DeviceKind::ALL.iter().filter(same).count(), 1);
            assert!(!kind.needs().is_empty());
        }
        assert_eq!(DeviceKind::TensorRt.provider(), "TensorrtExecutionProvider");
        assert_eq!(DeviceKind::DirectMl.provider(), "DmlExecutionProvider");
    }
}
