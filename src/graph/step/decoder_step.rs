//! The decoder's graph, and what it says of its tensors.

use florence2_layout::graphs::{
    Attention, CACHES_ON_DEVICE, ENCODER_SEQUENCE_LENGTHS, GraphFile, INPUT_IDS, LOGITS, ModelPart,
    PAST_SEQUENCE_LENGTHS,
};
use ort::session::IoBinding;
use ort::value::DynValue;

use super::caches::{CacheShape, DeviceCaches};
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::graph::cache_names::CacheNames;
use crate::graph::chooser::Chooser;
use crate::graph::session::Graph;
use crate::graph::tensor::FloatType;
use crate::runtime::{Device, DeviceMemory, ElementType, SessionOptions, TensorSpec};

/// The decoder's graph.
pub(super) struct DecoderStep {
    graph: Graph,
    /// Self-attention: key and value of each layer.
    own: Vec<CacheNames>,
    /// Cross-attention: key and value of each layer.
    cross: Vec<CacheNames>,
    heads: usize,
    head_size: usize,
    /// What the caches are of.
    element: ElementType,
    vocabulary: usize,
    /// The caches' life in the device's memory; `None` if they are in the processor's.
    device_caches: Option<DeviceCaches>,
    /// What chooses logits in the device's memory.
    chooser: Option<Chooser>,
}

impl DecoderStep {
    /// Loads the graph. If it is not made for its devices, and they were not named, it runs on the processor.
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions) -> Result<Self> {
        let devices = options.devices.of(ModelPart::Decoder);
        let is_cpu = devices.is_cpu()?;
        if is_cpu || Graph::claims_unloaded(bundle, GraphFile::DecoderStep, CACHES_ON_DEVICE)? {
            let graph = Graph::load(bundle, GraphFile::DecoderStep, options)?;
            if is_cpu || graph.memory().is_some() {
                return Self::new(graph, options);
            }
        }
        if devices.is_auto() {
            tracing::info!("the decoder's graph is made for the processor, and runs there");
            let mut options = options.clone();
            options.devices = options.devices.with_part(ModelPart::Decoder, Device::CPU);
            return Self::load(bundle, &options);
        }
        Err(Error::InvalidOption {
            name: "device",
            reason: format!(
                "this model's decoder writes its caches in place, and as it is, cannot do so on {devices}. Leave it on \
                 the processor (--device {devices},decoder=cpu), or use another export (florence2 export --target plain, \
                 or cuda)"
            ),
        })
    }

    fn new(graph: Graph, options: &SessionOptions) -> Result<Self> {
        let layers = graph.layers_of_caches();
        let own = CacheNames::of(layers, Attention::Decoder);
        let Some(first) = own.first() else {
            return Err(graph.invalid("it gives no caches (`present.0.decoder.key`); export the model again"));
        };
        let (heads, head_size, element) = match graph.input(&first.past)? {
            spec if spec.dims.len() == 4 => (spec.fixed(1), spec.fixed(3), spec.dtype),
            spec => return Err(unfit(&graph, spec, "of four dimensions")),
        };
        let logits = graph.output(LOGITS)?;
        let (Some(heads), Some(head_size)) = (heads, head_size) else {
            return Err(unfit(
                &graph,
                graph.input(&first.past)?,
                "of a fixed number of heads, and of a fixed size of them",
            ));
        };
        let (2, Some(vocabulary), ElementType::Float32) = (logits.dims.len(), logits.fixed(1), logits.dtype)
        else {
            return Err(unfit(&graph, logits, "float32 [rows, a fixed vocabulary]"));
        };
        let mut step = Self {
            own,
            cross: CacheNames::of(layers, Attention::Encoder),
            heads,
            head_size,
            element,
            vocabulary,
            device_caches: None,
            chooser: None,
            graph,
        };
        step.check()?;
        step.work_on_device(options)?;
        Ok(step)
    }

    /// Makes what works on caches and logits in the device's memory, if it has one of its own.
    fn work_on_device(&mut self, options: &SessionOptions) -> Result<()> {
        let (Some(memory), Some(float)) = (self.graph.memory(), FloatType::of(self.element)) else {
            return Ok(());
        };
        let mut options = options.clone();
        options.devices = options.devices.of(ModelPart::Decoder).clone().into();
        self.device_caches = Some(DeviceCaches::new(self.own.len(), float, memory, &options)?);
        self.chooser = Chooser::new(2, FloatType::F32, &options);
        Ok(())
    }

    /// That the graph has the tensors that a step binds.
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
        for names in &self.own {
            self.check_cache(graph, graph.input(&names.past)?)?;
            self.check_cache(graph, graph.output(&names.present)?)?;
        }
        for names in &self.cross {
            self.check_cache(graph, graph.input(&names.past)?)?;
        }
        Ok(())
    }

    /// That a tensor of `graph` is a cache as this decoder has them.
    pub(super) fn check_cache(&self, graph: &Graph, spec: &TensorSpec) -> Result<()> {
        let fits = |axis, wanted| spec.fixed(axis).is_none_or(|size| size == wanted);
        // What is in the processor's memory is changed there by us.
        let is_known = match self.graph.memory() {
            Some(_) => FloatType::of(self.element).is_some(),
            None => self.element == ElementType::Float32,
        };
        if is_known
            && spec.dtype == self.element
            && spec.dims.len() == 4
            && fits(1, self.heads)
            && fits(3, self.head_size)
        {
            return Ok(());
        }
        if !is_known && spec.dtype == self.element && FloatType::of(self.element).is_some() {
            return Err(Error::InvalidOption {
                name: "device",
                reason: format!(
                    "this model's decoder has caches of {}, for a GPU: it does not run on the processor. Name the device \
                     (--device cuda), or export for the processor (florence2 export --target cpu)",
                    self.element
                ),
            });
        }
        let element = match is_known {
            true => self.element,
            false => ElementType::Float32,
        };
        let wanted = format!("{element} [rows, {}, length, {}]", self.heads, self.head_size);
        Err(unfit(graph, spec, &wanted))
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The self-attention caches' names: key and value of each layer.
    pub(super) fn own(&self) -> &[CacheNames] {
        &self.own
    }

    /// The cross-attention caches' names: key and value of each layer.
    pub(super) fn cross(&self) -> &[CacheNames] {
        &self.cross
    }

    /// Binds caches, self-attention's as what goes in and what comes out.
    pub(super) fn bind_caches(
        &self,
        binding: &mut IoBinding,
        own: &mut [DynValue],
        cross: &[DynValue],
    ) -> ort::Result<()> {
        for (names, tensor) in self.own.iter().zip(own) {
            binding.bind_input(&names.past, tensor)?;
            binding.bind_output(&names.present, tensor)?;
        }
        for (names, tensor) in self.cross.iter().zip(cross) {
            binding.bind_input(&names.past, tensor)?;
        }
        Ok(())
    }

    /// What keeps the caches in the device's memory, if they are there.
    pub(super) fn device_caches(&self) -> Option<&DeviceCaches> {
        self.device_caches.as_ref()
    }

    /// What chooses the best logits, and the memory that it finds them in, if that is the device's.
    pub(super) fn chooser(&self) -> Option<(&Chooser, DeviceMemory)> {
        self.chooser.as_ref().zip(self.graph.memory())
    }

    /// The shape of caches of so many rows and tokens.
    pub(super) fn cache_shape(&self, rows: usize, length: usize) -> CacheShape {
        CacheShape {
            rows,
            heads: self.heads,
            length,
            head_size: self.head_size,
        }
    }

    /// Logits of each row.
    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}

fn unfit(graph: &Graph, spec: &TensorSpec, wanted: &str) -> Error {
    graph.invalid(format!("{spec} is not {wanted}; export the model again"))
}
