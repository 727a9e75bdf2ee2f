//! Fetching a pinned ONNX Runtime into the cache, once, through pip or uv.

mod archive;
mod client;
mod pins;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::cached::{self, Record};
use super::environment::{RuntimeInfo, RuntimeOptions, init};
use crate::error::{Error, Result};
use crate::fs::{lock, move_folder, unfinished_folder};

pub use client::{Client, ClientKind};
pub use pins::{PINS, Pin};

/// What to fetch, with what, and where to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FetchOptions {
    /// The cache; `None`: [`cache_dir`](crate::cache_dir).
    pub cache_dir: Option<PathBuf>,
    /// The libraries to choose from: the first for this machine.
    pub pins: Vec<Pin>,
    /// The clients to use, the preferred one first; `None`: those that are found on this machine.
    pub clients: Option<Vec<Client>>,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            pins: PINS.to_vec(),
            clients: None,
        }
    }
}

impl FetchOptions {
    /// Fetch into this cache.
    pub fn with_cache_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(dir.into());
        self
    }

    /// Choose from these libraries.
    pub fn with_pins(mut self, pins: impl Into<Vec<Pin>>) -> Self {
        self.pins = pins.into();
        self
    }

    /// Use these clients.
    pub fn with_clients(mut self, clients: impl Into<Vec<Client>>) -> Self {
        self.clients = Some(clients.into());
        self
    }
}

/// What a fetch is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Another process is fetching; this one waits for it.
    Waiting,
    /// A client is downloading a package: tens of megabytes.
    Downloading {
        /// The client.
        client: &'a str,
        /// The package.
        package: &'a str,
        /// Its version.
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

/// Starts ONNX Runtime as [`init`] does; if none is found, fetches one and starts that.
///
/// # Errors
/// As [`init`] and [`fetch`].
pub fn init_or_fetch(
    options: &RuntimeOptions,
    progress: &dyn Fn(Progress<'_>),
) -> Result<&'static RuntimeInfo> {
    match init(options) {
        Err(Error::RuntimeNotFound { .. }) => {
            let library = fetch(&FetchOptions::default(), progress)?;
            init(&options.clone().with_library(library))
        }
        done => done,
    }
}

/// The pinned ONNX Runtime library in the cache, fetched if it is not there or is damaged.
///
/// The download is checked against the pinned SHA-256 before it takes its place, in one step. Processes that fetch
/// at the same time wait for the first of them.
///
/// # Errors
/// [`Error::RuntimeFetch`] if there is no library for this machine, no client, no connection, or the library is not
/// the pinned one; [`Error::Io`] if the cache cannot be written.
pub fn fetch(options: &FetchOptions, progress: &dyn Fn(Progress<'_>)) -> Result<PathBuf> {
    let cache = options
        .cache_dir
        .clone()
        .or_else(crate::cache_dir)
        .ok_or_else(|| failed("there is no home folder to keep it in; set FLORENCE2_CACHE to a folder"))?;
    let pins: Vec<&Pin> = options
        .pins
        .iter()
        .filter(|pin| pin.fits_this_machine())
        .collect();
    let Some(pin) = pins.first() else {
        return Err(failed(format!(
            "no library is known for {} on {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        )));
    };
    let root = cached::root(&cache);
    let _lock = lock(&root.join(".lock"), || progress(Progress::Waiting))?;

    let fetched = match pins.iter().find_map(|pin| intact(&cache, pin)) {
        Some(path) => path,
        None => fetch_first(&cache, pin, options, progress)?,
    };
    progress(Progress::Done { path: &fetched });
    Ok(fetched)
}

/// The library of this pin in the cache, if it is what the pin says, to the last bit.
fn intact(cache: &Path, pin: &Pin) -> Option<PathBuf> {
    let dir = cached::version_dir(cache, pin.version);
    let path = dir.join(pin.file_name());
    let found = Record::of(&path).ok()?;
    (found.sha256 == pin.sha256 && Record::read(&dir)? == found).then_some(path)
}

/// Fetches with the first client that can.
fn fetch_first(
    cache: &Path,
    pin: &Pin,
    options: &FetchOptions,
    progress: &dyn Fn(Progress<'_>),
) -> Result<PathBuf> {
    let clients = options.clients.clone().unwrap_or_else(Client::detect);
    let mut failures = Vec::new();
    for client in &clients {
        let name = client.name();
        progress(Progress::Downloading {
            client: &name,
            package: pin.package,
            version: pin.version,
        });
        let unfinished = unfinished_folder(&cached::root(cache))?;
        let download = subfolder(unfinished.path(), "download")?;
        if let Err(reason) = client.download(pin, &download) {
            tracing::debug!(client = name, reason, "cannot fetch ONNX Runtime");
            failures.push(format!("{name}: {reason}"));
            continue;
        }
        progress(Progress::Unpacking);
        return install(cache, pin, unfinished.path(), &download);
    }
    match failures.is_empty() {
        true => Err(failed(
            "neither pip nor uv is installed here; one of them is needed",
        )),
        false => Err(failed(failures.join("; "))),
    }
}

/// Checks the library in `download` and moves it to its place; `unfinished` is a folder for the work.
fn install(cache: &Path, pin: &Pin, unfinished: &Path, download: &Path) -> Result<PathBuf> {
    let dir = subfolder(unfinished, "library")?;
    let path = dir.join(pin.file_name());
    let mut file = File::create(&path).map_err(Error::io(&path))?;
    archive::extract(download, pin.member, &mut file)
        .map_err(|error| failed(format!("{} {}: {error}", pin.package, pin.version)))?;
    file.sync_all().map_err(Error::io(&path))?;
    let found = Record::of(&path).map_err(Error::io(&path))?;
    if found.sha256 != pin.sha256 {
        return Err(failed(format!(
            "the library in {} {} is not the one that is known: its SHA-256 is {}, not {}",
            pin.package, pin.version, found.sha256, pin.sha256
        )));
    }
    found.write(&dir).map_err(Error::io(&dir))?;

    let target = cached::version_dir(cache, pin.version);
    move_folder(&dir, &target)?;
    Ok(target.join(pin.file_name()))
}

fn subfolder(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::create_dir(&path).map_err(Error::io(&path))?;
    Ok(path)
}

fn failed(reason: impl Into<String>) -> Error {
    Error::RuntimeFetch {
        reason: reason.into(),
    }
}
