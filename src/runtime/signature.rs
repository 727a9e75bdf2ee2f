//! The signature of a graph: inputs, outputs and metadata.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;

use florence2_layout::files::NAMES;
use ort::session::Session;
use ort::value::{Outlet, ValueType};
use serde::{Serialize, Serializer};

use super::environment::environment;
use super::graph_source::{CheckedGraph, GraphSource};
use crate::error::{Error, Result};

pub(crate) use ort::value::TensorElementType as ElementType;

/// A graph's inputs, outputs and metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GraphSignature {
    /// The graph's name in error messages.
    #[serde(skip)]
    pub graph: String,
    /// The inputs in the graph's order.
    pub inputs: Vec<TensorSpec>,
    /// The outputs in the graph's order.
    pub outputs: Vec<TensorSpec>,
    /// The program that made the graph, if the graph names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    /// The graph's metadata by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// The name, element type and shape of a graph's input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TensorSpec {
    /// The tensor's name in the graph.
    pub name: String,
    /// The type of the elements: see [`dtype`](Self::dtype).
    #[serde(serialize_with = "as_text")]
    pub(crate) dtype: ElementType,
    /// The size of each axis.
    #[serde(rename = "shape")]
    pub dims: Vec<Dimension>,
}

/// A dimension of an input or output, in one of the three forms that ONNX has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// A fixed size.
    Fixed(usize),
    /// Any size; dimensions with the same name have the same size.
    Symbolic(String),
    /// Any size.
    Unknown,
}

impl GraphSignature {
    /// Reads the signature of a session's graph, called `graph` in messages.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`] if an input or output is not a tensor, [`Error::Ort`] if the metadata cannot be read.
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

    /// Reads the signature of a graph without loading its weights.
    ///
    /// # Errors
    /// [`Error::Ort`] if ONNX Runtime cannot read the graph; errors of [`of`](Self::of).
    pub(crate) fn read(graph: &CheckedGraph) -> Result<Self> {
        let graph = graph.source();
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

    /// Returns `true` if the metadata of `key` are `true`.
    pub(crate) fn declares(&self, key: &str) -> bool {
        self.metadata.get(key).is_some_and(|value| value == "true")
    }

    /// Returns the input of this name.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`], naming all inputs.
    pub fn input(&self, name: &str) -> Result<&TensorSpec> {
        self.find("input", &self.inputs, name)
    }

    /// Returns the output of this name.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`], naming all outputs.
    pub fn output(&self, name: &str) -> Result<&TensorSpec> {
        self.find("output", &self.outputs, name)
    }

    /// Returns `true` if there is an input of this name.
    pub fn has_input(&self, name: &str) -> bool {
        self.inputs.iter().any(|spec| spec.name == name)
    }

    /// Returns `true` if there is an output of this name.
    pub fn has_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|spec| spec.name == name)
    }

    fn find<'a>(&self, kind: &str, specs: &'a [TensorSpec], name: &str) -> Result<&'a TensorSpec> {
        specs
            .iter()
            .find(|spec| spec.name == name)
            .ok_or_else(|| Error::InvalidGraph {
                graph: self.graph.clone(),
                reason: format!(
                    "it has no {kind} {name:?}, only {}; {NAMES} can map its names",
                    names(specs)
                ),
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

    /// Returns the name of the elements' type: `f32`, `i64`.
    pub fn dtype(&self) -> String {
        self.dtype.to_string()
    }

    /// Returns the size of dimension `axis`, if the graph fixes it.
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

/// Formats the tensor as `pixel_values f32 [batch, 3, 768, 768]`.
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

/// Serializes to the size, or to the text of [`Display`](fmt::Display) if the graph does not fix it.
impl Serialize for Dimension {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Dimension::Fixed(size) => size.serialize(serializer),
            Dimension::Symbolic(_) | Dimension::Unknown => serializer.collect_str(self),
        }
    }
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
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
