//! How models are fetched.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How models are fetched from a hub. What is not set is as the hub's own tools have it, by their environment variables.
#[derive(Clone)]
#[non_exhaustive]
pub struct HubOptions {
    /// The cache; `None`: `HF_HUB_CACHE`, or `hub` in `HF_HOME` (`~/.cache/huggingface`).
    pub cache_dir: Option<PathBuf>,
    /// The hub's address; `None`: `HF_ENDPOINT`, or the public hub.
    pub endpoint: Option<String>,
    /// The access token; `None`: `HF_TOKEN`, or the file that the hub's login command writes.
    pub token: Option<String>,
    /// Whether to keep off the network and use what is cached; `None`: by `HF_HUB_OFFLINE`.
    pub offline: Option<bool>,
    /// The folder in which exports of safetensors are kept; `None`: [`cache_dir`](crate::cache_dir).
    pub export_dir: Option<PathBuf>,
    /// How many files are fetched at a time.
    pub connections: usize,
    /// How often in a row a transfer that got nothing is tried again.
    pub retries: u32,
    /// The wait before the first retry; it doubles with each further one.
    pub retry_delay: Duration,
    /// How long nothing may arrive before a transfer counts as cut off.
    pub stall: Duration,
    /// Is told what is being done.
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
            connections: 4,
            retries: 5,
            retry_delay: Duration::from_millis(500),
            stall: Duration::from_secs(30),
            progress: None,
        }
    }
}

impl HubOptions {
    /// Sets [`cache_dir`](Self::cache_dir).
    #[must_use]
    pub fn with_cache_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(dir.into());
        self
    }

    /// Sets [`endpoint`](Self::endpoint).
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets [`token`](Self::token).
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets [`offline`](Self::offline).
    #[must_use]
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.offline = Some(offline);
        self
    }

    /// Sets [`export_dir`](Self::export_dir).
    #[must_use]
    pub fn with_export_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.export_dir = Some(dir.into());
        self
    }

    /// Sets [`progress`](Self::progress).
    #[must_use]
    pub fn with_progress(mut self, progress: impl Fn(HubProgress<'_>) + Send + Sync + 'static) -> Self {
        self.progress = Some(ProgressFn(Arc::new(progress)));
        self
    }

    pub(super) fn report(&self, progress: HubProgress<'_>) {
        if let Some(ProgressFn(report)) = &self.progress {
            report(progress);
        }
    }
}

/// All but the token itself.
impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("cache_dir", &self.cache_dir)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("offline", &self.offline)
            .field("export_dir", &self.export_dir)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// What is told of the progress; it is called from several threads.
#[derive(Clone)]
pub struct ProgressFn(Arc<dyn Fn(HubProgress<'_>) + Send + Sync>);

impl fmt::Debug for ProgressFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressFn")
    }
}

/// What is being done to get a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubProgress<'a> {
    /// Files are to be fetched.
    Planned {
        /// How many.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// Another process is fetching a file; this one waits for it.
    Waiting {
        /// The file, as a path inside the repository.
        file: &'a str,
    },
    /// A file's transfer begins, or goes on where an earlier one was cut off.
    Started {
        /// The file, as a path inside the repository.
        file: &'a str,
        /// Its bytes.
        size: u64,
        /// How many of them are there already.
        present: u64,
    },
    /// More of a file has arrived.
    Received {
        /// The file, as a path inside the repository.
        file: &'a str,
        /// How many bytes more.
        bytes: u64,
    },
    /// A file is whole, and is what the hub lists.
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
}
