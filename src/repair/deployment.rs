//! A copy of a deployment whose graphs are repaired: for engines that run them as they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use florence2_layout::file_names::GraphFileName;
use florence2_layout::graphs::{FOLDER, GraphFile};

use super::{Repair, repair_model};
use crate::bundle::{Bundle, BundleSource, DeploymentNames};
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::runtime::{GraphSource, ModelFile, is_inside};

/// Copies a deployment, repairing each vision encoder that needs it, whatever its dtype. Returns the repaired files, as paths
/// inside the folder; if there are none, nothing is copied.
///
/// A repaired graph keeps its weights where they were: inside it, or in files beside it.
///
/// # Errors
/// [`Error::InvalidOption`] if `to` is not empty, [`Error::Io`] if a file cannot be read or written; errors of [`Bundle::open`] and
/// [`Bundle::needed_repair`].
pub fn repair_deployment(from: &Path, to: &Path) -> Result<Vec<(String, Repair)>> {
    if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) || to.is_file() {
        return Err(Error::InvalidOption {
            name: "to",
            reason: format!("{} is not an empty folder; name another", to.display()),
        });
    }
    let bundle = Bundle::open(BundleSource::Folder(from.to_owned()))?;
    let Some(size) = bundle.image_size()? else {
        return Ok(Vec::new());
    };
    // An unreadable folder would count as empty.
    let graphs = from.join(FOLDER);
    if graphs.is_dir() {
        fs::read_dir(&graphs).map_err(Error::io(&graphs))?;
    }
    let files = files_of(&bundle, from);
    let mut repaired = Vec::new();
    for file in files
        .iter()
        .filter(|file| is_vision_encoder(file, &bundle.layout.names))
    {
        if let Some((model, repair)) = repaired_model(&from.join(file), size) {
            let path = to.join(file);
            create_parent(&path)?;
            fs::write(&path, model).map_err(Error::io(&path))?;
            repaired.push((file.clone(), repair));
        }
    }
    if repaired.is_empty() {
        return Ok(repaired);
    }
    for file in &files {
        if repaired.iter().all(|(done, _)| done != file) {
            let (source, target) = (from.join(file), to.join(file));
            create_parent(&target)?;
            fs::copy(&source, &target).map_err(Error::io(&source))?;
        }
    }
    Ok(repaired)
}

/// The bytes of a graph's file, repaired; `None` if it needs no repair.
fn repaired_model(path: &Path, size: ImageSize) -> Option<(Vec<u8>, Repair)> {
    let mut file = ModelFile::read(&GraphSource::File(path.to_owned())).ok()??;
    let repair = repair_model(&mut file.model, size)?;
    Some((file.into_bytes(), repair))
}

/// Returns the files of a deployment: all files in its folder and in its folder of graphs, and the graphs' external
/// data. Links are followed.
fn files_of(bundle: &Bundle, folder: &Path) -> BTreeSet<String> {
    let source = &bundle.source;
    let mut graphs = source.graph_files();
    graphs.extend(bundle.layout.files.values().cloned());
    let weights: Vec<String> = graphs.iter().flat_map(|graph| source.named_data(graph)).collect();
    let weights = weights.into_iter();
    let weights = weights.filter(|file| is_inside(file) && folder.join(file).is_file());
    source.files().into_iter().chain(graphs).chain(weights).collect()
}

fn is_vision_encoder(file: &str, names: &DeploymentNames) -> bool {
    if names
        .of(GraphFile::VisionEncoder)
        .paths()
        .any(|path| path == file)
    {
        return true;
    }
    let name = file.rsplit('/').next().unwrap_or(file);
    GraphFileName::parse(name, names).is_some_and(|name| name.graph == GraphFile::VisionEncoder)
}

fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(Error::io(folder))
}
