//! A graph's file as a message that can be changed and given to ONNX Runtime, while its weights stay where they are.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use florence2_layout::onnx::{EXTERNAL, GraphProto, ModelProto, TensorProto, entry};
use prost::Message;
use prost::bytes::Bytes as SharedBytes;

use crate::bundle::GraphBytes;
use crate::error::{Error, Result};

/// Weights of fewer bytes stay in the graph: ONNX Runtime looks at the small ones (shapes, axes) when it reads it.
const SMALLEST_EXTERNAL: usize = 1024;
/// What the weights inside a graph in memory are called, once they are external data of the rebuilt one.
const INLINE_WEIGHTS: &str = "florence2.inline_weights";
/// A tensor's entry that names the file of its external data.
const LOCATION: &str = "location";

/// A graph's message, and the bytes that it was read from.
pub(super) struct ModelFile {
    pub(super) model: ModelProto,
    /// The weights inside the message are parts of these.
    bytes: SharedBytes,
}

impl ModelFile {
    /// Reads a graph, without its weights; `None` if it cannot be read, or is a session already.
    pub(super) fn read(graph: &GraphBytes) -> Option<Self> {
        let bytes = match graph {
            GraphBytes::File(path) => map(path)?,
            GraphBytes::Memory { graph, .. } => SharedBytes::from_owner(graph.clone()),
            GraphBytes::Rebuilt { .. } | GraphBytes::Session(_) => return None,
        };
        let model = ModelProto::decode(bytes.clone()).ok()?;
        Some(Self { model, bytes })
    }

    /// The changed graph, whose weights are external data: those inside the original file or bytes, too. `None` if it
    /// names files outside its folder, which ONNX Runtime refuses.
    ///
    /// # Errors
    /// [`Error::Io`] if a file of the weights cannot be found.
    pub(super) fn rebuild(mut self, graph: &GraphBytes) -> Result<Option<GraphBytes>> {
        match graph {
            GraphBytes::File(path) => self.beside(path),
            GraphBytes::Memory { graph, external_data } => {
                let mut external_data = external_data.clone();
                if self.externalize(INLINE_WEIGHTS) {
                    external_data.push((INLINE_WEIGHTS.to_owned(), graph.clone()));
                }
                Ok(Some(GraphBytes::Memory {
                    graph: self.model.encode_to_vec().into(),
                    external_data,
                }))
            }
            GraphBytes::Rebuilt { .. } | GraphBytes::Session(_) => Ok(None),
        }
    }

    /// The changed graph, with its weights by their files' real names: ONNX Runtime follows no links for a graph that is
    /// given from memory.
    fn beside(mut self, path: &Path) -> Result<Option<GraphBytes>> {
        let file = path.canonicalize().map_err(Error::io(path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut names = Vec::new();
        self.for_each_location(|location| names.push(location.clone()));
        names.sort_unstable();
        names.dedup();
        if !names.iter().all(|name| is_plain(name)) {
            return Ok(None);
        }
        let real = |name: &String| {
            let path = folder.join(name);
            path.canonicalize().map_err(Error::io(path))
        };
        let files: Vec<PathBuf> = names.iter().map(real).collect::<Result<_>>()?;
        let Some(root) = common_folder(files.iter().chain([&file])) else {
            return Ok(None);
        };
        let (Some(own), Some(others)) = (
            relative(&file, &root),
            files.iter().map(|file| relative(file, &root)).collect::<Option<Vec<_>>>(),
        ) else {
            return Ok(None);
        };
        self.for_each_location(|location| {
            if let Ok(index) = names.binary_search(location) {
                location.clone_from(&others[index]);
            }
        });
        self.externalize(&own);
        Ok(Some(GraphBytes::Rebuilt {
            file: path.to_owned(),
            graph: self.model.encode_to_vec().into(),
            folder: root,
        }))
    }

    /// Makes the weights inside the message external data of the file `location`, in which the message itself is. Whether
    /// there are any.
    fn externalize(&mut self, location: &str) -> bool {
        let start = self.bytes.as_ptr() as usize;
        let end = start + self.bytes.len();
        let mut found = false;
        for tensor in self.model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
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
            let locations = tensor.external_data.iter_mut().filter(|entry| entry.key == LOCATION);
            locations.for_each(|entry| visit(&mut entry.value));
        };
        self.model.graph.iter_mut().for_each(|graph| for_each_tensor(graph, &mut tensors));
    }

    /// The changed graph, its weights where they were.
    pub(super) fn into_bytes(self) -> Vec<u8> {
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

/// The folder that all of these files are in, or in folders of.
fn common_folder<'p>(files: impl Iterator<Item = &'p PathBuf>) -> Option<PathBuf> {
    let mut folders = files.filter_map(|file| file.parent());
    let mut common = folders.next()?.to_owned();
    for folder in folders {
        while !folder.starts_with(&common) {
            common.pop().then_some(())?;
        }
    }
    Some(common)
}

/// A path inside a folder, as ONNX has it: with `/` between folders.
fn relative(file: &Path, folder: &Path) -> Option<String> {
    let inside = file.strip_prefix(folder).ok()?;
    let names: Option<Vec<&str>> = inside.iter().map(|name| name.to_str()).collect();
    Some(names?.join("/"))
}
