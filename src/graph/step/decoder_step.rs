//! The decoder's graph, and what it says of its tensors.

use florence2_layout::graphs::{
    Attention, ENCODER_SEQUENCE_LENGTHS, GraphFile, INPUT_IDS, LOGITS, ModelPart, PAST_SEQUENCE_LENGTHS,
};

use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::graph::session::{CacheNames, Graph};
use crate::runtime::{ElementType, SessionOptions, TensorSpec};

/// The decoder's graph.
pub(super) struct DecoderStep {
    graph: Graph,
    /// Self-attention: key and value of each layer.
    own: Vec<CacheNames>,
    /// Cross-attention: key and value of each layer.
    cross: Vec<CacheNames>,
    heads: usize,
    head_size: usize,
    vocabulary: usize,
}

impl DecoderStep {
    /// Loads the graph; its devices must be the processor.
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions) -> Result<Self> {
        let devices = options.devices.of(ModelPart::Decoder);
        if !devices.is_cpu()? {
            return Err(Error::InvalidOption {
                name: "device",
                reason: format!(
                    "this model's decoder is made for the processor (its caches are written in place there) and cannot \
                     run on {devices}. Leave it there (--device {devices},decoder=cpu), or use a plain export \
                     (florence2 export --target plain)"
                ),
            });
        }
        let graph = Graph::load(bundle, GraphFile::DecoderStep, options)?;
        let layers = graph.layers_of_caches();
        let own = CacheNames::of(layers, Attention::Decoder);
        let Some(first) = own.first() else {
            return Err(graph.invalid("it gives no caches (`present.0.decoder.key`); export the model again"));
        };
        let (heads, head_size) = match graph.input(&first.past)? {
            spec if spec.dims.len() == 4 => (spec.fixed(1), spec.fixed(3)),
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
        let step = Self {
            own,
            cross: CacheNames::of(layers, Attention::Encoder),
            heads,
            head_size,
            vocabulary,
            graph,
        };
        step.check()?;
        Ok(step)
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
        if spec.dtype == ElementType::Float32
            && spec.dims.len() == 4
            && fits(1, self.heads)
            && fits(3, self.head_size)
        {
            return Ok(());
        }
        let wanted = format!("float32 [rows, {}, length, {}]", self.heads, self.head_size);
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

    pub(super) fn heads(&self) -> usize {
        self.heads
    }

    pub(super) fn head_size(&self) -> usize {
        self.head_size
    }

    /// Logits of each row.
    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}

fn unfit(graph: &Graph, spec: &TensorSpec, wanted: &str) -> Error {
    graph.invalid(format!("{spec} is not {wanted}; export the model again"))
}
