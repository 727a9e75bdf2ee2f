//! What is known of the kinds of devices: one table.

use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};

use super::options::{self, Default::*, Options};
use super::provider::{arbitrary, cpu, direct_ml, migraphx};

/// What is known of a kind.
pub(super) struct KindSpec {
    /// On the command line.
    pub(super) name: &'static str,
    /// The provider's name in ONNX Runtime.
    pub(super) provider: &'static str,
    /// What the provider's own library is called, after `onnxruntime_providers_`, if it has one.
    pub(super) library: Option<&'static str>,
    /// Whether ONNX Runtime was built with it.
    pub(super) is_in_library: fn() -> ort::Result<bool>,
    /// Makes the provider; the reason if it does not take an option.
    pub(super) make: fn(&Options) -> Result<ExecutionProviderDispatch, String>,
    /// The provider's options, where they are not as it has them itself.
    pub(super) defaults: &'static [(&'static str, options::Default)],
    /// The provider's options for the shapes that what it builds of a graph is to take, if it has any: the smallest, the
    /// usual and the largest, each as `input_ids:1x12,attention_mask:1x589`.
    pub(super) shapes: Option<[&'static str; 3]>,
    /// The provider's option for the index, if it has one.
    pub(super) index: Option<&'static str>,
    /// Whether [`Devices::Auto`](super::Devices::Auto) may take it.
    pub(super) automatic: bool,
    /// What ONNX Runtime calls the memory of its own that it has, if it does: the others work in the processor's.
    pub(super) memory: Option<&'static str>,
    /// The provider's option for recording what a run does on the device and doing that again in the next runs, if it
    /// has one.
    pub(super) records_runs: Option<&'static str>,
    /// Whether 16-bit floats are what to compute in there, unless something else is asked for.
    pub(super) float16: bool,
    /// Whether the provider makes one node of many.
    pub(super) compiles: bool,
    /// What to install where it is missing.
    pub(super) needs: &'static str,
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
            library: None,
            is_in_library: P::is_available,
            make,
            defaults: &[],
            shapes: None,
            index: None,
            automatic: false,
            memory: None,
            records_runs: None,
            float16: false,
            compiles: false,
            needs,
        }
    }
}

pub(super) const CPU: KindSpec = KindSpec::new::<ep::CPU>("cpu", cpu, "nothing more");
pub(super) const CUDA: KindSpec = KindSpec {
    defaults: &[
        // An exhaustive search (the provider's default) measures every algorithm for every new shape.
        ("cudnn_conv_algo_search", Is("HEURISTIC")),
        // Doubling, the provider's default, can take twice the memory that is needed.
        ("arena_extend_strategy", Is("kSameAsRequested")),
        // The provider rounds float32 factors to 10 bits by default: other answers than the processor's.
        ("use_tf32", Is("0")),
    ],
    memory: Some("Cuda"),
    library: Some("cuda"),
    records_runs: Some("enable_cuda_graph"),
    float16: true,
    index: Some("device_id"),
    automatic: true,
    ..KindSpec::new::<ep::CUDA>(
        "cuda",
        arbitrary::<ep::CUDA>,
        "an NVIDIA GPU with its driver, ONNX Runtime built for CUDA (`pip install onnxruntime-gpu`), and CUDA and cuDNN \
         of the versions that it was built with, where the system's loader finds them (LD_LIBRARY_PATH, PATH)",
    )
};
pub(super) const TENSOR_RT: KindSpec = KindSpec {
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
    library: Some("tensorrt"),
    records_runs: Some("trt_cuda_graph_enable"),
    float16: true,
    index: Some("device_id"),
    compiles: true,
    ..KindSpec::new::<ep::TensorRT>(
        "tensorrt",
        arbitrary::<ep::TensorRT>,
        "what `cuda` needs, and TensorRT of the version that ONNX Runtime was built with (libnvinfer), where the system's \
         loader finds it",
    )
};
pub(super) const ROCM: KindSpec = KindSpec {
    library: Some("rocm"),
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
pub(super) const MIGRAPHX: KindSpec = KindSpec {
    library: Some("migraphx"),
    memory: Some("Hip"),
    index: Some("device_id"),
    compiles: true,
    ..KindSpec::new::<ep::MIGraphX>(
        "migraphx",
        migraphx,
        "an AMD GPU with ROCm and MIGraphX, and ONNX Runtime built for it (`pip install onnxruntime-migraphx`)",
    )
};
pub(super) const DIRECT_ML: KindSpec = KindSpec {
    memory: Some("DML"),
    index: Some("device_id"),
    automatic: true,
    ..KindSpec::new::<ep::DirectML>(
        "directml",
        direct_ml,
        "Windows with a DirectX 12 GPU, and ONNX Runtime built for it (`pip install onnxruntime-directml`)",
    )
};
pub(super) const CORE_ML: KindSpec = KindSpec {
    defaults: &[
        ("ModelFormat", Is("MLProgram")),
        ("ModelCacheDirectory", GraphCache),
    ],
    float16: true,
    compiles: true,
    ..KindSpec::new::<ep::CoreML>(
        "coreml",
        arbitrary::<ep::CoreML>,
        "macOS or iOS; ONNX Runtime for them has it (`pip install onnxruntime`)",
    )
};
pub(super) const OPEN_VINO: KindSpec = KindSpec {
    library: Some("openvino"),
    compiles: true,
    ..KindSpec::new::<ep::OpenVINO>(
        "openvino",
        arbitrary::<ep::OpenVINO>,
        "ONNX Runtime built with OpenVINO (`pip install onnxruntime-openvino`); for a GPU or NPU also Intel's driver, and \
         the option openvino.device_type=GPU",
    )
};
pub(super) const WEB_GPU: KindSpec = KindSpec {
    memory: Some("WebGPU_Buffer"),
    records_runs: Some("enableGraphCapture"),
    ..KindSpec::new::<ep::WebGPU>(
        "webgpu",
        arbitrary::<ep::WebGPU>,
        "a GPU with a driver for Vulkan, Metal or DirectX 12, and ONNX Runtime built with WebGPU \
         (`pip install onnxruntime-webgpu`)",
    )
};
pub(super) const QNN: KindSpec = KindSpec {
    compiles: true,
    ..KindSpec::new::<ep::QNN>(
        "qnn",
        arbitrary::<ep::QNN>,
        "a Qualcomm NPU with its driver, and ONNX Runtime built with QNN (`pip install onnxruntime-qnn`)",
    )
};
pub(super) const XNNPACK: KindSpec = KindSpec::new::<ep::XNNPACK>(
    "xnnpack",
    arbitrary::<ep::XNNPACK>,
    "ONNX Runtime built with XNNPACK: those for Android and iOS are, others are to be built with --use_xnnpack",
);
