//! The decoder's graph, and the form of its tensors.

use florence2_layout::graphs::{
    CACHES_ON_DEVICE, ENCODER_SEQUENCE_LENGTHS, GraphFile, INPUT_IDS, LOGITS, ModelPart,
    PAST_SEQUENCE_LENGTHS,
};

use crate::bundle::Bundle;
use crate::decode::cache_spec::CacheSpec;
use crate::decode::device_top_k::DeviceTopK;
use crate::decode::kv_cache::{CacheFormat, DeviceTensors};
use crate::error::{Error, Result};
use crate::runtime::{Device, ElementType, ExecutionProviders, SessionOptions, TensorSpec};
use crate::session::{FloatType, Graph};

/// The decoder's graph.
pub(super) struct FusedDecoder {
    graph: Graph,
    caches: CacheSpec,
    format: CacheFormat,
    /// The caches' element type.
    element: ElementType,
    vocabulary: usize,
    /// `None` if the logits are in the CPU's memory.
    device_top_k: Option<DeviceTopK>,
}

impl FusedDecoder {
    /// Loads the graph. If it was not exported for the devices that `auto` selected, loads it on the CPU; for devices
    /// that the user named, that is an error.
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions) -> Result<Self> {
        if !options.execution_providers.is_empty() {
            tracing::info!(
                "the decoder writes its KV cache in place, and runs without the application's providers"
            );
            let mut options = options.clone();
            options.execution_providers = ExecutionProviders::default();
            return Self::load(bundle, &options);
        }
        let devices = options.devices.of(ModelPart::Decoder);
        let is_cpu = devices.is_cpu()?;
        if is_cpu || Graph::unloaded_declares(bundle, GraphFile::DecoderStep, CACHES_ON_DEVICE)? {
            let graph = Graph::load(bundle, GraphFile::DecoderStep, options)?;
            if is_cpu || graph.memory().is_some() {
                return Self::new(graph, options);
            }
        }
        if devices.is_auto() {
            tracing::info!("the decoder's graph is exported for the CPU, and runs there");
            let mut options = options.clone();
            options.devices = options.devices.with_part(ModelPart::Decoder, Device::CPU);
            return Self::load(bundle, &options);
        }
        Err(Error::InvalidOption {
            name: "device",
            reason: format!(
                "this model's decoder writes its KV cache in place, which this export cannot do on {devices}. Run the \
                 decoder on the CPU ({devices},decoder=cpu), or export the model for target plain or cuda"
            ),
        })
    }

    fn new(graph: Graph, options: &SessionOptions) -> Result<Self> {
        let caches = CacheSpec::of(&graph)?;
        let Some(first) = caches.self_attention.first() else {
            return Err(graph.invalid("it has no layers"));
        };
        let spec = graph.input(&first.past)?;
        if spec.dims.len() != 4 {
            return Err(unfit(&graph, spec, "of four dimensions"));
        }
        let (Some(heads), Some(head_size)) = (spec.fixed(1), spec.fixed(3)) else {
            let wanted = "of a fixed number of heads and a fixed head size";
            return Err(unfit(&graph, spec, wanted));
        };
        let element = spec.dtype;
        let logits = graph.output(LOGITS)?;
        let (2, Some(vocabulary), ElementType::Float32) = (logits.dims.len(), logits.fixed(1), logits.dtype)
        else {
            return Err(unfit(&graph, logits, "float32 [rows, a fixed vocabulary]"));
        };
        let mut decoder = Self {
            format: CacheFormat {
                tensors: caches.self_attention.len(),
                heads,
                head_size,
                device: None,
            },
            caches,
            element,
            vocabulary,
            device_top_k: None,
            graph,
        };
        decoder.check()?;
        if let (Some(memory), Some(float)) = (decoder.graph.memory(), FloatType::of(element)) {
            let mut options = options.clone();
            options.devices = options.devices.of(ModelPart::Decoder).into();
            let tensors = decoder.format.tensors;
            decoder.format.device = Some(DeviceTensors::new(tensors, float, memory, &options)?);
            decoder.device_top_k = DeviceTopK::load(2, FloatType::F32, &options);
        }
        Ok(decoder)
    }

    /// Checks that the graph has the tensors that a step binds.
    fn check(&self) -> Result<()> {
        let graph = &self.graph;
        for (name, dtype, dims) in [
            (INPUT_IDS, ElementType::Int64, 2),
            (PAST_SEQUENCE_LENGTHS, ElementType::Int32, 1),
            (ENCODER_SEQUENCE_LENGTHS, ElementType::Int32, 1),
        ] {
            let spec = graph.input(name)?;
            if spec.dtype != dtype || spec.dims.len() != dims {
                return Err(unfit(graph, spec, &format!("{dtype} of {dims} dimensions")));
            }
        }
        for names in &self.caches.self_attention {
            self.check_cache(graph, graph.output(&names.present)?)?;
        }
        for names in self.caches.all() {
            self.check_cache(graph, graph.input(&names.past)?)?;
        }
        Ok(())
    }

    /// Checks that a tensor of `graph` is a cache of this decoder.
    pub(super) fn check_cache(&self, graph: &Graph, spec: &TensorSpec) -> Result<()> {
        let is_float = FloatType::of(self.element).is_some();
        // Caches in the CPU's memory are changed there, as float32.
        let is_supported = self.element == ElementType::Float32 || is_float && self.graph.memory().is_some();
        if is_float && !is_supported && spec.dtype == self.element {
            return Err(Error::InvalidOption {
                name: "device",
                reason: format!(
                    "this model's decoder has a KV cache of {}, for a GPU: it does not run on the CPU. Name a GPU as \
                     the device, or export the model for target cpu",
                    self.element
                ),
            });
        }
        let fits = |axis, wanted| spec.fixed(axis).is_none_or(|size| size == wanted);
        let CacheFormat { heads, head_size, .. } = self.format;
        let has_shape = spec.dims.len() == 4 && fits(1, heads) && fits(3, head_size);
        if is_supported && spec.dtype == self.element && has_shape {
            return Ok(());
        }
        let element = if is_supported {
            self.element
        } else {
            ElementType::Float32
        };
        let wanted = format!("{element} [rows, {heads}, length, {head_size}]");
        Err(unfit(graph, spec, &wanted))
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(super) fn caches(&self) -> &CacheSpec {
        &self.caches
    }

    pub(super) fn format(&self) -> &CacheFormat {
        &self.format
    }

    /// Returns the device's top-k; `None` if the logits are in the CPU's memory.
    pub(super) fn device_top_k(&self) -> Option<&DeviceTopK> {
        self.device_top_k.as_ref()
    }

    /// Returns the number of logits of each row.
    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}

fn unfit(graph: &Graph, spec: &TensorSpec, wanted: &str) -> Error {
    graph.invalid(format!("{spec} is not {wanted}; export the model again"))
}
