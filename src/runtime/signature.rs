//! What goes into a graph and what comes out, read from the graph itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;

use ort::session::Session;
use ort::value::{Outlet, ValueType};

use super::environment::environment;
use super::graph_source::GraphSource;
use crate::error::{Error, Result};

pub use ort::value::TensorElementType as ElementType;

/// A graph's inputs, outputs and metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GraphSignature {
    /// What the graph is called in messages.
    pub graph: String,
    /// The inputs, in the graph's order. Look them up by name.
    pub inputs: Vec<TensorSpec>,
    /// The outputs, in the graph's order. Look them up by name.
    pub outputs: Vec<TensorSpec>,
    /// The program that made the graph, if it says so.
    pub producer: Option<String>,
    /// The graph's own metadata.
    pub metadata: BTreeMap<String, String>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: ElementType,
    /// Its shape.
    pub dims: Vec<Dimension>,
}

/// A dimension of an input or output.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Always this size.
    Fixed(usize),
    /// Of any size; dimensions with the same name are of the same size.
    Symbolic(String),
    /// Of any size.
    Unknown,
}

impl GraphSignature {
    /// Reads the signature of a session's graph; `graph` is what to call it in messages.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`] if an input or output is no tensor, [`Error::Ort`] if the metadata cannot be read.
    pub fn of(session: &Session, graph: impl Into<String>) -> Result<Self> {
        let graph = graph.into();
        let specs = |outlets: &[Outlet]| -> Result<Vec<TensorSpec>> {
            outlets
                .iter()
                .map(|outlet| TensorSpec::of(outlet, &graph))
                .collect()
        };
        let (inputs, outputs) = (specs(session.inputs())?, specs(session.outputs())?);
        let (producer, metadata) =
            metadata(session).map_err(Error::ort(format!("reading the metadata of graph {graph}")))?;
        Ok(Self {
            graph,
            inputs,
            outputs,
            producer,
            metadata,
        })
    }

    /// Reads the signature of a graph that is not loaded yet, without making it ready to run; ONNX Runtime must be
    /// running.
    ///
    /// # Errors
    /// [`Error::Ort`] if ONNX Runtime cannot read the graph; as [`of`](Self::of).
    pub(crate) fn read(graph: &GraphSource) -> Result<Self> {
        let name = graph.name();
        let reading = |error| Error::ort(format!("reading graph {name}"))(error);
        let builder = Session::builder(environment()?);
        let mut builder = builder.map_err(reading)?;
        let read = match graph {
            GraphSource::File(path) => builder.edit_from_file(path),
            GraphSource::Memory { model, .. } | GraphSource::Repaired { model, .. } => {
                builder.edit_from_memory(model)
            }
            GraphSource::Session(session) => {
                return Self::of(&session.lock().unwrap_or_else(PoisonError::into_inner), name);
            }
        };
        Self::of(&*read.map_err(reading)?, name)
    }

    /// Whether the metadata say `true` to this key.
    pub(crate) fn claims(&self, key: &str) -> bool {
        self.metadata.get(key).is_some_and(|value| value == "true")
    }

    /// The input of this name.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`], naming the inputs that there are.
    pub fn input(&self, name: &str) -> Result<&TensorSpec> {
        self.find("input", &self.inputs, name)
    }

    /// The output of this name.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`], naming the outputs that there are.
    pub fn output(&self, name: &str) -> Result<&TensorSpec> {
        self.find("output", &self.outputs, name)
    }

    /// Whether there is an input of this name.
    pub fn has_input(&self, name: &str) -> bool {
        self.inputs.iter().any(|spec| spec.name == name)
    }

    /// Whether there is an output of this name.
    pub fn has_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|spec| spec.name == name)
    }

    fn find<'a>(&self, kind: &str, specs: &'a [TensorSpec], name: &str) -> Result<&'a TensorSpec> {
        specs
            .iter()
            .find(|spec| spec.name == name)
            .ok_or_else(|| Error::InvalidGraph {
                graph: self.graph.clone(),
                reason: format!("it has no {kind} {name:?}, only {}", names(specs)),
            })
    }
}

impl TensorSpec {
    fn of(outlet: &Outlet, graph: &str) -> Result<Self> {
        let name = outlet.name();
        let ValueType::Tensor {
            ty,
            shape,
            dimension_symbols,
        } = outlet.dtype()
        else {
            return Err(Error::InvalidGraph {
                graph: graph.to_owned(),
                reason: format!("{name:?} is no tensor but {}", outlet.dtype()),
            });
        };
        let dims = shape.iter().zip(dimension_symbols.iter());
        Ok(Self {
            name: name.to_owned(),
            dtype: *ty,
            dims: dims.map(|(&size, symbol)| Dimension::of(size, symbol)).collect(),
        })
    }

    /// The size of dimension `axis`, if the graph fixes it.
    pub fn fixed(&self, axis: usize) -> Option<usize> {
        match self.dims.get(axis) {
            Some(Dimension::Fixed(size)) => Some(*size),
            _ => None,
        }
    }
}

impl Dimension {
    fn of(size: i64, symbol: &str) -> Self {
        match usize::try_from(size) {
            Ok(size) => Dimension::Fixed(size),
            Err(_) if symbol.is_empty() => Dimension::Unknown,
            Err(_) => Dimension::Symbolic(symbol.to_owned()),
        }
    }
}

/// As `pixel_values f32 [batch, 3, 768, 768]`.
impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.dims.iter().map(Dimension::to_string).collect();
        write!(f, "{} {} [{}]", self.name, self.dtype, dims.join(", "))
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dimension::Fixed(size) => size.fmt(f),
            Dimension::Symbolic(name) => f.write_str(name),
            Dimension::Unknown => f.write_str("?"),
        }
    }
}

fn names(specs: &[TensorSpec]) -> String {
    specs
        .iter()
        .map(|spec| spec.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn metadata(session: &Session) -> ort::Result<(Option<String>, BTreeMap<String, String>)> {
    let metadata = session.metadata()?;
    let custom = metadata
        .custom_keys()?
        .into_iter()
        .filter_map(|key| Some((metadata.custom(&key)?, key)))
        .map(|(value, key)| (key, value))
        .collect();
    Ok((metadata.producer().filter(|name| !name.is_empty()), custom))
}
