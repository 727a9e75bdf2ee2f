//! What options leave open, as the hub's own tools settle it: by their environment variables.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use super::options::HubOptions;
use crate::error::{Error, Result};

/// Settled options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The hub's cache.
    pub(super) cache: PathBuf,
    /// `None` for the public hub.
    pub(super) endpoint: Option<String>,
    pub(super) token: Option<String>,
    pub(super) offline: bool,
}

impl Settings {
    pub(super) fn new(options: &HubOptions) -> Result<Self> {
        Self::from_env(options, |name| std::env::var_os(name), std::env::home_dir())
    }

    fn from_env(
        options: &HubOptions,
        var: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Result<Self> {
        let var = |name| var(name).filter(|value| !value.is_empty());
        let text = |name| var(name).and_then(|value| value.into_string().ok());
        let path = |name| var(name).map(PathBuf::from);
        let is_set = |name| text(name).is_some_and(|value| is_true(&value));

        let hub_home = path("HF_HOME").or_else(|| {
            let caches = path("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")));
            Some(caches?.join("huggingface"))
        });
        let cache = options
            .cache_dir
            .clone()
            .or_else(|| path("HF_HUB_CACHE"))
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hub_home.as_ref()?.join("hub")))
            .ok_or_else(|| Error::InvalidOption {
                name: "cache_dir",
                reason: "there is no home folder to keep models in; set HF_HOME to a folder".into(),
            })?;
        let token_file = || {
            let file = path("HF_TOKEN_PATH").or_else(|| Some(hub_home?.join("token")))?;
            fs::read_to_string(file).ok()
        };
        let implicit_token = || {
            let named = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
            match is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
                true => None,
                false => named.or_else(token_file),
            }
        };
        let token = options.token.clone().or_else(implicit_token);
        let endpoint = options.endpoint.clone().or_else(|| text("HF_ENDPOINT"));
        Ok(Self {
            cache,
            endpoint: endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            offline: options
                .offline
                .unwrap_or_else(|| is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE")),
        })
    }
}

/// What the hub's own tools take for yes.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(vars: &[(&str, &str)], options: &HubOptions) -> Settings {
        let var = |name: &str| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Settings::from_env(options, var, Some("/home/me".into())).unwrap()
    }

    fn cache(vars: &[(&str, &str)]) -> PathBuf {
        settings(vars, &HubOptions::default()).cache
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
        assert_eq!(settings(&vars, &options).cache, PathBuf::from("/here"));
        let homeless = Settings::from_env(&HubOptions::default(), |_| None, None);
        assert!(matches!(homeless, Err(Error::InvalidOption { .. })));
    }

    #[test]
    fn tokens_come_from_options_variables_or_the_login_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        let home = dir.path().to_str().unwrap();
        let token = |vars: &[(&str, &str)]| settings(vars, &HubOptions::default()).token;
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[("HF_HOME", home)]).unwrap(), "hf_file");
        assert_eq!(
            token(&[("HF_HOME", home), ("HF_TOKEN", "hf_var")]).unwrap(),
            "hf_var"
        );
        let disabled = [("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert_eq!(token(&disabled), None);
        let options = HubOptions::default().with_token("hf_given");
        assert_eq!(settings(&disabled, &options).token.unwrap(), "hf_given");
    }

    #[test]
    fn offline_and_endpoint() {
        let by_env = |vars: &[(&str, &str)]| settings(vars, &HubOptions::default());
        assert!(by_env(&[("HF_HUB_OFFLINE", "1")]).offline);
        assert!(by_env(&[("TRANSFORMERS_OFFLINE", "Yes")]).offline);
        assert!(!by_env(&[("HF_HUB_OFFLINE", "0")]).offline);
        let online = HubOptions::default().with_offline(false);
        assert!(!settings(&[("HF_HUB_OFFLINE", "1")], &online).offline);
        let mirror = by_env(&[("HF_ENDPOINT", "http://mirror.example/")]);
        assert_eq!(mirror.endpoint.unwrap(), "http://mirror.example");
    }
}
