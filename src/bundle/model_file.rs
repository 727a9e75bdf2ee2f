//! A graph's file as a message that can be changed and given to ONNX Runtime, while its weights stay where they are.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use florence2_layout::onnx::{EXTERNAL, GraphProto, ModelProto, TensorProto, entry};
use prost::Message;
use prost::bytes::Bytes as SharedBytes;

use super::GraphBytes;
use crate::error::{Error, Result};

/// Weights of fewer bytes stay in the graph: ONNX Runtime looks at the small ones (shapes, axes) when it reads it.
const SMALLEST_EXTERNAL: usize = 1024;
/// What the weights inside a graph in memory are called, once they are external data of the rebuilt one.
const INLINE_WEIGHTS: &str = "florence2.inline_weights";
/// A tensor's entry that names the file of its external data.
const LOCATION: &str = "location";

/// A graph's message, and the bytes that it was read from.
pub(crate) struct ModelFile {
    pub(crate) model: ModelProto,
    /// The weights inside the message are parts of these.
    bytes: SharedBytes,
}

impl ModelFile {
    /// Reads a graph, without its weights; `None` if it cannot be read, or is a session already.
    pub(crate) fn read(graph: &GraphBytes) -> Option<Self> {
        let bytes = match graph {
            GraphBytes::File(path) => map(path)?,
            GraphBytes::Memory { graph, .. } => SharedBytes::from_owner(graph.clone()),
            GraphBytes::Rebuilt { .. } | GraphBytes::Session(_) => return None,
        };
        let model = ModelProto::decode(bytes.clone()).ok()?;
        Some(Self { model, bytes })
    }

    /// The changed graph, whose weights are external data: those inside the original file or bytes, too.
    ///
    /// # Errors
    /// [`Error::Io`] if a file of the weights cannot be found, [`Error::InvalidGraph`] if one is outside the graph's folder.
    pub(crate) fn rebuild(mut self, graph: GraphBytes) -> Result<GraphBytes> {
        match graph {
            GraphBytes::File(path) => self.beside(path),
            GraphBytes::Memory {
                graph,
                mut external_data,
            } => {
                if self.externalize(INLINE_WEIGHTS) {
                    external_data.push((INLINE_WEIGHTS.to_owned(), graph));
                }
                Ok(GraphBytes::Memory {
                    graph: self.model.encode_to_vec().into(),
                    external_data,
                })
            }
            unread @ (GraphBytes::Rebuilt { .. } | GraphBytes::Session(_)) => Ok(unread),
        }
    }

    /// The changed graph, with its weights by their files' real names: ONNX Runtime follows no links for a graph that is
    /// given from memory.
    fn beside(mut self, path: PathBuf) -> Result<GraphBytes> {
        let invalid = |reason: String| Error::InvalidGraph {
            graph: path.display().to_string(),
            reason,
        };
        let file = path.canonicalize().map_err(Error::io(&path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut names = Vec::new();
        self.for_each_location(|location| names.push(location.clone()));
        names.sort_unstable();
        names.dedup();
        if let Some(outside) = names.iter().find(|name| !is_plain(name)) {
            return Err(invalid(format!(
                "it has weights in {outside:?}, which is not inside its folder; fetch or export it again"
            )));
        }
        let real = |name: &String| {
            let path = folder.join(name);
            path.canonicalize().map_err(Error::io(path))
        };
        let files: Vec<PathBuf> = names.iter().map(real).collect::<Result<_>>()?;
        let root = common_folder(&file, &files);
        let inside = |file: &PathBuf| {
            let name = relative(file, &root);
            name.ok_or_else(|| invalid(format!("{} is not named in Unicode", file.display())))
        };
        let own = inside(&file)?;
        let others: Vec<String> = files.iter().map(inside).collect::<Result<_>>()?;
        self.for_each_location(|location| {
            if let Ok(index) = names.binary_search(location) {
                location.clone_from(&others[index]);
            }
        });
        self.externalize(&own);
        Ok(GraphBytes::Rebuilt {
            graph: self.model.encode_to_vec().into(),
            folder: root,
            file: path,
        })
    }

    /// Makes the weights inside the message external data of the file `location`, in which the message itself is. Whether
    /// there are any.
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

    fn for_each_location(&mut self, mut visit: impl FnMut(&mut String)) {
        let mut tensors = |tensor: &mut TensorProto| {
            let locations = tensor
                .external_data
                .iter_mut()
                .filter(|entry| entry.key == LOCATION);
            locations.for_each(|entry| visit(&mut entry.value));
        };
        self.model
            .graph
            .iter_mut()
            .for_each(|graph| for_each_tensor(graph, &mut tensors));
    }

    /// The changed graph, its weights where they were.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.model.encode_to_vec()
    }
}

/// Visits a graph's weights, those of its branches too.
fn for_each_tensor(graph: &mut GraphProto, visit: &mut impl FnMut(&mut TensorProto)) {
    graph.initializer.iter_mut().for_each(&mut *visit);
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    for branch in attributes.filter_map(|attribute| attribute.g.as_mut()) {
        for_each_tensor(branch, visit);
    }
}

/// A file's bytes; `None` if it cannot be read.
fn map(path: &Path) -> Option<SharedBytes> {
    let file = File::open(path).ok()?;
    if file.metadata().ok()?.len() == 0 {
        return None;
    }
    // SAFETY: the mapping is read-only and private to this process. Should another process shrink the file
    // meanwhile, the system ends this one; that is the accepted cost of not reading gigabytes into memory.
    let mapped = unsafe { memmap2::Mmap::map(&file) }.ok()?;
    Some(SharedBytes::from_owner(mapped))
}

/// Whether a location stays in the graph's folder.
fn is_plain(location: &str) -> bool {
    let mut components = Path::new(location).components();
    components.all(|component| matches!(component, Component::Normal(_)))
}

/// The innermost folder that a file and others are in, if only in folders of it.
fn common_folder(file: &Path, others: &[PathBuf]) -> PathBuf {
    let holds_all = |folder: &&Path| others.iter().all(|other| other.starts_with(folder));
    let folders = file.ancestors().skip(1);
    folders
        .into_iter()
        .find(holds_all)
        .unwrap_or(Path::new(""))
        .to_owned()
}

/// A path inside a folder, as ONNX has it: with `/` between folders.
fn relative(file: &Path, folder: &Path) -> Option<String> {
    let inside = file.strip_prefix(folder).ok()?;
    let names: Option<Vec<&str>> = inside.iter().map(|name| name.to_str()).collect();
    Some(names?.join("/"))
}
