//! Fetching a pinned ONNX Runtime into the cache, once, through pip or uv.

mod client;
mod pins;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::environment::{RuntimeInfo, RuntimeOptions, init};
use super::library_cache::{self, Record};
use crate::error::{Error, Result};
use crate::fs::{entries, lock, move_folder, unfinished_folder};
use client::Client;
use pins::{PACKAGE, PINS, Pin, VERSION};

/// The state of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Another process is fetching; this one waits for it.
    Waiting,
    /// A client is downloading a package of tens of megabytes.
    Downloading {
        /// The client's command.
        client: &'a str,
        /// The package.
        package: &'a str,
        /// The package's version.
        version: &'a str,
    },
    /// The library is being unpacked and checked.
    Unpacking,
    /// The library is in the cache.
    Done {
        /// The library.
        path: &'a Path,
    },
}

/// Starts ONNX Runtime as [`init`] does; if no library is found, fetches one and starts it.
///
/// # Errors
/// As [`init`] and [`fetch`].
pub fn init_or_fetch(
    options: &RuntimeOptions,
    progress: &dyn Fn(Progress<'_>),
) -> Result<&'static RuntimeInfo> {
    match init(options) {
        Err(Error::RuntimeNotFound { .. }) => init(&options.clone().with_library(fetch(progress)?)),
        done => done,
    }
}

/// Returns the path of the pinned ONNX Runtime library in the [cache](crate::cache_dir), after fetching it if it is missing
/// or damaged.
///
/// The download is checked against the pinned SHA-256 before it is moved into the cache, in one step. Processes that
/// fetch at the same time wait for the first of them.
///
/// # Errors
/// [`Error::RuntimeFetch`] if there is no library for this machine, no client, no connection, or the downloaded library
/// is not the pinned one; [`Error::Io`] if the cache cannot be written.
pub fn fetch(progress: &dyn Fn(Progress<'_>)) -> Result<PathBuf> {
    let cache = crate::cache_dir().ok_or_else(|| {
        failed("there is no home folder for the cache; set FLORENCE2_CACHE to a folder".into())
    })?;
    fetch_pinned(&cache, PINS, Client::detect, progress)
}

fn fetch_pinned(
    cache: &Path,
    pins: &[Pin],
    clients: impl FnOnce() -> Vec<Client>,
    progress: &dyn Fn(Progress<'_>),
) -> Result<PathBuf> {
    let Some(pin) = pins.iter().find(|pin| pin.fits_this_machine()) else {
        return Err(failed(format!(
            "there is no library for {} on {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        )));
    };
    let _lock = lock(&library_cache::root(cache).join(".lock"), || {
        progress(Progress::Waiting)
    })?;
    let folder = library_cache::version_dir(cache, VERSION);
    if !is_intact(&folder, pin) {
        download(cache, &folder, pin, &clients(), progress)?;
    }
    let path = folder.join(pin.library);
    progress(Progress::Done { path: &path });
    Ok(path)
}

/// Returns `true` if the folder has the pinned library, by its SHA-256, and its record.
fn is_intact(folder: &Path, pin: &Pin) -> bool {
    Record::of(&folder.join(pin.library))
        .is_ok_and(|found| found.sha256 == pin.sha256 && Record::read(folder) == Some(found))
}

/// Downloads the library with the first client that succeeds, checks it, and moves it to `target`.
fn download(
    cache: &Path,
    target: &Path,
    pin: &Pin,
    clients: &[Client],
    progress: &dyn Fn(Progress<'_>),
) -> Result<()> {
    let mut failures = Vec::new();
    for client in clients {
        let name = client.name();
        progress(Progress::Downloading {
            client: &name,
            package: PACKAGE,
            version: VERSION,
        });
        let unfinished = unfinished_folder(&library_cache::root(cache))?;
        let [package, library] = ["package", "library"].map(|name| unfinished.path().join(name));
        for folder in [&package, &library] {
            fs::create_dir(folder).map_err(Error::io(folder))?;
        }
        if let Err(reason) = client.download(pin, &package) {
            tracing::debug!(client = name, reason, "cannot fetch ONNX Runtime");
            failures.push(format!("{name}: {reason}"));
            continue;
        }
        progress(Progress::Unpacking);
        unpack(&package, &library, pin)?;
        return move_folder(&library, target);
    }
    if failures.is_empty() {
        failures.push("neither pip nor uv is installed here; one of them is needed".into());
    }
    Err(failed(failures.join("; ")))
}

/// Copies the library from a downloaded package, a wheel or an unpacked folder, to `folder`, with its record.
fn unpack(package: &Path, folder: &Path, pin: &Pin) -> Result<()> {
    let path = folder.join(pin.library);
    let mut file = File::create(&path).map_err(Error::io(&path))?;
    copy_member(package, &pin.member(), &mut file)
        .map_err(|error| failed(format!("{PACKAGE} {VERSION}: {error}")))?;
    file.sync_all().map_err(Error::io(&path))?;
    let found = Record::of(&path).map_err(Error::io(&path))?;
    if found.sha256 != pin.sha256 {
        return Err(failed(format!(
            "the library in {PACKAGE} {VERSION} is not the pinned one: its SHA-256 is {}, not {}",
            found.sha256, pin.sha256
        )));
    }
    found.write(folder).map_err(Error::io(folder))
}

fn copy_member(package: &Path, member: &str, out: &mut File) -> io::Result<()> {
    let unpacked = package.join(member);
    if unpacked.is_file() {
        return io::copy(&mut File::open(unpacked)?, out).map(drop);
    }
    for path in entries(package) {
        if path.extension() != Some(OsStr::new("whl")) {
            continue;
        }
        let mut wheel = zip::ZipArchive::new(File::open(&path)?)?;
        if let Some(index) = wheel.index_for_name(member) {
            return io::copy(&mut wheel.by_index(index)?, out).map(drop);
        }
    }
    let reason = format!("the package has no file {member}");
    Err(io::Error::new(io::ErrorKind::NotFound, reason))
}

fn failed(reason: String) -> Error {
    Error::RuntimeFetch { reason }
}

#[cfg(all(test, unix))]
mod tests;
