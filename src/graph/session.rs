//! One loaded graph: a session that is locked only while it runs, and its signature.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use florence2_layout::graphs::GraphFile;
use ort::session::{Session, SessionInputValue};
use ort::value::DynValue;

use super::tensor::FloatType;
use crate::bundle::{Bundle, GraphBytes};
use crate::error::{Error, Result};
use crate::runtime::{GraphSignature, GraphSource, SessionOptions, TensorSpec, build_session};

/// One loaded graph.
pub(crate) struct Graph {
    session: Mutex<Session>,
    signature: GraphSignature,
}

impl Graph {
    pub(crate) fn load(bundle: &Bundle, file: GraphFile, options: &SessionOptions) -> Result<Self> {
        let bytes = bundle.layout.graph(&bundle.source, file)?;
        let mut options = options.clone();
        if file != GraphFile::VisionEncoder {
            options = options.with_changing_shapes();
        }
        let source = match &bytes {
            GraphBytes::File(path) => GraphSource::File(path),
            GraphBytes::Memory(bytes) => GraphSource::Bytes {
                name: file.name(),
                bytes,
            },
        };
        let session = build_session(source, &options)?;
        let signature = GraphSignature::of(&session, file.name())?;
        Ok(Self {
            session: Mutex::new(session),
            signature,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.signature.graph
    }

    /// Whether the graph's metadata say `true` to this key.
    pub(crate) fn claims(&self, key: &str) -> bool {
        self.signature
            .metadata
            .get(key)
            .is_some_and(|value| value == "true")
    }

    pub(crate) fn has_input(&self, name: &str) -> bool {
        self.signature.has_input(name)
    }

    pub(crate) fn input(&self, name: &str) -> Result<&TensorSpec> {
        self.signature.input(name)
    }

    pub(crate) fn output(&self, name: &str) -> Result<&TensorSpec> {
        self.signature.output(name)
    }

    /// The float type in which an input is wanted.
    pub(crate) fn float_input(&self, name: &str) -> Result<FloatType> {
        let dtype = self.input(name)?.dtype;
        FloatType::of(dtype)
            .ok_or_else(|| self.invalid(format!("input {name} has type {dtype}, not float32 or float16")))
    }

    /// Runs the graph; `inputs` are bound by name.
    pub(crate) fn run(&self, inputs: Vec<(&str, SessionInputValue<'_>)>) -> Result<Outputs<'_>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session
            .run(inputs)
            .map_err(Error::ort(format!("running {}", self.name())))?;
        let values = outputs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Ok(Outputs { graph: self, values })
    }

    pub(crate) fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::InvalidGraph {
            graph: self.name().into(),
            reason: reason.into(),
        }
    }
}

/// A run's outputs, by name.
pub(crate) struct Outputs<'g> {
    graph: &'g Graph,
    values: BTreeMap<String, DynValue>,
}

impl Outputs<'_> {
    pub(crate) fn take(&mut self, name: &str) -> Result<DynValue> {
        self.values
            .remove(name)
            .ok_or_else(|| self.graph.invalid(format!("it gave no {name}")))
    }
}
