//! The decoder's graphs: which take which step, and what their caches are called.

use florence2_layout::graphs::{
    Attention, ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, INPUTS_EMBEDS, LOGITS, SHARED_ENCODER_ROW,
    USE_CACHE_BRANCH, is_cache,
};

use ort::session::SessionInputValue;
use ort::value::DynValue;

use super::operators::quantizes_activations;
use crate::bundle::{Bundle, DecoderGraphs, GraphLayout, ModelPart};
use crate::error::{Error, Result};
use crate::graph::cache_names::CacheNames;
use crate::graph::checks::TextSizes;
use crate::graph::chooser::Chooser;
use crate::graph::profile::wants_profiles;
use crate::graph::rearranger::{Rearrangement, Rearranger};
use crate::graph::session::{Graph, Outputs};
use crate::graph::tensor;
use crate::runtime::{Devices, ElementType, SessionOptions, TensorSpec};

/// The decoder's graphs, and the names of their caches.
pub(super) struct DecoderModel {
    /// Takes the first step.
    pub(super) first: Graph,
    /// Takes the further ones; `None` if `first` takes them too.
    next: Option<Graph>,
    /// Self-attention: key and value of each layer.
    pub(super) own: Vec<CacheNames>,
    /// Cross-attention: key and value of each layer.
    pub(super) cross: Vec<CacheNames>,
    /// Heads and their size, where the first step wants caches of no tokens.
    pub(super) empty_cache: Option<[usize; 2]>,
    /// Whether one row of what is attended to may serve all rows.
    pub(super) shared_encoder_row: bool,
    /// Whether a token's logits depend on the tokens that are fed with it: whether activations are quantised dynamically.
    pub(super) quantizes_activations: bool,
    /// The caches' life in the device's memory; `None` if they come to the processor's after each step.
    pub(super) on_device: Option<Rearranger>,
    /// What chooses logits in the device's memory; `None` if they come to the processor's after each step.
    pub(super) chooser: Option<Chooser>,
}

impl DecoderModel {
    /// The best decoder graphs that ONNX Runtime takes: some published `decoder_model_merged` it refuses.
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions) -> Result<Self> {
        let devices = options.devices.of(ModelPart::Decoder);
        let mut decoders = by_preference(&bundle.layout, &devices)?.into_iter().peekable();
        while let Some(graphs) = decoders.next() {
            match (Self::load_graphs(bundle, graphs, options), decoders.peek()) {
                (Err(Error::Ort { context, source }), Some(others)) => {
                    tracing::warn!(%source, ?others, "failed {context}: other decoder graphs are used instead");
                }
                (result, _) => return result,
            }
        }
        Err(Error::InvalidBundle {
            path: bundle.source.path(""),
            reason: format!("missing: {}", bundle.layout.missing().join(", ")),
        })
    }

    fn load_graphs(bundle: &Bundle, graphs: DecoderGraphs, options: &SessionOptions) -> Result<Self> {
        let (first, next) = graphs.graphs();
        let quantizes_activations = quantizes_activations(&bundle.layout.graph(&bundle.source, first)?)
            || first != next && quantizes_activations(&bundle.layout.graph(&bundle.source, next)?);
        let next = if next == first {
            None
        } else {
            Some(Graph::load(bundle, next, options)?)
        };
        let first = Graph::load(bundle, first, options)?;
        let layers = first.layers_of_caches();
        let (own, cross) = (
            CacheNames::of(layers, Attention::Decoder),
            CacheNames::of(layers, Attention::Encoder),
        );
        let shared_encoder_row = [Some(&first), next.as_ref()]
            .into_iter()
            .flatten()
            .all(|graph| graph.claims(SHARED_ENCODER_ROW) && !graph.takes_single_rows());
        let sizes = TextSizes::of(bundle);
        let mut model = Self {
            empty_cache: empty_cache(&first, &own, sizes)?,
            first,
            next,
            own,
            cross,
            shared_encoder_row,
            quantizes_activations,
            on_device: None,
            chooser: None,
        };
        model.check(sizes)?;
        let mut options = options.clone();
        options.devices = options.devices.of(ModelPart::Decoder).clone().into();
        model.on_device = model.row_gather(&options)?;
        model.chooser = model.logits_chooser(&options)?;
        Ok(model)
    }

    /// What puts the caches in order on the device, if they can stay there: if it has memory of its own, and the further
    /// steps take the caches in the float type in which steps give them.
    fn row_gather(&self, options: &SessionOptions) -> Result<Option<Rearranger>> {
        let Some(memory) = self.first.memory() else {
            return Ok(None);
        };
        let next = self.next();
        let all = || self.own.iter().chain(&self.cross);
        let of_first = all().map(|names| self.first.output(&names.present));
        let into_next = all().map(|names| next.input(&names.past));
        let of_next = self.own.iter().map(|names| next.output(&names.present));
        let caches = of_first.chain(into_next).chain(of_next);
        let mut elements: Vec<ElementType> = caches.map(|spec| Ok(spec?.dtype)).collect::<Result<_>>()?;
        elements.dedup();
        let [element] = elements[..] else {
            return Ok(None);
        };
        Rearranger::new(Rearrangement::Gather, self.own.len(), element, memory, options).map(Some)
    }

    /// What chooses logits on the device, if the caches stay there, and all steps give logits of one float type.
    fn logits_chooser(&self, options: &SessionOptions) -> Result<Option<Chooser>> {
        let floats = (
            self.first.float_output(LOGITS)?,
            self.next().float_output(LOGITS)?,
        );
        match (&self.on_device, floats) {
            (Some(_), (first, next)) if first == next => Ok(Chooser::new(3, first, options)),
            _ => Ok(None),
        }
    }

    /// A step by one of the graphs, whose logits stay on the device too if `keeps_logits`. Adds the time within the
    /// runtime to `runtime`.
    pub(super) fn run<'g>(
        &self,
        graph: &'g Graph,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        keeps_logits: bool,
        runtime: &mut f64,
    ) -> Result<Outputs<'g>> {
        match (&self.on_device, graph.memory()) {
            (Some(_), Some(memory)) => {
                let stays = |name: &str| is_cache(name) || (keeps_logits && name == LOGITS);
                graph.run_keeping(inputs, memory, stays, runtime)
            }
            _ => graph.run(inputs, runtime),
        }
    }

    /// Caches whose row `i` is row `rows[i]` of these. Adds the time within the runtime to `runtime`.
    pub(super) fn gather(
        &self,
        caches: &[DynValue],
        rows: &[usize],
        runtime: &mut f64,
    ) -> Result<Vec<DynValue>> {
        match &self.on_device {
            // The first step has not been taken yet.
            _ if caches.is_empty() => Ok(Vec::new()),
            Some(gather) => gather.run(caches, &tensor::indices(rows)?, &[], runtime),
            None => caches
                .iter()
                .map(|value| tensor::gather_rows(value, rows))
                .collect(),
        }
    }

    /// The graph of the further steps.
    pub(super) fn next(&self) -> &Graph {
        self.next.as_ref().unwrap_or(&self.first)
    }

    /// The graphs that are loaded.
    pub(super) fn graphs(&self) -> impl Iterator<Item = &Graph> {
        [Some(&self.first), self.next.as_ref()].into_iter().flatten()
    }

    /// The size of the vocabulary, if the graph fixes it.
    pub(super) fn vocabulary_size(&self) -> Option<usize> {
        self.first.output(LOGITS).ok()?.fixed(2)
    }

    /// That both graphs have the tensors which a step binds, in types and sizes that go together.
    fn check(&self, sizes: TextSizes) -> Result<()> {
        if self.own.is_empty() {
            return Err(self
                .first
                .invalid("it gives no caches (`present.0.decoder.key`); export the model again"));
        }
        sizes.check_layers(&self.first, self.own.len() / 2)?;
        self.first.float_input(ENCODER_HIDDEN_STATES)?;
        let mut graphs = vec![&self.first];
        graphs.extend(&self.next);
        for graph in graphs {
            graph.check_input(ENCODER_ATTENTION_MASK, ElementType::Int64)?;
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
        for names in self.own.iter().chain(&self.cross) {
            self.first.float_output(&names.present)?;
            check_cache(&self.first, self.first.output(&names.present)?, sizes)?;
            self.next().float_input(&names.past)?;
            check_cache(self.next(), self.next().input(&names.past)?, sizes)?;
        }
        for names in &self.own {
            self.next().float_output(&names.present)?;
        }
        Ok(())
    }
}

/// The decoder graphs that there are, best first: a single one, unless a device builds it for certain sizes, which those
/// of a graph for two kinds of steps are not.
fn by_preference(layout: &GraphLayout, devices: &Devices) -> Result<Vec<DecoderGraphs>> {
    let mut decoders: Vec<DecoderGraphs> = layout.decoders().collect();
    if wants_profiles(devices)? {
        decoders.sort_by_key(|graphs| *graphs == DecoderGraphs::Merged);
    }
    Ok(decoders)
}

/// That a cache, `[batch, heads, length, head size]`, is of a decoder of these sizes.
fn check_cache(graph: &Graph, spec: &TensorSpec, sizes: TextSizes) -> Result<()> {
    graph.check_size(spec, 1, sizes.heads, "decoder_attention_heads of config.json")?;
    graph.check_size(spec, 3, sizes.head_size(), "the size of a head by config.json")
}

/// Heads and their size, for a graph that takes caches in its first step: by the graph, else by `config.json`.
fn empty_cache(graph: &Graph, caches: &[CacheNames], sizes: TextSizes) -> Result<Option<[usize; 2]>> {
    let Some(names) = caches.first().filter(|names| graph.has_input(&names.past)) else {
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
    fn decoders_of_one_kind_of_step_come_first_where_graphs_are_built_for_certain_sizes() {
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
