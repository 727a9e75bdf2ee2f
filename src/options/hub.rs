//! Options of fetching models, with defaults from the environment variables of the hub's own tools.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use florence2_layout::setters;

use crate::error::{Error, Result};

/// Options of fetching models from a hub. Unset options have the values of the hub's own tools: their environment
/// variables, then their defaults.
#[derive(Clone)]
#[non_exhaustive]
pub struct HubOptions {
    /// The cache folder. Default: `HF_HUB_CACHE`, or `hub` in `HF_HOME` (`~/.cache/huggingface`).
    pub cache_dir: Option<PathBuf>,
    /// The hub's address. Default: `HF_ENDPOINT`, or the public hub.
    pub endpoint: Option<String>,
    /// The access token. Default: `HF_TOKEN`, or the file that the hub's login command writes.
    pub token: Option<String>,
    /// Whether to use cached files only, without the network. Default: `HF_HUB_OFFLINE`.
    pub offline: Option<bool>,
    /// The cache folder of exports. Default: [`cache_dir`](crate::cache_dir).
    pub export_dir: Option<PathBuf>,
    /// The folder of the model inside its repository, or inside the folder that is given, as transformers' `subfolder`.
    /// Default: none.
    pub subfolder: Option<String>,
    /// The number of files fetched at a time.
    pub connections: usize,
    /// The number of consecutive retries without any data after which a transfer fails.
    pub retries: u32,
    /// The delay before the first retry; it doubles with each further one.
    pub retry_delay: Duration,
    /// The time without data after which a connection is dropped.
    pub stall: Duration,
    /// Called with each [`HubProgress`], from several threads.
    pub progress: Option<ProgressFn>,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            endpoint: None,
            token: None,
            offline: None,
            export_dir: None,
            subfolder: None,
            connections: 4,
            retries: 5,
            retry_delay: Duration::from_millis(500),
            stall: Duration::from_secs(30),
            progress: None,
        }
    }
}

setters! { HubOptions {
    with_cache_dir(cache_dir: impl Into<PathBuf>) = Some(cache_dir.into());
    with_endpoint(endpoint: impl Into<String>) = Some(endpoint.into());
    with_token(token: impl Into<String>) = Some(token.into());
    with_offline(offline: bool) = Some(offline);
    with_export_dir(export_dir: impl Into<PathBuf>) = Some(export_dir.into());
    with_subfolder(subfolder: impl Into<String>) = Some(subfolder.into());
    with_connections(connections: usize);
    with_retries(retries: u32);
    with_retry_delay(retry_delay: Duration);
    with_stall(stall: Duration);
    with_progress(progress: impl Fn(HubProgress<'_>) + Send + Sync + 'static) = Some(ProgressFn(Arc::new(progress)));
}}

impl HubOptions {
    pub(crate) fn report(&self, progress: HubProgress<'_>) {
        if let Some(ProgressFn(report)) = &self.progress {
            report(progress);
        }
    }

    /// Returns the options with their defaults.
    pub(crate) fn resolve(&self) -> Result<ResolvedOptions> {
        self.resolve_from(|name| std::env::var_os(name), std::env::home_dir())
    }

    fn resolve_from(
        &self,
        var: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Result<ResolvedOptions> {
        let var = |name| var(name).filter(|value| !value.is_empty());
        let text = |name| var(name).and_then(|value| value.into_string().ok());
        let path = |name| var(name).map(PathBuf::from);
        let is_set = |name| text(name).is_some_and(|value| is_true(&value));

        let hub_home = path("HF_HOME").or_else(|| {
            let caches = path("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")));
            Some(caches?.join("huggingface"))
        });
        let cache = self
            .cache_dir
            .clone()
            .or_else(|| path("HF_HUB_CACHE"))
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hub_home.as_ref()?.join("hub")))
            .ok_or_else(|| Error::InvalidEnvironment {
                name: "HF_HOME",
                reason: "there is no home folder to keep models in; set it to a folder".into(),
            })?;
        let token_file = || {
            let file = path("HF_TOKEN_PATH").or_else(|| Some(hub_home?.join("token")))?;
            fs::read_to_string(file).ok()
        };
        let implicit_token = || {
            if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
                return None;
            }
            text("HF_TOKEN")
                .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
                .or_else(token_file)
        };
        let token = self.token.clone().or_else(implicit_token);
        let endpoint = self.endpoint.clone().or_else(|| text("HF_ENDPOINT"));
        Ok(ResolvedOptions {
            cache,
            endpoint: endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            offline: self
                .offline
                .unwrap_or_else(|| is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE")),
        })
    }
}

/// Options with all values, the unset ones from the environment or the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedOptions {
    /// The hub's cache folder.
    pub(crate) cache: PathBuf,
    /// `None` for the public hub.
    pub(crate) endpoint: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) offline: bool,
}

/// Returns whether the hub's own tools take a variable's value as true.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}

/// Omits the token.
impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("cache_dir", &self.cache_dir)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("offline", &self.offline)
            .field("export_dir", &self.export_dir)
            .field("subfolder", &self.subfolder)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// A function called on progress, from several threads.
#[derive(Clone)]
pub struct ProgressFn(Arc<dyn Fn(HubProgress<'_>) + Send + Sync>);

impl fmt::Debug for ProgressFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressFn")
    }
}

/// A step of fetching a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubProgress<'a> {
    /// Files will be fetched.
    Planned {
        /// The number of files.
        files: usize,
        /// Their total size in bytes.
        bytes: u64,
    },
    /// This process waits for another one that fetches the file.
    Waiting {
        /// The file, as a path inside the repository.
        file: &'a str,
    },
    /// The transfer of a file starts, or resumes an interrupted one.
    Started {
        /// The file, as a path inside the repository.
        file: &'a str,
        /// Its size in bytes.
        size: u64,
        /// The bytes that are there already.
        present: u64,
    },
    /// A part of a file was received.
    Received {
        /// The file, as a path inside the repository.
        file: &'a str,
        /// The size of the part.
        bytes: u64,
    },
    /// A file is complete, and its checksum is right.
    Finished {
        /// The file, as a path inside the repository.
        file: &'a str,
    },
    /// The checkpoint is being exported.
    Exporting,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_not_shown() {
        let shown = format!("{:?}", HubOptions::default().with_token("hf_secret"));
        assert!(
            !shown.contains("secret") && shown.contains("token: Some"),
            "{shown}"
        );
    }

    fn resolved(vars: &[(&str, &str)], options: &HubOptions) -> ResolvedOptions {
        let var = |name: &str| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        options.resolve_from(var, Some("/home/me".into())).unwrap()
    }

    fn cache(vars: &[(&str, &str)]) -> PathBuf {
        resolved(vars, &HubOptions::default()).cache
    }

    #[test]
    fn the_cache_is_where_the_hubs_tools_have_it() {
        assert_eq!(cache(&[]), PathBuf::from("/home/me/.cache/huggingface/hub"));
        let mut vars = vec![("XDG_CACHE_HOME", "/xdg")];
        assert_eq!(cache(&vars), PathBuf::from("/xdg/huggingface/hub"));
        vars.push(("HF_HOME", "/hf"));
        assert_eq!(cache(&vars), PathBuf::from("/hf/hub"));
        vars.push(("HF_HUB_CACHE", "/models"));
        assert_eq!(cache(&vars), PathBuf::from("/models"));
        let options = HubOptions::default().with_cache_dir("/here");
        assert_eq!(resolved(&vars, &options).cache, PathBuf::from("/here"));
        let homeless = HubOptions::default().resolve_from(|_| None, None);
        assert!(matches!(homeless, Err(Error::InvalidEnvironment { .. })));
    }

    #[test]
    fn tokens_come_from_options_variables_or_the_login_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        let home = dir.path().to_str().unwrap();
        let token = |vars: &[(&str, &str)]| resolved(vars, &HubOptions::default()).token;
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[("HF_HOME", home)]).unwrap(), "hf_file");
        assert_eq!(
            token(&[("HF_HOME", home), ("HF_TOKEN", "hf_var")]).unwrap(),
            "hf_var"
        );
        let disabled = [("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert_eq!(token(&disabled), None);
        let options = HubOptions::default().with_token("hf_given");
        assert_eq!(resolved(&disabled, &options).token.unwrap(), "hf_given");
    }

    #[test]
    fn offline_and_endpoint() {
        let by_env = |vars: &[(&str, &str)]| resolved(vars, &HubOptions::default());
        assert!(by_env(&[("HF_HUB_OFFLINE", "1")]).offline);
        assert!(by_env(&[("TRANSFORMERS_OFFLINE", "Yes")]).offline);
        assert!(!by_env(&[("HF_HUB_OFFLINE", "0")]).offline);
        let online = HubOptions::default().with_offline(false);
        assert!(!resolved(&[("HF_HUB_OFFLINE", "1")], &online).offline);
        let mirror = by_env(&[("HF_ENDPOINT", "http://mirror.example/")]);
        assert_eq!(mirror.endpoint.unwrap(), "http://mirror.example");
    }
}
