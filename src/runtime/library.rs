//! Finding the ONNX Runtime library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::fs::entries;

/// The parts of the library's file name.
struct FileName {
    /// The part before the version.
    stem: &'static str,
    /// The part after the version.
    extension: &'static str,
    /// The names that the system's loader is tried with.
    loader: &'static [&'static str],
    /// Folders of package managers that the system's loader does not search.
    folders: &'static [&'static str],
}

/// `onnxruntime.dll`
const WINDOWS: FileName = FileName {
    stem: "onnxruntime",
    extension: ".dll",
    loader: &["onnxruntime.dll"],
    folders: &[],
};
/// `libonnxruntime.dylib`, `libonnxruntime.1.32.0.dylib`
const MACOS: FileName = FileName {
    stem: "libonnxruntime",
    extension: ".dylib",
    loader: &["libonnxruntime.dylib"],
    folders: &["/opt/homebrew/lib", "/usr/local/lib"],
};
/// `libonnxruntime.so`, `libonnxruntime.so.1.32.0`
const ELF: FileName = FileName {
    stem: "libonnxruntime.so",
    extension: "",
    loader: &["libonnxruntime.so", "libonnxruntime.so.1"],
    folders: &[],
};

const FILE_NAME: FileName = if cfg!(windows) {
    WINDOWS
} else if cfg!(target_vendor = "apple") {
    MACOS
} else {
    ELF
};

impl FileName {
    /// Parses the version in a library's file name, which may be empty; `None` for other names.
    fn version_in(&self, name: &str) -> Option<Vec<u32>> {
        let version = name.strip_prefix(self.stem)?.strip_suffix(self.extension)?;
        if version.is_empty() {
            return Some(Vec::new());
        }
        version
            .strip_prefix('.')?
            .split('.')
            .map(|part| part.parse().ok())
            .collect()
    }
}

/// The locations that are searched.
#[derive(Debug, Clone, Default)]
pub(super) struct Locations {
    /// The path in the options.
    pub(super) explicit: Option<PathBuf>,
    /// The path in `ORT_DYLIB_PATH`.
    pub(super) dylib_path: Option<PathBuf>,
    /// The executable's folder.
    pub(super) executable_dir: Option<PathBuf>,
    /// The cache folder.
    pub(super) cache: Option<PathBuf>,
    /// Whether the system's loader is tried.
    pub(super) system: bool,
    /// The folders of active Python environments.
    pub(super) python_prefixes: Vec<PathBuf>,
    /// Python interpreters, which are run to find their packages.
    pub(super) pythons: Vec<PathBuf>,
}

impl Locations {
    pub(super) fn of_this_process(explicit: Option<PathBuf>) -> Self {
        let path = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            explicit,
            dylib_path: path("ORT_DYLIB_PATH"),
            executable_dir: std::env::current_exe()
                .ok()
                .and_then(|exe| Some(exe.parent()?.to_owned())),
            cache: crate::cache_dir(),
            system: true,
            python_prefixes: ["VIRTUAL_ENV", "CONDA_PREFIX"]
                .into_iter()
                .filter_map(path)
                .collect(),
            pythons: vec!["python3".into(), "python".into()],
        }
    }
}

/// The reason why a library is not taken.
#[derive(Debug, Clone)]
pub(super) enum Rejection {
    /// The system's loader does not load it.
    NotLoaded(String),
    /// It is not a complete ONNX Runtime of a supported version.
    Unusable(String),
}

impl Rejection {
    fn reason(&self) -> &str {
        match self {
            Rejection::NotLoaded(reason) | Rejection::Unusable(reason) => reason,
        }
    }
}

/// Returns the first library in the given locations that `load` accepts. Libraries that have the providers in `wanted` beside
/// them come first, by the order of `wanted`. A library that exists and is rejected is logged as a warning if a later one is accepted.
///
/// A path that the user named ([`Locations::explicit`], [`Locations::dylib_path`]) is the only one tried.
///
/// # Errors
/// [`Error::RuntimeLoad`] if a named path fails, [`Error::RuntimeNotFound`] with everything that was tried if no library
/// is left.
pub(super) fn find(
    locations: &Locations,
    wanted: &[&str],
    mut load: impl FnMut(&Path) -> Result<(), Rejection>,
) -> Result<PathBuf> {
    if let Some(named) = locations.explicit.as_ref().or(locations.dylib_path.as_ref()) {
        let path = absolute(named);
        return match load(&path) {
            Ok(()) => Ok(path),
            Err(rejection) => {
                let reason = rejection.reason().to_owned();
                Err(Error::RuntimeLoad { path, reason })
            }
        };
    }
    // Lazy: a location is searched if no library before it was accepted.
    let found = LOCATIONS.iter().flat_map(|(location, libraries)| {
        let found = match libraries(locations) {
            Ok(found) => found.into_iter().map(Ok).collect(),
            Err(absent) => vec![Err(absent)],
        };
        found.into_iter().map(move |library| (location, library))
    });
    let mut candidates: Box<dyn Iterator<Item = (&&str, Result<PathBuf, String>)>> = Box::new(found);
    if !wanted.is_empty() {
        let rank = |(_, library): &(_, Result<PathBuf, String>)| match library {
            Ok(path) => wanted.iter().position(|provider| has_provider(path, provider)),
            Err(_) => None,
        };
        let mut all: Vec<_> = candidates.collect();
        all.sort_by_cached_key(|candidate| rank(candidate).unwrap_or(wanted.len()));
        candidates = Box::new(all.into_iter());
    }
    let (mut searched, mut rejected) = (Vec::new(), Vec::new());
    for (location, library) in candidates {
        let reason = match library.map(|path| (load(&path), path)) {
            Ok((Ok(()), path)) => {
                for reason in rejected {
                    tracing::warn!(used = ?path, "an ONNX Runtime library is not used: {reason}");
                }
                return Ok(path);
            }
            Ok((Err(rejection), path)) => {
                let reason = format!("{}: {}", path.display(), rejection.reason());
                // A name that the system's loader does not know is no library.
                if path.exists() || matches!(rejection, Rejection::Unusable(_)) {
                    rejected.push(reason.clone());
                }
                reason
            }
            Err(absent) => absent,
        };
        searched.push(format!("{location}: {reason}"));
    }
    Err(Error::RuntimeNotFound { searched })
}

/// Returns `true` if the library of a provider is beside this one.
fn has_provider(library: &Path, provider: &str) -> bool {
    let (prefix, extension) = if cfg!(windows) {
        ("", ".dll")
    } else {
        ("lib", ".so")
    };
    let name = format!("{prefix}onnxruntime_providers_{provider}{extension}");
    library.parent().is_some_and(|folder| folder.join(name).is_file())
}

/// Returns the libraries in a location, best first, or the reason why there are none.
type Libraries = fn(&Locations) -> Result<Vec<PathBuf>, String>;

/// The locations in the order in which they are searched; starting Python takes longest.
const LOCATIONS: &[(&str, Libraries)] = &[
    ("beside the executable", |locations| {
        match &locations.executable_dir {
            Some(folder) => libraries_in(folder),
            None => Err("the executable's folder is unknown".into()),
        }
    }),
    ("cache", |locations| match &locations.cache {
        Some(cache) => super::library_cache::libraries(cache),
        None => Err("no home folder".into()),
    }),
    ("system", in_system),
    ("active Python environment", in_python_prefixes),
    ("Python package onnxruntime", in_python_package),
];

fn in_system(locations: &Locations) -> Result<Vec<PathBuf>, String> {
    if !locations.system {
        return Err("not searched".into());
    }
    let names = FILE_NAME.loader.iter().map(PathBuf::from);
    let folders = FILE_NAME.folders.iter();
    let installed = folders.filter_map(|folder| libraries_in(Path::new(folder)).ok());
    Ok(names.chain(installed.flatten()).collect())
}

fn in_python_prefixes(locations: &Locations) -> Result<Vec<PathBuf>, String> {
    let site_packages = locations.python_prefixes.iter().flat_map(|prefix| {
        let versions = entries(&prefix.join("lib"));
        [prefix.join("Lib")].into_iter().chain(versions)
    });
    let packages = site_packages.map(|python| python.join("site-packages").join("onnxruntime"));
    let found = packages.filter_map(|package| libraries_in(&package.join("capi")).ok());
    not_empty(
        found.flatten().collect(),
        || match &locations.python_prefixes[..] {
            [] => "none".into(),
            prefixes => {
                let prefixes: Vec<String> = prefixes.iter().map(|path| path.display().to_string()).collect();
                format!("no package onnxruntime in {}", prefixes.join(", "))
            }
        },
    )
}

fn in_python_package(locations: &Locations) -> Result<Vec<PathBuf>, String> {
    // The package's folder, found without importing it.
    const SCRIPT: &str = "import importlib.util as u; s = u.find_spec('onnxruntime'); \
                          print(*(s.submodule_search_locations if s else []), sep='\\n')";
    let mut failures = Vec::new();
    for python in &locations.pythons {
        let mut command = Command::new(python);
        match command.args(["-c", SCRIPT]).stdin(Stdio::null()).output() {
            Err(error) => failures.push(format!("{}: {error}", python.display())),
            Ok(output) => {
                let folders = String::from_utf8_lossy(&output.stdout);
                let found = folders
                    .lines()
                    .filter_map(|folder| libraries_in(&Path::new(folder).join("capi")).ok());
                let found: Vec<PathBuf> = found.flatten().collect();
                if !found.is_empty() {
                    return Ok(found);
                }
                failures.push(format!("{}: not installed", python.display()));
            }
        }
    }
    Err(failures.join("; "))
}

/// Returns the libraries in a folder, the highest version first.
pub(super) fn libraries_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries(folder)
        .into_iter()
        .filter_map(|path| Some((FILE_NAME.version_in(path.file_name()?.to_str()?)?, path)))
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0));
    let paths = found.into_iter().map(|(_, path)| path).collect();
    not_empty(paths, || format!("no library in {}", folder.display()))
}

/// Returns the libraries, or the reason why there are none.
pub(super) fn not_empty(
    libraries: Vec<PathBuf>,
    reason: impl FnOnce() -> String,
) -> Result<Vec<PathBuf>, String> {
    if libraries.is_empty() {
        Err(reason())
    } else {
        Ok(libraries)
    }
}

/// Returns the absolute path of a file; the name of a file that does not exist is returned unchanged, for the
/// system's loader.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let absolute = path.exists().then(|| std::path::absolute(path).ok());
    absolute.flatten().unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests;
