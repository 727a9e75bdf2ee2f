//! Serializing a built graph to protobuf: in one file, or with the big weights in a file beside it.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use prost::Message;

use super::Graph;
use super::function::Functions;
use super::initializer::Initializer;
use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use florence2_layout::graphs::EXTERNAL_DATA_SUFFIX;
use florence2_layout::onnx::{
    FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, entry,
};
use florence2_layout::operators::{DOMAIN, VERSION};

/// Weights of fewer bytes stay in the graph's own file even if others do not.
const SMALLEST_EXTERNAL: u64 = 1024;
/// External weights begin at multiples of this, so that they can be mapped.
const ALIGNMENT: u64 = 4096;
/// Protobuf's limit for one message in bytes, less a margin for the nodes.
const LARGEST_MESSAGE: u64 = (2 << 30) - (64 << 20);

/// The fields of a model file beside its graph.
pub(crate) struct ModelHeader {
    pub(crate) name: &'static str,
    pub(crate) ir_version: i64,
    /// Domains of operators and their versions.
    pub(crate) opsets: &'static [(&'static str, i64)],
    pub(crate) metadata: Vec<(String, String)>,
}

/// Names and sizes in bytes of written files.
pub(crate) type Written = Vec<(String, u64)>;

/// Returns the graph with all its weights as the bytes of an ONNX file.
///
/// # Errors
/// [`Error::GraphTooLarge`] over protobuf's limit.
pub(crate) fn serialize_inline(graph: Graph<'_>, header: ModelHeader) -> Result<Vec<u8>> {
    let bytes = graph.weight_bytes();
    if bytes > LARGEST_MESSAGE {
        return Err(Error::GraphTooLarge {
            graph: header.name,
            bytes,
        });
    }
    let (graph, functions, initializers) = graph.finish(header.name);
    let tensors = initializers.iter().map(Initializer::inline).collect();
    Ok(model(graph, functions, tensors, header).encode_to_vec())
}

/// Writes the graph to `path`. If its weights exceed `threshold` bytes, the big ones go to a file beside it, with one at a
/// time in memory.
pub(crate) fn write(graph: Graph<'_>, header: ModelHeader, path: &Path, threshold: u64) -> Result<Written> {
    let file_name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let data_path = path.with_file_name(format!("{}{EXTERNAL_DATA_SUFFIX}", file_name(path)));
    if graph.weight_bytes() <= threshold {
        let bytes = serialize_inline(graph, header)?;
        AtomicFile::write(path, &bytes)?;
        // An earlier export may have left weights beside the graph.
        match std::fs::remove_file(&data_path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::write(&data_path)(source));
            }
            _ => return Ok(vec![(file_name(path), bytes.len() as u64)]),
        }
    }
    let mut data = AtomicFile::create(&data_path)?;
    let (graph, functions, initializers) = graph.finish(header.name);
    let location = file_name(&data_path);
    let mut tensors = Vec::with_capacity(initializers.len());
    for initializer in &initializers {
        if initializer.byte_len() < SMALLEST_EXTERNAL {
            tensors.push(initializer.inline());
            continue;
        }
        let offset = data.write_with(|file| {
            let end = file.stream_position()?;
            let offset = end.next_multiple_of(ALIGNMENT);
            io::copy(&mut io::repeat(0).take(offset - end), file)?;
            initializer.write_to(file)?;
            Ok(offset)
        })?;
        tensors.push(initializer.external(&location, offset));
    }
    let data_len = data.write_with(|file| file.stream_position())?;
    let bytes = model(graph, functions, tensors, header).encode_to_vec();
    let mut file = AtomicFile::create(path)?;
    file.write_with(|file| file.write_all(&bytes))?;
    data.commit()?;
    file.commit()?;
    Ok(vec![(file_name(path), bytes.len() as u64), (location, data_len)])
}

fn model(
    mut graph: GraphProto,
    functions: Functions,
    initializer: Vec<TensorProto>,
    header: ModelHeader,
) -> ModelProto {
    graph.initializer = initializer;
    let opset = |&(domain, version): &(&str, i64)| OperatorSetIdProto {
        domain: domain.to_owned(),
        version,
    };
    let opsets: Vec<OperatorSetIdProto> = header.opsets.iter().map(opset).collect();
    let custom = (!functions.is_empty()).then_some((DOMAIN, VERSION));
    ModelProto {
        ir_version: header.ir_version,
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: opsets.iter().cloned().chain(custom.iter().map(opset)).collect(),
        functions: functions
            .into_values()
            .map(|function| FunctionProto {
                opset_import: opsets.clone(),
                ..function
            })
            .collect(),
        metadata_props: header
            .metadata
            .into_iter()
            .map(|(key, value)| entry(key, value))
            .collect(),
        ..ModelProto::default()
    }
}

impl<'a> Graph<'a> {
    fn weight_bytes(&self) -> u64 {
        self.initializers.iter().map(Initializer::byte_len).sum()
    }

    /// Returns the graph without its weights but with the names of its outputs, the functions that it uses, and the weights.
    pub(super) fn finish(mut self, name: &str) -> (GraphProto, Functions, Vec<Initializer<'a>>) {
        rename(&mut self.nodes, &self.output_names);
        self.value_info
            .retain(|value| !self.output_names.contains_key(&value.name));
        let graph = GraphProto {
            node: self.nodes,
            name: name.to_owned(),
            input: self.inputs,
            output: self.outputs,
            value_info: self.value_info,
            ..GraphProto::default()
        };
        (graph, self.functions, self.initializers)
    }
}

fn rename(nodes: &mut [NodeProto], names: &BTreeMap<String, String>) {
    for node in nodes {
        for value in node.input.iter_mut().chain(&mut node.output) {
            if let Some(name) = names.get(value) {
                value.clone_from(name);
            }
        }
        for graph in node
            .attribute
            .iter_mut()
            .filter_map(|attribute| attribute.g.as_mut())
        {
            rename(&mut graph.node, names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;
    use florence2_layout::onnx::{DataType, EXTERNAL};

    fn header() -> ModelHeader {
        let metadata = vec![("key".to_owned(), "value".to_owned())];
        ModelHeader {
            name: "test",
            ir_version: 8,
            opsets: &[("", 17)],
            metadata,
        }
    }

    /// Two big weights, of sizes that are no multiples of the alignment, and a small one.
    fn graph() -> Graph<'static> {
        let mut graph = Graph::default();
        let x = graph.input("x", DataType::Float, &[300.into()]);
        let tensor = |name: &str, len: usize| Tensor::new(name, [len], move || vec![len as f32; len]);
        let weights = [tensor("first", 300), tensor("small", 1), tensor("second", 500)];
        let weights = weights.map(|tensor| graph.weight(&tensor));
        let sum = weights.iter().fold(x, |x, weight| graph.add(&x, weight));
        graph.output("y", &sum, &["n".into()]);
        graph
    }

    #[test]
    fn external_weights_are_at_their_offsets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.onnx");
        write(graph(), header(), &path, 100).unwrap();
        let data = std::fs::read(folder.path().join("test.onnx_data")).unwrap();
        let model = ModelProto::decode(&std::fs::read(&path).unwrap()[..]).unwrap();
        let tensors = model.graph.unwrap().initializer;
        for (tensor, len) in tensors.iter().zip([300usize, 1, 500]) {
            let bytes = if len == 1 {
                assert_eq!(tensor.data_location, None);
                tensor.raw_data.clone().unwrap().to_vec()
            } else {
                assert_eq!(tensor.data_location, Some(EXTERNAL));
                assert_eq!(tensor.raw_data, None);
                let value = |index: usize| tensor.external_data[index].value.as_str();
                assert_eq!(value(0), "test.onnx_data");
                let (offset, length): (usize, usize) = (value(1).parse().unwrap(), value(2).parse().unwrap());
                assert!(offset.is_multiple_of(ALIGNMENT as usize));
                data[offset..offset + length].to_vec()
            };
            assert_eq!(bytes, (len as f32).to_le_bytes().repeat(len), "{}", tensor.name);
        }
    }

    #[test]
    fn outputs_are_named_without_extra_nodes() {
        let bytes = serialize_inline(graph(), header()).unwrap();
        let model = ModelProto::decode(&bytes[..]).unwrap();
        assert_eq!(model.metadata_props, [entry("key", "value")]);
        let graph = model.graph.unwrap();
        assert_eq!(graph.node.len(), 3);
        assert_eq!(graph.node[2].output, ["y"]);
        assert_eq!(graph.output[0].name, "y");
    }
}
