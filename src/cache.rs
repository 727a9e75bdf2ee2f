//! Where this crate keeps what it fetches and makes.

use std::ffi::OsString;
use std::path::PathBuf;

/// The folder for fetched and made files: `FLORENCE2_CACHE` if set, else `florence2` in the platform's cache folder
/// (`$XDG_CACHE_HOME` or `~/.cache`; `~/Library/Caches`; `%LOCALAPPDATA%`). `None` if there is no home folder.
///
/// The folder need not exist.
pub fn cache_dir() -> Option<PathBuf> {
    cache_dir_from(|name| std::env::var_os(name), std::env::home_dir())
}

fn cache_dir_from(var: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let path = |name| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = path("FLORENCE2_CACHE") {
        return Some(cache);
    }
    let platform = if cfg!(windows) {
        path("LOCALAPPDATA").or_else(|| Some(home?.join("AppData").join("Local")))
    } else if cfg!(target_os = "macos") {
        home.map(|home| home.join("Library").join("Caches"))
    } else {
        // The XDG specification: a relative path is invalid and to be ignored.
        path("XDG_CACHE_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| Some(home?.join(".cache")))
    };
    platform.map(|dir| dir.join("florence2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)], home: Option<&str>) -> Option<PathBuf> {
        let var = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        };
        cache_dir_from(var, home.map(PathBuf::from))
    }

    #[test]
    fn own_variable_comes_first() {
        let vars = [
            ("FLORENCE2_CACHE", "/here"),
            ("XDG_CACHE_HOME", "/xdg"),
            ("LOCALAPPDATA", "/local"),
        ];
        assert_eq!(with(&vars, Some("/home/me")), Some("/here".into()));
        assert_eq!(with(&[("FLORENCE2_CACHE", "")], None), None);
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn xdg_then_home() {
        let vars = [("XDG_CACHE_HOME", "/xdg")];
        assert_eq!(with(&vars, Some("/home/me")), Some("/xdg/florence2".into()));
        let relative = [("XDG_CACHE_HOME", "xdg")];
        assert_eq!(
            with(&relative, Some("/home/me")),
            Some("/home/me/.cache/florence2".into())
        );
    }
}
