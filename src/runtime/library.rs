//! Finding the ONNX Runtime library.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::fs::entries;

/// What the library's file is called.
struct FileName {
    /// Before the version, or all of the name.
    stem: &'static str,
    /// After the version.
    extension: &'static str,
    /// Names that the system's loader is asked for.
    loader: &'static [&'static str],
    /// Folders that package managers use and the system's loader does not look into.
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
    /// The version in a library's file name, as numbers (none: empty); `None` if it is no such name.
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

/// Where to look.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// The path in the options.
    pub(super) explicit: Option<PathBuf>,
    /// The path in `ORT_DYLIB_PATH`.
    pub(super) dylib_path: Option<PathBuf>,
    /// The executable's folder.
    pub(super) executable_dir: Option<PathBuf>,
    /// Our cache folder.
    pub(super) cache: Option<PathBuf>,
    /// Whether the system's loader is asked.
    pub(super) system: bool,
    /// Python environments that are active, as folders.
    pub(super) python_prefixes: Vec<PathBuf>,
    /// Python interpreters, to be asked where their packages are.
    pub(super) pythons: Vec<PathBuf>,
}

impl Places {
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

/// The first library in the given places that `load` accepts, one of those with the providers that are wanted, if there is
/// one: the first of these counts most. `load` says what is wrong with one that it does not accept.
///
/// A path that the user named ([`Places::explicit`], [`Places::dylib_path`]) is the only one tried.
///
/// # Errors
/// [`Error::RuntimeLoad`] if a named path fails, [`Error::RuntimeNotFound`] with all that was tried if none is left.
pub(super) fn find(
    places: &Places,
    wanted: &[&str],
    mut load: impl FnMut(&Path) -> Result<(), String>,
) -> Result<PathBuf> {
    if let Some(named) = places.explicit.as_ref().or(places.dylib_path.as_ref()) {
        let path = absolute(named);
        return match load(&path) {
            Ok(()) => Ok(path),
            Err(reason) => Err(Error::RuntimeLoad { path, reason }),
        };
    }
    let all: Vec<PathBuf> = match wanted.is_empty() {
        true => Vec::new(),
        false => {
            let found = PLACES.iter().filter_map(|place| (place.libraries)(places).ok());
            found.flatten().collect()
        }
    };
    for provider in wanted {
        for path in all.iter().filter(|path| has_provider(path, provider)) {
            match load(path) {
                Ok(()) => return Ok(path.clone()),
                Err(reason) => tracing::debug!(?path, reason, "a library with the provider is unusable"),
            }
        }
    }
    let mut searched = Vec::new();
    for place in PLACES {
        let found = (place.libraries)(places);
        if let Err(absent) = &found {
            searched.push(format!("{}: {absent}", place.name));
        }
        for path in found.into_iter().flatten() {
            match load(&path) {
                Ok(()) => return Ok(path),
                Err(reason) => searched.push(format!("{}: {}: {reason}", place.name, path.display())),
            }
        }
    }
    Err(Error::RuntimeNotFound { searched })
}

/// Whether a provider's own library lies beside this one.
fn has_provider(library: &Path, provider: &str) -> bool {
    let (prefix, extension) = match cfg!(windows) {
        true => ("", ".dll"),
        false => ("lib", ".so"),
    };
    let name = format!("{prefix}onnxruntime_providers_{provider}{extension}");
    library.parent().is_some_and(|folder| folder.join(name).is_file())
}

/// A place to look into.
struct Place {
    name: &'static str,
    /// The libraries there, best first, or why there are none.
    libraries: fn(&Places) -> Result<Vec<PathBuf>, String>,
}

/// In the order in which they are tried; the costly question to a Python interpreter comes last.
const PLACES: &[Place] = &[
    Place {
        name: "beside the executable",
        libraries: beside_executable,
    },
    Place {
        name: "cache",
        libraries: in_cache,
    },
    Place {
        name: "system",
        libraries: in_system,
    },
    Place {
        name: "active Python environment",
        libraries: in_python_prefixes,
    },
    Place {
        name: "Python package onnxruntime",
        libraries: in_python_package,
    },
];

fn beside_executable(places: &Places) -> Result<Vec<PathBuf>, String> {
    let dir = places
        .executable_dir
        .as_deref()
        .ok_or("the executable's folder is unknown")?;
    libraries_in(dir)
}

fn in_cache(places: &Places) -> Result<Vec<PathBuf>, String> {
    let cache = places.cache.as_deref().ok_or("no home folder")?;
    super::cached::libraries(cache)
}

fn in_system(places: &Places) -> Result<Vec<PathBuf>, String> {
    if !places.system {
        return Err("not asked".into());
    }
    let installed = FILE_NAME
        .folders
        .iter()
        .filter_map(|dir| libraries_in(Path::new(dir)).ok())
        .flatten();
    Ok(FILE_NAME
        .loader
        .iter()
        .map(PathBuf::from)
        .chain(installed)
        .collect())
}

fn in_python_prefixes(places: &Places) -> Result<Vec<PathBuf>, String> {
    if places.python_prefixes.is_empty() {
        return Err("none".into());
    }
    let mut site_packages = Vec::new();
    for prefix in &places.python_prefixes {
        site_packages.push(prefix.join("Lib").join("site-packages"));
        let versions = entries(&prefix.join("lib")).into_iter();
        site_packages.extend(versions.map(|python| python.join("site-packages")));
    }
    let libraries: Vec<PathBuf> = site_packages
        .iter()
        .filter_map(|dir| libraries_in(&dir.join("onnxruntime").join("capi")).ok())
        .flatten()
        .collect();
    match libraries.is_empty() {
        true => Err(format!(
            "no package onnxruntime in {}",
            display(&places.python_prefixes)
        )),
        false => Ok(libraries),
    }
}

fn in_python_package(places: &Places) -> Result<Vec<PathBuf>, String> {
    // The package's folder, found without importing it.
    const SCRIPT: &str = "import importlib.util as u; s = u.find_spec('onnxruntime'); \
                          print(*(s.submodule_search_locations if s else []), sep='\\n')";
    let mut answers = Vec::new();
    for python in &places.pythons {
        let answer = Command::new(python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::null())
            .output();
        let name = python.display();
        let output = match answer {
            Err(error) => {
                answers.push(format!("{name}: {error}"));
                continue;
            }
            Ok(output) => output,
        };
        let folders = String::from_utf8_lossy(&output.stdout);
        let libraries: Vec<PathBuf> = folders
            .lines()
            .filter_map(|dir| libraries_in(&Path::new(dir).join("capi")).ok())
            .flatten()
            .collect();
        if !libraries.is_empty() {
            return Ok(libraries);
        }
        answers.push(format!("{name}: not installed"));
    }
    Err(answers.join("; "))
}

/// The libraries in a folder, the highest version first.
pub(super) fn libraries_in(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries(dir)
        .into_iter()
        .filter_map(|path| Some((FILE_NAME.version_in(path.file_name()?.to_str()?)?, path)))
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0));
    match found.is_empty() {
        true => Err(format!("no library in {}", dir.display())),
        false => Ok(found.into_iter().map(|(_, path)| path).collect()),
    }
}

/// The path from the root, if there is such a file; else as it is: a bare name is for the system's loader.
pub(super) fn absolute(path: &Path) -> PathBuf {
    match path.exists() {
        true => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        false => path.to_owned(),
    }
}

fn display(paths: &[PathBuf]) -> String {
    let paths: Vec<OsString> = paths.iter().map(|path| path.clone().into_os_string()).collect();
    paths
        .join(std::ffi::OsStr::new(", "))
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests;
