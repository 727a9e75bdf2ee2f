//! Reading and changing a graph's ONNX message without loading its weights.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use florence2_layout::onnx::{
    AttributeProto, EXTERNAL, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, entry,
};
use prost::Message;
use prost::bytes::Bytes as SharedBytes;

use super::GraphSource;
use super::external_data::real_path;
use crate::bytes::Bytes;
use crate::error::{Error, Result};

/// The minimum size in bytes of weights that become external data. ONNX Runtime reads small ones (shapes, axes) while
/// it parses the graph.
const SMALLEST_EXTERNAL: usize = 1024;
/// The external data file by which a modified graph refers to the original bytes in memory.
const INLINE_WEIGHTS: &str = "florence2.inline_weights";
/// The key of the file name in `TensorProto.external_data`.
const LOCATION: &str = "location";
/// The identifier of ONNX Runtime's own format (`.ort`), after the first four bytes. Its weights are inside the file.
const ORT_FORMAT: &[u8] = b"ORTM";

/// A graph's ONNX message, and the bytes that it was read from.
#[derive(Debug)]
pub(crate) struct ModelFile {
    pub(crate) model: ModelProto,
    /// The weights inside the message are slices of these.
    bytes: SharedBytes,
}

impl ModelFile {
    /// Reads a graph without its weights. Returns `None` for a session, and for a graph in ONNX Runtime's own format.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::InvalidGraph`] if it is not an ONNX message.
    pub(crate) fn read(graph: &GraphSource) -> Result<Option<Self>> {
        let bytes = match graph {
            GraphSource::File(path) => map(path).map_err(Error::io(path))?,
            GraphSource::Memory { model, .. } | GraphSource::Repaired { model, .. } => {
                SharedBytes::from_owner(model.clone())
            }
            GraphSource::Session(_) => return Ok(None),
        };
        if bytes.get(4..8) == Some(ORT_FORMAT) {
            return Ok(None);
        }
        match ModelProto::decode(bytes.clone()) {
            Ok(model) => Ok(Some(Self { model, bytes })),
            Err(_) => Err(graph
                .invalid("it is not an ONNX graph, or is damaged or truncated; fetch or export it again")),
        }
    }

    /// Returns the modified graph in memory. Weights inside the original bytes become external data, too.
    pub(super) fn rebuild_in_memory(
        mut self,
        name: String,
        model: Bytes,
        mut external_data: Vec<(String, Bytes)>,
    ) -> GraphSource {
        if self.externalize(INLINE_WEIGHTS) {
            external_data.push((INLINE_WEIGHTS.to_owned(), model));
        }
        GraphSource::Memory {
            name,
            model: self.model.encode_to_vec().into(),
            external_data,
        }
    }

    /// Returns the modified graph of the file at `path`. It names the real paths of its weights' files, `locations`: ONNX
    /// Runtime does not follow links for a graph in memory. Weights inside the original file become external data, too.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be found, [`Error::InvalidGraph`] if a path is not Unicode.
    pub(super) fn rebuild_beside(
        mut self,
        path: PathBuf,
        locations: &BTreeMap<String, PathBuf>,
    ) -> Result<GraphSource> {
        let file = real_path(&path)?;
        let root = common_folder(&file, locations.values());
        let relative = |file: &Path| {
            let name = relative(file, &root).filter(|_| root.to_str().is_some());
            name.ok_or_else(|| Error::InvalidGraph {
                graph: path.display().to_string(),
                reason: format!("the path {} is not Unicode; move the model", file.display()),
            })
        };
        let own = relative(&file)?;
        let mut names = BTreeMap::new();
        for (name, real) in locations {
            names.insert(name.as_str(), relative(real)?);
        }
        self.for_each_location(|location| {
            if let Some(name) = names.get(location.as_str()) {
                location.clone_from(name);
            }
        });
        self.externalize(&own);
        Ok(GraphSource::Repaired {
            model: self.model.encode_to_vec().into(),
            folder: root,
            file: path,
        })
    }

    /// Makes the weights inside the message external data in the file `location`, which contains the message itself.
    /// Returns `true` if there are any.
    fn externalize(&mut self, location: &str) -> bool {
        let start = self.bytes.as_ptr() as usize;
        let end = start + self.bytes.len();
        let mut found = false;
        for tensor in self
            .model
            .graph
            .iter_mut()
            .flat_map(|graph| &mut graph.initializer)
        {
            let Some(raw) = tensor.raw_data.take_if(|raw| raw.len() >= SMALLEST_EXTERNAL) else {
                continue;
            };
            let at = raw.as_ptr() as usize;
            if at < start || at + raw.len() > end {
                tensor.raw_data = Some(raw);
                continue;
            }
            tensor.external_data = vec![
                entry(LOCATION, location),
                entry("offset", (at - start).to_string()),
                entry("length", raw.len().to_string()),
            ];
            tensor.data_location = Some(EXTERNAL);
            found = true;
        }
        found
    }

    /// Returns the names of the files that contain weights, relative to the graph's folder.
    pub(crate) fn external_files(&mut self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.for_each_location(|location| {
            names.insert(location.clone());
        });
        names
    }

    /// Visits the file names of all external data.
    fn for_each_location(&mut self, mut visit: impl FnMut(&mut String)) {
        let mut tensors = |tensor: &mut TensorProto| {
            let entries = tensor.external_data.iter_mut();
            entries
                .filter(|entry| entry.key == LOCATION)
                .for_each(|entry| visit(&mut entry.value));
        };
        let graph = self.model.graph.iter_mut();
        graph.for_each(|graph| for_each_tensor(graph, &mut tensors));
        for function in &mut self.model.functions {
            for_each_tensor_of_attributes(&mut function.attribute_proto, &mut tensors);
            for_each_tensor_of_nodes(&mut function.node, &mut tensors);
        }
    }

    /// Returns the bytes of the modified graph. Its weights stay inside it or in external files, as before.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.model.encode_to_vec()
    }
}

/// Visits the tensors of a graph and its branches.
fn for_each_tensor(graph: &mut GraphProto, visit: &mut impl FnMut(&mut TensorProto)) {
    graph.initializer.iter_mut().for_each(&mut *visit);
    graph
        .sparse_initializer
        .iter_mut()
        .for_each(|tensor| for_each_part(tensor, visit));
    for_each_tensor_of_nodes(&mut graph.node, visit);
}

fn for_each_tensor_of_nodes(nodes: &mut [NodeProto], visit: &mut impl FnMut(&mut TensorProto)) {
    nodes
        .iter_mut()
        .for_each(|node| for_each_tensor_of_attributes(&mut node.attribute, visit));
}

fn for_each_tensor_of_attributes(
    attributes: &mut [AttributeProto],
    visit: &mut impl FnMut(&mut TensorProto),
) {
    for attribute in attributes {
        let tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
        tensors.for_each(&mut *visit);
        let sparse = attribute
            .sparse_tensor
            .iter_mut()
            .chain(&mut attribute.sparse_tensors);
        sparse.for_each(|tensor| for_each_part(tensor, visit));
        for branch in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            for_each_tensor(branch, visit);
        }
    }
}

fn for_each_part(tensor: &mut SparseTensorProto, visit: &mut impl FnMut(&mut TensorProto)) {
    tensor
        .values
        .iter_mut()
        .chain(&mut tensor.indices)
        .for_each(visit);
}

/// Maps a file into memory.
fn map(path: &Path) -> std::io::Result<SharedBytes> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(SharedBytes::new());
    }
    // SAFETY: the mapping is read-only and private to this process. Should another process shrink the file
    // meanwhile, the system ends this one; that is the accepted cost of not reading gigabytes into memory.
    let mapped = unsafe { memmap2::Mmap::map(&file) }?;
    Ok(SharedBytes::from_owner(mapped))
}

/// Returns the innermost folder that contains `file` and all `others`.
fn common_folder<'p>(file: &Path, others: impl Iterator<Item = &'p PathBuf> + Clone) -> PathBuf {
    let holds_all = |folder: &&Path| others.clone().all(|other| other.starts_with(folder));
    let mut folders = file.ancestors().skip(1);
    folders.find(holds_all).unwrap_or(Path::new("")).to_owned()
}

/// Returns a file's path relative to a folder, with `/` as ONNX has it; `None` if it is not Unicode.
fn relative(file: &Path, folder: &Path) -> Option<String> {
    let inside = file.strip_prefix(folder).ok()?;
    let names: Option<Vec<&str>> = inside.iter().map(|name| name.to_str()).collect();
    Some(names?.join("/"))
}
