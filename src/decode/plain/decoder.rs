//! The decoder's graphs, and the form of their tensors.

use florence2_layout::graphs::{
    ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, INPUTS_EMBEDS, LOGITS, SHARED_ENCODER_ROW,
    USE_CACHE_BRANCH, is_cache,
};
use ort::value::DynValue;

use super::dynamic_quantization::quantizes_activations;
use crate::bundle::{Bundle, DecoderGraphs, GraphLayout, ModelPart};
use crate::decode::cache_spec::{CacheNames, CacheSpec};
use crate::decode::device_top_k::DeviceTopK;
use crate::error::{Error, Result};
use crate::metrics::Stopwatch;
use crate::runtime::{Devices, ElementType, SessionOptions, TensorSpec};
use crate::session::tensorrt::takes_profiles;
use crate::session::{Graph, HelperGraph, Inputs, Outputs, TextSizes, tensor};

/// The decoder's graphs.
pub(super) struct PlainDecoder {
    /// Runs the first step.
    pub(super) first: Graph,
    /// Runs later steps; `None` if `first` does.
    next: Option<Graph>,
    pub(super) caches: CacheSpec,
    /// Heads and their size, if the first step takes caches without tokens.
    pub(super) empty_cache: Option<[usize; 2]>,
    /// Whether all rows may share one row of encoder states and cross-attention caches.
    pub(super) shared_encoder_row: bool,
    /// Whether activations are quantized dynamically, so that a token's logits depend on the tokens fed with it.
    pub(super) quantizes_activations: bool,
    /// Gathers cache rows in the device's memory; `None` if caches are copied to the CPU's memory after each step.
    pub(super) device_gather: Option<HelperGraph>,
    /// `None` if logits are copied to the CPU's memory after each step.
    pub(super) device_top_k: Option<DeviceTopK>,
}

impl PlainDecoder {
    /// Loads the preferred decoder graphs. Falls back to the others if they are invalid, or ONNX Runtime rejects
    /// them, as it does some published `decoder_model_merged`.
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions) -> Result<Self> {
        let devices = options.devices.of(ModelPart::Decoder);
        let mut decoders = by_preference(&bundle.layout, &devices)?.into_iter().peekable();
        while let Some(graphs) = decoders.next() {
            match (Self::load_graphs(bundle, graphs, options), decoders.peek()) {
                (Err(error @ (Error::Ort { .. } | Error::InvalidGraph { .. })), Some(others)) => {
                    let cause = std::error::Error::source(&error);
                    tracing::warn!(cause, ?others, "{error}: other decoder graphs are used instead");
                }
                (Err(Error::Ort { context, source }), None) if graphs == DecoderGraphs::Merged => {
                    let context = match bundle.layout.split_decoder_files() {
                        Some([first, next]) => {
                            format!(
                                "{context} ({first} and {next} would be used instead if they were beside it: fetch them)"
                            )
                        }
                        None => context,
                    };
                    return Err(Error::Ort { context, source });
                }
                (result, _) => return result,
            }
        }
        Err(bundle.layout.incomplete(&bundle.source, bundle.layout.missing()))
    }

    fn load_graphs(bundle: &Bundle, graphs: DecoderGraphs, options: &SessionOptions) -> Result<Self> {
        let (first, next) = graphs.graphs();
        let mut quantizes_activations = false;
        let mut load = |file| {
            let graph = bundle.graph(file)?;
            quantizes_activations |= self::quantizes_activations(&graph);
            Graph::load_checked(&graph, bundle, file, options)
        };
        let next = if next == first { None } else { Some(load(next)?) };
        let first = load(first)?;
        let caches = CacheSpec::of(&first)?;
        let shares = |graph: &Graph| graph.declares(SHARED_ENCODER_ROW) && !graph.takes_single_rows();
        let shared_encoder_row = shares(&first) && next.as_ref().is_none_or(shares);
        let sizes = TextSizes::of(bundle);
        let mut decoder = Self {
            empty_cache: empty_cache(&first, &caches, sizes)?,
            first,
            next,
            caches,
            shared_encoder_row,
            quantizes_activations,
            device_gather: None,
            device_top_k: None,
        };
        decoder.check(sizes)?;
        let mut options = options.clone();
        options.devices = options.devices.of(ModelPart::Decoder).into();
        decoder.device_gather = decoder.load_gather(&options)?;
        let float = decoder.first.float_output(LOGITS)?;
        if decoder.device_gather.is_some() && float == decoder.next().float_output(LOGITS)? {
            decoder.device_top_k = DeviceTopK::load(3, float, &options);
        }
        Ok(decoder)
    }

    /// Loads the graph that gathers rows of caches in the device's memory. Returns `None` if caches cannot stay there: the
    /// device has no memory of its own, or caches have several element types.
    fn load_gather(&self, options: &SessionOptions) -> Result<Option<HelperGraph>> {
        let Some(memory) = self.first.memory() else {
            return Ok(None);
        };
        let next = self.next();
        let mut elements = Vec::new();
        for names in self.caches.all() {
            elements.push(self.first.output(&names.present)?.dtype);
            elements.push(next.input(&names.past)?.dtype);
        }
        for names in &self.caches.self_attention {
            elements.push(next.output(&names.present)?.dtype);
        }
        elements.dedup();
        let [element] = elements[..] else {
            return Ok(None);
        };
        HelperGraph::gather(self.caches.self_attention.len(), element, memory, options).map(Some)
    }

    /// Runs a step with one of the graphs. Caches stay in the device's memory if they can, and logits if `keeps_logits`.
    pub(super) fn run<'g>(
        &self,
        graph: &'g Graph,
        inputs: Inputs<'_>,
        keeps_logits: bool,
        clock: &Stopwatch,
    ) -> Result<Outputs<'g>> {
        match (&self.device_gather, graph.memory()) {
            (Some(_), Some(memory)) => {
                let stays = |name: &str| is_cache(name) || (keeps_logits && name == LOGITS);
                graph.run_on_device(inputs, memory, stays, clock)
            }
            _ => graph.run(inputs, clock),
        }
    }

    /// Returns caches whose row `i` is a copy of row `rows[i]`.
    pub(super) fn gather(
        &self,
        caches: &[DynValue],
        rows: &[usize],
        clock: &Stopwatch,
    ) -> Result<Vec<DynValue>> {
        match &self.device_gather {
            Some(gather) if !caches.is_empty() => {
                let indices = tensor::indices(rows)?;
                gather.run([&indices].into_iter().chain(caches), clock)
            }
            _ => caches
                .iter()
                .map(|value| tensor::gather_rows(value, rows))
                .collect(),
        }
    }

    /// Returns the graph of later steps.
    pub(super) fn next(&self) -> &Graph {
        self.next.as_ref().unwrap_or(&self.first)
    }

    /// Returns the loaded graphs.
    pub(super) fn graphs(&self) -> impl Iterator<Item = &Graph> {
        [Some(&self.first), self.next.as_ref()].into_iter().flatten()
    }

    /// Returns the number of logits of each row, if the graph fixes it.
    pub(super) fn vocabulary_size(&self) -> Option<usize> {
        self.first.output(LOGITS).ok()?.fixed(2)
    }

    /// Checks that both graphs have the tensors of a step, with matching types and sizes.
    fn check(&self, sizes: TextSizes) -> Result<()> {
        sizes.check_layers(&self.first, self.caches.layers())?;
        self.first.float_input(ENCODER_HIDDEN_STATES)?;
        for graph in self.graphs() {
            graph.takes_integers(ENCODER_ATTENTION_MASK, is_fed)?;
            if graph.has_input(USE_CACHE_BRANCH) {
                graph.check_input(USE_CACHE_BRANCH, ElementType::Bool)?;
            }
            for name in [INPUTS_EMBEDS, ENCODER_HIDDEN_STATES] {
                if name == INPUTS_EMBEDS || graph.has_input(name) {
                    graph.float_input(name)?;
                    graph.check_size(graph.input(name)?, 2, sizes.d_model, TextSizes::D_MODEL)?;
                }
            }
            graph.float_output(LOGITS)?;
            graph.check_size(
                graph.output(LOGITS)?,
                2,
                self.vocabulary_size(),
                "that of the decoder's first step",
            )?;
        }
        for names in self.caches.all() {
            self.first.float_output(&names.present)?;
            check_cache(&self.first, self.first.output(&names.present)?, sizes)?;
            self.next().float_input(&names.past)?;
            check_cache(self.next(), self.next().input(&names.past)?, sizes)?;
        }
        for names in &self.caches.self_attention {
            self.next().float_output(&names.present)?;
        }
        Ok(())
    }
}

/// Returns whether a step is fed an input of this name.
fn is_fed(name: &str) -> bool {
    [INPUTS_EMBEDS, ENCODER_HIDDEN_STATES, USE_CACHE_BRANCH].contains(&name) || is_cache(name)
}

/// Returns the bundle's decoder graphs, best first: the merged graph, except on devices that take shape profiles
/// (TensorRT), since the merged graph cannot have one.
fn by_preference(layout: &GraphLayout, devices: &Devices) -> Result<Vec<DecoderGraphs>> {
    let mut decoders: Vec<DecoderGraphs> = layout.decoders().collect();
    if takes_profiles(devices)? {
        decoders.sort_by_key(|graphs| *graphs == DecoderGraphs::Merged);
    }
    Ok(decoders)
}

/// Checks that a cache, `[batch, heads, length, head size]`, has the heads of `sizes`.
fn check_cache(graph: &Graph, spec: &TensorSpec, sizes: TextSizes) -> Result<()> {
    graph.check_size(spec, 1, sizes.heads, "decoder_attention_heads of config.json")?;
    graph.check_size(spec, 3, sizes.head_size(), "the size of a head by config.json")
}

/// Returns the number of heads and their size, from the graph or else from `config.json`; `None` if the graph's first
/// step takes no caches.
fn empty_cache(graph: &Graph, caches: &CacheSpec, sizes: TextSizes) -> Result<Option<[usize; 2]>> {
    let is_input = |names: &&CacheNames| graph.has_input(&names.past);
    let Some(names) = caches.self_attention.first().filter(is_input) else {
        return Ok(None);
    };
    let spec = graph.input(&names.past)?;
    let heads = spec.fixed(1).or(sizes.heads);
    let head_size = spec.fixed(3).or(sizes.head_size());
    match (heads, head_size) {
        (Some(heads), Some(head_size)) => Ok(Some([heads, head_size])),
        _ => Err(graph.invalid(format!(
            "{spec} does not give the number of heads and their size, nor does config.json (text_config: d_model, \
             decoder_attention_heads); fetch the model's own config.json"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use florence2_layout::graphs::GraphFile;

    use super::*;
    use crate::bundle::{BundleSource, Dtype};

    #[test]
    fn split_decoders_are_preferred_on_tensorrt() {
        let files = GraphFile::PLAIN.map(|graph| (graph.file_name(Dtype::Fp32), vec![].into()));
        let layout = GraphLayout::find(&BundleSource::Memory {
            name: "test".into(),
            files: files.into(),
        });
        for (devices, first) in [
            ("cpu", DecoderGraphs::Merged),
            ("cuda", DecoderGraphs::Merged),
            ("tensorrt,cuda", DecoderGraphs::Split),
        ] {
            let decoders = by_preference(&layout, &devices.parse().unwrap()).unwrap();
            assert_eq!((decoders.len(), decoders[0]), (2, first), "{devices}");
        }
    }
}
