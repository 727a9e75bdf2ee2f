//! The files of a model: configuration, tokenizer and graphs.

mod dtypes;
mod layout;
mod source;

pub use crate::bytes::Bytes;
pub use dtypes::DtypePreference;
pub use florence2_layout::dtypes::Dtype;
pub use florence2_layout::graphs::{GraphFile, ModelPart};
pub use florence2_layout::names::{DeploymentNames, GraphNames};
#[cfg(feature = "hub")]
pub(crate) use layout::is_adapter;
pub use layout::{DecoderGraphs, GraphLayout, LayoutKind};
pub use source::BundleSource;

use florence2_layout::files::{
    ADDED_TOKENS, CONFIG, GENERATION_CONFIG, IMAGE_PROCESSOR, MERGES, PREPROCESSOR_CONFIG, PROCESSOR_CONFIG,
    TOKENIZER, VOCABULARY, WEIGHTS, WEIGHTS_INDEX,
};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::postprocess::ParseOptions;
use crate::prompt::Prompts;
use crate::runtime::CheckedGraph;
use crate::task::{OutputKind, Task};
use crate::tokenizer::Tokenizer;

/// The reason why a decoder whose only output is the logits is rejected.
pub(crate) const WITHOUT_CACHES: &str = "it has no KV caches (`present.0.decoder.key`): a decoder that was exported without \
    them (`use_cache=False`) computes all earlier tokens again in each step; export the model again";

/// The files of a model. Opening it reads the configuration files; it only locates the graphs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Bundle {
    /// The source of the files.
    pub source: BundleSource,
    /// The graphs that were found.
    pub layout: GraphLayout,
    /// The contents of `config.json`; `None` if the file is missing.
    pub config: Option<Value>,
    /// The contents of `generation_config.json`; `None` if the file is missing.
    pub generation_config: Option<Value>,
    /// `preprocessor_config.json`, or the image processor's part of `processor_config.json`.
    pub preprocessor_config: Option<Value>,
    /// The contents of `processor_config.json`; `None` if the file is missing.
    pub processor_config: Option<Value>,
}

impl Bundle {
    /// Reads the configuration files and looks for the graphs. If a file is missing, it is looked for under its name
    /// in older exports, with the graphs' [prefix](GraphLayout::prefix).
    ///
    /// # Errors
    /// [`Error::Io`] if the folder or a file cannot be read, [`Error::Json`] if a file is not valid JSON. Missing files are
    /// reported by [`Bundle::check`].
    pub fn open(source: BundleSource) -> Result<Self> {
        Self::open_with(source, DtypePreference::default(), None)
    }

    /// As [`open`](Self::open), for graphs of the dtypes in `dtypes`; `names`, if given, are used in place of those in the
    /// model's `florence2.json`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        source: BundleSource,
        dtypes: impl Into<DtypePreference>,
        names: Option<DeploymentNames>,
    ) -> Result<Self> {
        if let BundleSource::Folder(folder) = &source {
            std::fs::read_dir(folder).map_err(Error::io(folder))?;
        }
        let names = match names {
            Some(names) => names,
            None => source.names()?,
        };
        let layout = GraphLayout::find_with(&source, dtypes.into(), names);
        let read_json =
            |file: &str| by_either_name(file, &layout.prefix, |name| source.read_json::<Value>(name));
        let processor_config = read_json(PROCESSOR_CONFIG)?;
        let preprocessor_config = match read_json(PREPROCESSOR_CONFIG)? {
            Some(config) => Some(config),
            None => processor_config
                .as_ref()
                .and_then(|config| config.get(IMAGE_PROCESSOR))
                .cloned(),
        };
        Ok(Self {
            config: read_json(CONFIG)?,
            generation_config: read_json(GENERATION_CONFIG)?,
            preprocessor_config,
            processor_config,
            layout,
            source,
        })
    }

    /// Returns a graph, checked.
    pub(crate) fn graph(&self, graph: GraphFile) -> Result<CheckedGraph> {
        CheckedGraph::new(self.layout.graph(&self.source, graph)?)
    }

    /// Returns the names of the missing files; empty if the model is complete.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = self.layout.missing();
        if self.config.is_none() {
            missing.push(CONFIG.into());
        }
        // An unreadable file is not missing: reading it later reports the reason.
        let has = |file: &str| !matches!(self.read(file), Ok(None));
        if !(has(TOKENIZER) || has(VOCABULARY) && has(MERGES)) {
            missing.push(format!("{TOKENIZER} (or {VOCABULARY} and {MERGES})"));
        }
        missing
    }

    /// Checks that the model is complete.
    ///
    /// # Errors
    /// [`Error::IncompleteModel`], [`Error::DtypeNotFound`] or [`Error::CheckpointOnly`].
    pub fn check(&self) -> Result<()> {
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(());
        }
        if self.has_checkpoint() && self.layout.files.is_empty() {
            return Err(Error::CheckpointOnly {
                path: self.source.path(""),
            });
        }
        if let Some(snapshot) = self.source.snapshot().filter(|_| self.layout.files.is_empty()) {
            return Err(Error::InvalidBundle {
                path: self.source.path(""),
                reason: format!(
                    "it is a repository in a hub's cache; its files are in {}",
                    snapshot.display()
                ),
            });
        }
        self.check_caches()?;
        Err(self.layout.incomplete(&self.source, missing))
    }

    /// Checks that a decoder that is alone, which makes the model incomplete, has KV caches.
    fn check_caches(&self) -> Result<()> {
        let decoder = GraphFile::DecoderModel;
        if self.layout.decoders().next().is_some() || !self.layout.files.contains_key(&decoder) {
            return Ok(());
        }
        let graph = self.graph(decoder)?;
        let outputs = graph.model().and_then(|model| model.graph.as_ref());
        match outputs.map(|graph| graph.output.len()) {
            Some(1) => Err(Error::InvalidGraph {
                graph: decoder.name().into(),
                reason: WITHOUT_CACHES.into(),
            }),
            _ => Ok(()),
        }
    }

    /// Returns how the answer to a task is parsed: for the tag of a fine-tune's own task, as the processor configuration has
    /// it.
    pub fn output_kind(&self, task: &Task) -> OutputKind {
        self.prompts().output_kind(task)
    }

    /// Returns the settings for parsing answers, as read from the processor configuration.
    pub fn parse_options(&self) -> ParseOptions {
        let config = self.processor_config.as_ref();
        config.map_or_else(ParseOptions::default, ParseOptions::from_config)
    }

    pub(crate) fn prompts(&self) -> Prompts {
        Prompts::new(self.processor_config.iter().chain(&self.preprocessor_config))
    }

    /// Reads the tokenizer.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it cannot be read, [`Error::IncompleteModel`] if there is none.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        if let Some(json) = self.read(TOKENIZER)? {
            return Tokenizer::from_bytes(&json);
        }
        if let (Some(vocabulary), Some(merges)) = (self.read(VOCABULARY)?, self.read(MERGES)?) {
            let added = self.read(ADDED_TOKENS)?;
            return Tokenizer::from_vocabulary(&vocabulary, &merges, added.as_deref());
        }
        Err(Error::IncompleteModel {
            path: self.source.path(""),
            missing: vec![TOKENIZER.into()],
            found: Vec::new(),
        })
    }

    /// Reads a file by its usual name or its name in older exports.
    fn read(&self, file: &str) -> Result<Option<Bytes>> {
        by_either_name(file, &self.layout.prefix, |name| self.source.read(name))
    }

    /// Returns `true` if there are safetensors weights.
    fn has_checkpoint(&self) -> bool {
        match &self.source {
            BundleSource::Folder(folder) => [WEIGHTS, WEIGHTS_INDEX]
                .iter()
                .any(|file| folder.join(file).is_file()),
            BundleSource::Memory { .. } => false,
        }
    }
}

/// Reads a file by its usual name, or else by its name with a prefix, if there is one.
fn by_either_name<T>(
    file: &str,
    prefix: &str,
    read: impl Fn(&str) -> Result<Option<T>>,
) -> Result<Option<T>> {
    match read(file)? {
        None if !prefix.is_empty() => read(&format!("{prefix}{file}")),
        found => Ok(found),
    }
}
