//! Exports of repositories without graphs, each made once and cached.

use std::fs;
use std::path::{Path, PathBuf};

use florence2_export::{Checkpoint, ExportOptions, Target};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::id::ModelId;
use crate::bundle::Dtype;
use crate::cache::{EXPORT_RECORD, EXPORTS};
use crate::error::{Error, Result};
use crate::fs::{hash, lock, move_folder, sha256, unfinished_folder};
use crate::options::LoadOptions;
use crate::options::hub::{HubOptions, HubProgress};
use crate::per_part::PerPart;
use crate::runtime::SessionOptions;

/// The length of the name of an export's folder, which is the start of a checksum.
const KEY_LENGTH: usize = 16;

/// The contents of [`EXPORT_RECORD`].
#[derive(Serialize)]
struct Record {
    model: String,
    commit: String,
    target: String,
    precision: String,
}

/// Returns the folder of a cached checkpoint's export; exports the checkpoint first if necessary. The folder's name
/// is a checksum of the checkpoint's files and the options of the export.
pub(super) fn export(
    id: &ModelId,
    commit: &str,
    checkpoint: &Path,
    files: &[String],
    options: &LoadOptions,
) -> Result<PathBuf> {
    let target = target(&options.session)?;
    let dtype = dtype(&options.dtype, target, &options.session)?;
    let root = root(&options.hub)?;
    let name = id.repository().replace('/', "--");
    let key = key(checkpoint, files, target, dtype)?;
    let folder = root.join(name).join(key);
    if folder.join(EXPORT_RECORD).is_file() {
        return Ok(folder);
    }

    options.hub.report(HubProgress::Exporting);
    let _lock = lock(&root.join(".lock"), || ())?;
    if folder.join(EXPORT_RECORD).is_file() {
        return Ok(folder);
    }
    let unfinished = unfinished_folder(&root)?;
    let export_options = ExportOptions::default()
        .with_target(target)
        .with_dtype(dtype)
        .with_model_name(id.repository());
    // The temporary folder itself is for the owner only.
    let made = unfinished.path().join("model");
    florence2_export::export(&Checkpoint::open(checkpoint)?, &made, &export_options)?;
    let record = Record {
        model: id.to_string(),
        commit: commit.to_owned(),
        target: target.name().to_owned(),
        precision: dtype.name().to_owned(),
    };
    let path = made.join(EXPORT_RECORD);
    let json = serde_json::to_vec_pretty(&record).map_err(|source| Error::Json {
        path: path.clone(),
        source,
    })?;
    fs::write(&path, json).map_err(Error::io(&path))?;

    move_folder(&made, &folder)?;
    Ok(folder)
}

/// Returns the cache folder of exports.
fn root(options: &HubOptions) -> Result<PathBuf> {
    let cache = options.export_dir.clone().or_else(crate::cache_dir);
    cache
        .map(|cache| cache.join(EXPORTS))
        .ok_or_else(|| Error::InvalidOption {
            name: "export_dir",
            reason: "there is no home folder to keep exports in; set FLORENCE2_CACHE to a folder".into(),
        })
}

/// Checks that a checkpoint can be exported with these options.
///
/// # Errors
/// [`Error::InvalidOption`] if the devices' target has no such dtype.
pub(super) fn check_export(options: &LoadOptions) -> Result<()> {
    let target = target(&options.session)?;
    dtype(&options.dtype, target, &options.session).map(drop)
}

/// Returns the target that is fastest on the devices.
fn target(session: &SessionOptions) -> Result<Target> {
    Ok(if session.wants_plain_decoder()? {
        Target::Plain
    } else {
        Target::Cpu
    })
}

/// Returns the dtype to export: the one requested for all graphs, else the one that suits the devices.
fn dtype(dtypes: &PerPart<Dtype>, target: Target, session: &SessionOptions) -> Result<Dtype> {
    let wanted: Vec<Option<Dtype>> = target
        .graphs()
        .iter()
        .map(|&graph| dtypes.get(graph.part()).copied())
        .collect();
    let first = wanted.first().copied().flatten();
    let dtype = match first {
        _ if wanted.iter().any(|dtype| *dtype != first) => None,
        None if target != Target::Cpu && session.float16_suits()? => Some(Dtype::Fp16),
        None => Some(Dtype::Fp32),
        Some(dtype) => Some(dtype).filter(|dtype| target.dtypes().contains(dtype)),
    };
    dtype.ok_or_else(|| {
        let names: Vec<&str> = target.dtypes().iter().map(|dtype| dtype.name()).collect();
        Error::InvalidOption {
            name: "dtype",
            reason: format!(
                "a repository without graphs is exported as a whole; the dtypes for these devices are {}",
                names.join(", ")
            ),
        }
    })
}

/// Returns a checksum of the checkpoint's files and the options of the export.
fn key(checkpoint: &Path, files: &[String], target: Target, dtype: Dtype) -> Result<String> {
    let mut text = format!(
        "{} {} {}\n",
        env!("CARGO_PKG_VERSION"),
        target.name(),
        dtype.name()
    );
    let mut files: Vec<&String> = files.iter().collect();
    files.sort_unstable();
    for file in files {
        let path = checkpoint.join(file);
        // In the hub's cache, files are links to blobs named by their checksums.
        let checksum = match fs::read_link(&path) {
            Ok(blob) => blob
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            Err(_) => sha256(&path).map_err(Error::io(&path))?,
        };
        text.push_str(&format!("{file} {checksum}\n"));
    }
    let key = hash(Sha256::new(), text.as_bytes()).map_err(Error::io(checkpoint))?;
    Ok(key.chars().take(KEY_LENGTH).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(dtypes: &str, devices: &str) -> Result<(Target, Dtype)> {
        let dtypes = match dtypes {
            "" => PerPart::default(),
            dtypes => dtypes.parse().unwrap(),
        };
        let session = SessionOptions {
            devices: devices.parse().unwrap(),
            ..SessionOptions::default()
        };
        let target = target(&session)?;
        Ok((target, dtype(&dtypes, target, &session)?))
    }

    #[test]
    fn precisions_are_those_whose_files_are_looked_for() {
        for (dtypes, devices, target, precision) in [
            ("", "cpu", Target::Cpu, Dtype::Fp32),
            ("int8", "cpu", Target::Cpu, Dtype::Int8),
            ("q4", "cpu", Target::Cpu, Dtype::Q4),
            ("", "cuda", Target::Plain, Dtype::Fp16),
            ("", "tensorrt,cuda", Target::Plain, Dtype::Fp16),
            ("", "coreml,cpu", Target::Plain, Dtype::Fp16),
            ("", "cuda,vision=cpu", Target::Plain, Dtype::Fp32),
            ("", "openvino", Target::Plain, Dtype::Fp32),
            ("fp32", "cuda", Target::Plain, Dtype::Fp32),
            ("q4f16", "cuda", Target::Plain, Dtype::Q4F16),
            ("", "cuda,decoder=cpu", Target::Cpu, Dtype::Fp32),
        ] {
            let found = chosen(dtypes, devices).unwrap();
            assert_eq!(found, (target, precision), "{dtypes} {devices}");
            let suffix = dtypes.parse::<Dtype>().map(Dtype::suffix);
            assert!(suffix.is_ok_and(|suffix| suffix == precision.suffix()) || dtypes.is_empty());
        }
        for (refused, devices, named) in [
            ("fp16", "cpu", "int8"),
            ("int8,vision=fp32", "cpu", "as a whole"),
            ("decoder=q4", "cuda", "fp16"),
        ] {
            match chosen(refused, devices) {
                Err(Error::InvalidOption {
                    name: "dtype",
                    reason,
                }) => assert!(reason.contains(named), "{reason}"),
                other => panic!("{refused}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_key_is_of_contents_and_options() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1").unwrap();
        fs::write(dir.path().join("b"), "2").unwrap();
        let files = ["a".to_owned(), "b".to_owned()];
        let reversed = ["b".to_owned(), "a".to_owned()];
        let first = key(dir.path(), &files, Target::Cpu, Dtype::Fp32).unwrap();
        assert_eq!(first.len(), KEY_LENGTH);
        assert_eq!(
            key(dir.path(), &reversed, Target::Cpu, Dtype::Fp32).unwrap(),
            first
        );
        assert_ne!(key(dir.path(), &files, Target::Cpu, Dtype::Int8).unwrap(), first);
        assert_ne!(
            key(dir.path(), &files, Target::Plain, Dtype::Fp32).unwrap(),
            first
        );
        fs::write(dir.path().join("b"), "3").unwrap();
        assert_ne!(key(dir.path(), &files, Target::Cpu, Dtype::Fp32).unwrap(), first);
    }
}
