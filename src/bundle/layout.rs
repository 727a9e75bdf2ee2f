//! Which graphs a bundle has, and which of them make a model.

use std::collections::{BTreeMap, BTreeSet};

use florence2_layout::dtypes::Dtype;
use florence2_layout::file_names::GraphFileName;
use florence2_layout::graphs::{FOLDER, GraphFile};

use super::dtypes::DtypePreference;
use super::source::BundleSource;
use crate::error::{Error, Result};
use crate::runtime::{GraphSource, SharedSession};

/// The layouts in which a model's graphs come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutKind {
    /// [`GraphFile::STEP`]: made for processors by `florence2 export --target cpu`.
    Step,
    /// [`GraphFile::PLAIN`]: that of the onnx-community deployments.
    Plain,
}

/// The graphs with which a decoder of the `plain` layout takes its first and its further steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderGraphs {
    /// One graph for both, told apart by `use_cache_branch`.
    Merged,
    /// `decoder_model` first, then `decoder_with_past_model`.
    Split,
}

impl DecoderGraphs {
    /// All combinations in use, best first: a single graph holds the decoder's weights once.
    const ALL: [DecoderGraphs; 2] = [DecoderGraphs::Merged, DecoderGraphs::Split];

    /// The graphs of the first step and of the further ones.
    pub const fn graphs(self) -> (GraphFile, GraphFile) {
        match self {
            DecoderGraphs::Merged => (GraphFile::DecoderModelMerged, GraphFile::DecoderModelMerged),
            DecoderGraphs::Split => (GraphFile::DecoderModel, GraphFile::DecoderWithPastModel),
        }
    }
}

/// The graphs found in a bundle.
#[derive(Debug, Clone)]
pub struct GraphLayout {
    /// The file of each graph, as a path inside the bundle.
    pub files: BTreeMap<GraphFile, String>,
    /// The graphs that the application has loaded already; they are used whether or not there are files of them.
    pub sessions: BTreeMap<GraphFile, SharedSession>,
    /// What the names of these files begin with (`base-`), in older exports; mostly nothing.
    pub prefix: String,
    /// What was looked for.
    dtypes: DtypePreference,
    /// The types in which there are graphs, whatever was looked for.
    offered: BTreeSet<Dtype>,
}

impl GraphLayout {
    /// The graphs of the `plain` layout that each combination of decoders needs.
    const PLAIN_ENCODERS: [GraphFile; 3] = [
        GraphFile::VisionEncoder,
        GraphFile::EmbedTokens,
        GraphFile::EncoderModel,
    ];

    /// Looks for the graphs in `onnx/` and beside the configuration; of a graph that is there in several types, the
    /// one preferred is taken ([`Dtype::BY_PREFERENCE`]).
    pub fn find(source: &BundleSource) -> Self {
        Self::find_with(source, DtypePreference::default())
    }

    /// [`find`](Self::find), for graphs of certain types: those of another type are not seen.
    ///
    /// Names are read as [`GraphFileName`] says. Where there are graphs with several prefixes, those of one are taken:
    /// of the first, none at all being before any, with which a model is whole; of the one with most graphs, if none is.
    pub fn find_with(source: &BundleSource, dtypes: DtypePreference) -> Self {
        let paths = source.graph_files();
        let names = paths
            .iter()
            .filter_map(|path| GraphFileName::parse(path.rsplit('/').next()?));
        let offered: BTreeSet<Dtype> = names.map(|name| name.dtype).collect();
        let mut by_prefix: BTreeMap<&str, BTreeMap<GraphFile, Candidate<'_>>> = BTreeMap::new();
        for candidate in paths.iter().filter_map(|path| Candidate::new(path, &dtypes)) {
            let graphs = by_prefix.entry(candidate.name.prefix).or_default();
            let best = graphs.entry(candidate.name.graph).or_insert(candidate);
            if candidate.rank < best.rank {
                *best = candidate;
            }
        }
        let layouts = by_prefix.into_iter().map(|(prefix, graphs)| Self {
            files: graphs
                .into_iter()
                .map(|(graph, candidate)| (graph, candidate.path.to_owned()))
                .collect(),
            sessions: BTreeMap::new(),
            prefix: prefix.to_owned(),
            dtypes: dtypes.clone(),
            offered: offered.clone(),
        });
        let (whole, parts): (Vec<Self>, Vec<Self>) = layouts.partition(|layout| layout.kind().is_some());
        if let [first, _, ..] = whole.as_slice() {
            let prefixes: Vec<&str> = whole.iter().map(|layout| layout.prefix.as_str()).collect();
            tracing::warn!(
                ?prefixes,
                taken = first.prefix,
                "the graphs of several models lie together"
            );
        }
        let most = parts.into_iter().rev().max_by_key(|layout| layout.files.len());
        whole.into_iter().next().or(most).unwrap_or_else(|| Self {
            files: BTreeMap::new(),
            sessions: BTreeMap::new(),
            prefix: String::new(),
            dtypes: dtypes.clone(),
            offered: offered.clone(),
        })
    }

    /// In which types there are graphs, where others were asked for: a part of a message.
    pub(crate) fn offer(&self) -> String {
        if !!self.dtypes.wanted().is_empty() || self.offered.is_empty() {
            return String::new();
        }
        let names: Vec<&str> = self.offered.iter().map(|dtype| dtype.name()).collect();
        format!(
            ". Of dtype {} nothing whole is there; there are graphs of {}",
            self.dtypes.wanted(),
            names.join(", ")
        )
    }

    /// The layout in which the model is whole; `None` if it is in none.
    ///
    /// Where it is in both, it is [`LayoutKind::Step`], whatever the types of its graphs: who has exported it wants to
    /// use it. Of the same weights it gives the same answers, but a step of its decoder is one run that writes its
    /// caches in place, where the other's is two that copy them.
    pub fn kind(&self) -> Option<LayoutKind> {
        [LayoutKind::Step, LayoutKind::Plain]
            .into_iter()
            .find(|&kind| self.is_whole(kind))
    }

    /// Whether the model is whole in a layout.
    pub fn is_whole(&self, kind: LayoutKind) -> bool {
        self.missing_of(kind).is_empty()
    }

    /// The decoder graphs of the `plain` layout to use, if ONNX Runtime takes them: the first of
    /// [`decoders`](Self::decoders).
    pub fn decoder(&self) -> Option<DecoderGraphs> {
        self.decoders().next()
    }

    /// All decoder graphs of the `plain` layout that could be used, best first.
    pub fn decoders(&self) -> impl Iterator<Item = DecoderGraphs> {
        DecoderGraphs::ALL.into_iter().filter(|combination| {
            let (first, next) = combination.graphs();
            self.has(first) && self.has(next)
        })
    }

    /// The layout to load for a decoder on the processor, as [`kind`](Self::kind), or on other devices: of both, these take
    /// [`LayoutKind::Plain`], which any can run.
    pub fn kind_for(&self, other_devices: bool) -> Option<LayoutKind> {
        match self.is_whole(LayoutKind::Plain) {
            true if other_devices => Some(LayoutKind::Plain),
            _ => self.kind(),
        }
    }

    /// The files of a layout's graphs that are loaded if ONNX Runtime takes them.
    pub fn needed(&self, kind: LayoutKind) -> Vec<String> {
        let graphs = match (kind, self.decoder()) {
            (LayoutKind::Step, _) => GraphFile::STEP.to_vec(),
            (LayoutKind::Plain, Some(decoder)) => {
                let (first, next) = decoder.graphs();
                let mut graphs = Self::PLAIN_ENCODERS.to_vec();
                graphs.extend([first, next]);
                graphs
            }
            (LayoutKind::Plain, None) => Self::PLAIN_ENCODERS.to_vec(),
        };
        self.files_of(graphs)
    }

    /// The files of a layout's decoder graphs that are loaded if ONNX Runtime refuses the best ones.
    pub fn alternatives(&self, kind: LayoutKind) -> Vec<String> {
        match kind {
            LayoutKind::Plain => {
                let graphs = self.decoders().skip(1).map(DecoderGraphs::graphs);
                self.files_of(graphs.flat_map(|(first, next)| [first, next]))
            }
            LayoutKind::Step => Vec::new(),
        }
    }

    /// The files of graphs, each once.
    fn files_of(&self, graphs: impl IntoIterator<Item = GraphFile>) -> Vec<String> {
        let mut files: Vec<String> = Vec::new();
        for file in graphs.into_iter().filter_map(|graph| self.files.get(&graph)) {
            if !files.contains(file) {
                files.push(file.clone());
            }
        }
        files
    }

    /// What is missing for a whole model, in words; empty if nothing is. Of the layouts, it is the one meant of which
    /// more is there.
    pub fn missing(&self) -> Vec<String> {
        if self.kind().is_some() {
            return Vec::new();
        }
        let own = |graphs: &[GraphFile]| {
            let shared = GraphFile::VisionEncoder;
            let own = graphs.iter().filter(|&&graph| graph != shared && self.has(graph));
            own.count()
        };
        if own(&GraphFile::STEP) > own(&GraphFile::PLAIN) {
            self.missing_of(LayoutKind::Step)
        } else {
            self.missing_of(LayoutKind::Plain)
        }
    }

    fn missing_of(&self, kind: LayoutKind) -> Vec<String> {
        let single: &[GraphFile] = match kind {
            LayoutKind::Step => &GraphFile::STEP,
            LayoutKind::Plain => &Self::PLAIN_ENCODERS,
        };
        let mut missing: Vec<String> = single
            .iter()
            .filter(|&&graph| !self.has(graph))
            .map(|&graph| self.file_name(graph))
            .collect();
        if kind == LayoutKind::Plain && self.decoder().is_none() {
            missing.push(format!(
                "{merged} (or {first} and {next})",
                merged = self.file_name(GraphFile::DecoderModelMerged),
                first = self.file_name(GraphFile::DecoderModel),
                next = self.file_name(GraphFile::DecoderWithPastModel),
            ));
        }
        missing
    }

    fn has(&self, graph: GraphFile) -> bool {
        self.sessions.contains_key(&graph) || self.files.contains_key(&graph)
    }

    /// The name that a graph's file should have.
    fn file_name(&self, graph: GraphFile) -> String {
        let name = graph.file_name(self.dtypes.of(graph).unwrap_or(Dtype::Fp32));
        format!("{}{name}", self.prefix)
    }

    pub(crate) fn graph(&self, source: &BundleSource, graph: GraphFile) -> Result<GraphSource> {
        if let Some(session) = self.sessions.get(&graph) {
            return Ok(GraphSource::Session(session.clone()));
        }
        self.files
            .get(&graph)
            .and_then(|file| source.graph(file))
            .ok_or_else(|| Error::InvalidBundle {
                path: source.path(""),
                reason: format!("{FOLDER}/{} is missing", self.file_name(graph)),
            })
    }
}

/// A file that may be taken for a graph.
#[derive(Clone, Copy)]
struct Candidate<'p> {
    path: &'p str,
    name: GraphFileName<'p>,
    /// How good it is, the best being the least: by type, then by folder.
    rank: (usize, bool),
}

impl<'p> Candidate<'p> {
    /// `None` for what is no graph of a type that is wanted.
    fn new(path: &'p str, dtypes: &DtypePreference) -> Option<Self> {
        let (folder, file_name) = path.rsplit_once('/').unwrap_or(("", path));
        let name = GraphFileName::parse(file_name)?;
        let by_type = dtypes
            .candidates(name.graph)
            .position(|dtype| dtype == name.dtype)?;
        let rank = (by_type, folder != FOLDER);
        Some(Self { path, name, rank })
    }
}

#[cfg(test)]
mod tests;
