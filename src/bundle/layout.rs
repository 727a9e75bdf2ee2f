//! The graphs in a bundle, and the layouts in which they make a complete model.

use std::collections::{BTreeMap, BTreeSet};

use florence2_layout::dtypes::Dtype;
use florence2_layout::file_names::GraphFileName;
use florence2_layout::files::ADAPTER_CONFIG;
use florence2_layout::graphs::{FOLDER, GraphFile, ORT_EXTENSION};
use florence2_layout::names::DeploymentNames;

use serde_json::Value;

use super::dtypes::DtypePreference;
use super::source::BundleSource;
use crate::error::{Error, Result};
use crate::runtime::{GraphSource, SharedSession};

/// The layout of a model's graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutKind {
    /// [`GraphFile::FUSED`]: exported for CPUs by `florence2 export --target cpu`.
    Fused,
    /// [`GraphFile::PLAIN`]: the layout of the onnx-community deployments.
    Plain,
}

/// The graphs that run the first and the following steps of a decoder of the plain layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecoderGraphs {
    /// One graph for all steps; its input `use_cache_branch` selects the kind of step.
    Merged,
    /// `decoder_model` first, then `decoder_with_past_model`.
    Split,
}

impl DecoderGraphs {
    /// All combinations, best first: the merged graph stores the decoder's weights only once.
    const ALL: [DecoderGraphs; 2] = [DecoderGraphs::Merged, DecoderGraphs::Split];

    /// Returns the graphs of the first step and of the following ones.
    pub const fn graphs(self) -> (GraphFile, GraphFile) {
        match self {
            DecoderGraphs::Merged => (GraphFile::DecoderModelMerged, GraphFile::DecoderModelMerged),
            DecoderGraphs::Split => (GraphFile::DecoderModel, GraphFile::DecoderWithPastModel),
        }
    }

    /// Returns the graphs, each once.
    fn files(self) -> impl Iterator<Item = GraphFile> {
        let (first, next) = self.graphs();
        [Some(first), (next != first).then_some(next)]
            .into_iter()
            .flatten()
    }
}

/// The graphs found in a bundle.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GraphLayout {
    /// The file of each graph, as a path inside the bundle.
    pub files: BTreeMap<GraphFile, String>,
    /// The sessions that the application has loaded; they are used whether or not there are files for these graphs.
    pub sessions: BTreeMap<GraphFile, SharedSession>,
    /// The prefix of these files' names (`base-`) in older exports; mostly empty.
    pub prefix: String,
    /// The deployment's own names for files and tensors.
    pub names: DeploymentNames,
    /// The dtypes to look for.
    dtypes: DtypePreference,
    /// The dtypes of all graphs in the bundle.
    offered: BTreeSet<Dtype>,
}

/// Returns the error for a model that is an adapter with this configuration.
pub(crate) fn is_adapter(model: String, config: &Value) -> Error {
    let base = config.get("base_model_name_or_path").and_then(Value::as_str);
    Error::IsAdapter {
        model,
        base: base
            .unwrap_or("a model that its configuration does not name")
            .to_owned(),
    }
}

impl GraphLayout {
    /// The graphs of the plain layout that both combinations of decoders need.
    const PLAIN_ENCODERS: [GraphFile; 3] = [
        GraphFile::VisionEncoder,
        GraphFile::EmbedTokens,
        GraphFile::EncoderModel,
    ];

    /// Looks for the graphs in `onnx/` and beside the configuration. If a graph has files of several dtypes, the
    /// preferred one is taken ([`Dtype::BY_PREFERENCE`]). Graphs that are not there are left out, without an error.
    pub fn find(source: &BundleSource) -> Self {
        Self::find_with(source, DtypePreference::default(), DeploymentNames::default())
    }

    /// As [`find`](Self::find), for graphs of the dtypes in `dtypes`, and by the deployment's own `names`; other graphs are
    /// ignored.
    ///
    /// Names are parsed by [`GraphFileName`]. If file names have several prefixes, the first prefix with a complete
    /// model is used (in sorted order, no prefix first), else the prefix with the most graphs.
    pub fn find_with(source: &BundleSource, dtypes: DtypePreference, names: DeploymentNames) -> Self {
        let paths = source.graph_files();
        let mut offered = BTreeSet::new();
        // Of each prefix and graph, the best file: by dtype, then by format, then by folder.
        type Candidate<'p> = (usize, bool, bool, &'p str);
        let mut by_prefix: BTreeMap<&str, BTreeMap<GraphFile, Candidate<'_>>> = BTreeMap::new();
        for path in &paths {
            let (folder, file_name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(name) = GraphFileName::parse(file_name, &names) else {
                continue;
            };
            offered.insert(name.dtype);
            let mut accepted = dtypes.candidates(name.graph);
            if let Some(rank) = accepted.position(|dtype| dtype == name.dtype) {
                let is_ort = path.ends_with(ORT_EXTENSION);
                let candidate = (rank, is_ort, folder != FOLDER, path.as_str());
                let graphs = by_prefix.entry(name.prefix).or_default();
                let best = graphs.entry(name.graph).or_insert(candidate);
                *best = candidate.min(*best);
            }
        }
        let named = names.graphs.iter().filter_map(|(&graph, names)| {
            let path = names.paths().find(|path| source.has(path))?;
            Some((graph, path.to_owned()))
        });
        let named: Vec<(GraphFile, String)> = named.collect();
        let of_prefix = |(prefix, graphs): (&str, BTreeMap<GraphFile, Candidate<'_>>)| Self {
            files: graphs
                .into_iter()
                .map(|(graph, (.., path))| (graph, path.to_owned()))
                .chain(named.iter().cloned())
                .collect(),
            names: names.clone(),
            prefix: prefix.to_owned(),
            dtypes: dtypes.clone(),
            offered: offered.clone(),
            sessions: BTreeMap::new(),
        };
        by_prefix.entry("").or_default();
        let layouts: Vec<Self> = by_prefix.into_iter().map(of_prefix).collect();
        let complete = layouts.iter().filter(|layout| layout.kind().is_some());
        let prefixes: Vec<&str> = complete.map(|layout| layout.prefix.as_str()).collect();
        if let [taken, _, ..] = prefixes[..] {
            tracing::warn!(?prefixes, taken, "the graphs of several models are in one folder");
        }
        let graphs = |layout: &Self| match layout.kind() {
            Some(_) => usize::MAX,
            None => layout.files.len(),
        };
        // The first of those with most graphs.
        layouts.into_iter().rev().max_by_key(graphs).unwrap_or_default()
    }

    /// Returns the error for `missing` files: [`Error::DtypeNotFound`] if requested dtypes exclude the graphs that are in
    /// the bundle, [`Error::IncompleteModel`] otherwise.
    pub(crate) fn incomplete(&self, source: &BundleSource, missing: Vec<String>) -> Error {
        let path = source.path("");
        if let Ok(Some(config)) = source.read_json(ADAPTER_CONFIG) {
            return is_adapter(source.name(), &config);
        }
        if self.kind().is_some() || !self.excludes_dtypes() {
            let mut found = source.all_graphs();
            found.retain(|file| !self.files.values().any(|used| used == file));
            return Error::IncompleteModel { path, missing, found };
        }
        Error::DtypeNotFound {
            path,
            wanted: self.dtypes.wanted().to_string(),
            offered: self.offered.iter().copied().collect(),
            missing,
        }
    }

    /// Returns whether dtypes were requested although the bundle has graphs.
    pub(crate) fn excludes_dtypes(&self) -> bool {
        !self.dtypes.wanted().is_empty() && !self.offered.is_empty()
    }

    /// Returns the layout in which the model is complete, if there is one.
    ///
    /// If it is complete in both, returns [`LayoutKind::Fused`], whatever the dtypes of its graphs. With the same
    /// weights, both layouts give the same answers, but a fused decoder step is one run that writes the KV caches in
    /// place; a plain step is two runs that copy them.
    pub fn kind(&self) -> Option<LayoutKind> {
        [LayoutKind::Fused, LayoutKind::Plain]
            .into_iter()
            .find(|&kind| self.is_complete(kind))
    }

    /// As [`kind`](Self::kind), but with `other_devices` (the decoder runs on devices other than the CPU), a model
    /// that is complete in both layouts is [`LayoutKind::Plain`], which every device can run.
    pub fn kind_for(&self, other_devices: bool) -> Option<LayoutKind> {
        if other_devices && self.is_complete(LayoutKind::Plain) {
            Some(LayoutKind::Plain)
        } else {
            self.kind()
        }
    }

    fn is_complete(&self, kind: LayoutKind) -> bool {
        self.missing_of(kind).is_empty()
    }

    /// Returns the decoder graphs of the plain layout that are in the bundle, best first.
    pub fn decoders(&self) -> impl Iterator<Item = DecoderGraphs> {
        DecoderGraphs::ALL.into_iter().filter(|combination| {
            let (first, next) = combination.graphs();
            self.has(first) && self.has(next)
        })
    }

    /// Returns the files of a layout's graphs, with the best decoder graphs.
    pub fn needed(&self, kind: LayoutKind) -> Vec<String> {
        let mut graphs = GraphFile::FUSED.to_vec();
        if kind == LayoutKind::Plain {
            graphs = Self::PLAIN_ENCODERS.to_vec();
            graphs.extend(self.decoders().take(1).flat_map(DecoderGraphs::files));
        }
        self.files_of(graphs)
    }

    /// Returns the files of a layout's decoder graphs that are loaded if ONNX Runtime rejects the best ones.
    pub fn alternatives(&self, kind: LayoutKind) -> Vec<String> {
        let others = self.decoders().skip(1).filter(|_| kind == LayoutKind::Plain);
        self.files_of(others.flat_map(DecoderGraphs::files))
    }

    /// Returns the names of the split decoder's files that belong to the merged decoder's.
    pub(crate) fn split_decoder_files(&self) -> Option<[String; 2]> {
        let merged = self.files.get(&GraphFile::DecoderModelMerged)?;
        let file_name = merged.rsplit('/').next()?;
        let GraphFileName { prefix, dtype, .. } = GraphFileName::parse(file_name, &self.names)?;
        let graphs = [GraphFile::DecoderModel, GraphFile::DecoderWithPastModel];
        Some(graphs.map(|graph| format!("{prefix}{}", graph.file_name(dtype))))
    }

    fn files_of(&self, graphs: impl IntoIterator<Item = GraphFile>) -> Vec<String> {
        let files = graphs.into_iter().filter_map(|graph| self.files.get(&graph));
        files.cloned().collect()
    }

    /// Returns the names of the missing files, in the layout with more files in the bundle.
    pub fn missing(&self) -> Vec<String> {
        if self.kind().is_some() {
            return Vec::new();
        }
        let own = |graphs: &[GraphFile]| {
            let shared = GraphFile::VisionEncoder;
            let own = graphs.iter().filter(|&&graph| graph != shared && self.has(graph));
            own.count()
        };
        if own(&GraphFile::FUSED) > own(&GraphFile::PLAIN) {
            self.missing_of(LayoutKind::Fused)
        } else {
            self.missing_of(LayoutKind::Plain)
        }
    }

    fn missing_of(&self, kind: LayoutKind) -> Vec<String> {
        let single: &[GraphFile] = match kind {
            LayoutKind::Fused => &GraphFile::FUSED,
            LayoutKind::Plain => &Self::PLAIN_ENCODERS,
        };
        let mut missing: Vec<String> = single
            .iter()
            .filter(|&&graph| !self.has(graph))
            .map(|&graph| self.file_name(graph))
            .collect();
        if kind == LayoutKind::Plain && self.decoders().next().is_none() {
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

    /// Returns the expected name of a graph's file.
    fn file_name(&self, graph: GraphFile) -> String {
        if let Some(path) = self.names.of(graph).paths().next() {
            return path.to_owned();
        }
        let name = graph.file_name(self.dtypes.of(graph).unwrap_or(Dtype::Fp32));
        format!("{}{name}", self.prefix)
    }

    /// Returns the source of a graph: the application's session, or the file.
    pub(crate) fn graph(&self, source: &BundleSource, graph: GraphFile) -> Result<GraphSource> {
        if let Some(session) = self.sessions.get(&graph) {
            return Ok(GraphSource::Session(session.clone()));
        }
        self.files
            .get(&graph)
            .and_then(|file| source.graph(file))
            .ok_or_else(|| self.incomplete(source, vec![self.file_name(graph)]))
    }
}

#[cfg(test)]
mod tests;
