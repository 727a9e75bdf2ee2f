//! The options of execution providers: ours, and those that a user gives.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Device, DeviceKind};
use crate::cache::PROVIDERS;
use crate::error::{Error, Result};

/// A provider's options by name.
pub(super) type Options = BTreeMap<String, String>;

/// An option for an execution provider, in that provider's own words. It is read from
/// `tensorrt.trt_fp16_enable=1`: the [kind](DeviceKind) of device, the option's name, its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderOption {
    kind: DeviceKind,
    name: String,
    value: String,
}

/// An option's value where the user gives none.
#[derive(Debug, Clone, Copy)]
pub(super) enum Default {
    /// This.
    Is(&'static str),
    /// This, if there is a place for caches.
    WithCache(&'static str),
    /// A folder for what is made of this graph, and of no other.
    GraphCache,
    /// A folder for what serves any graph.
    SharedCache,
}

/// Where a provider may keep what it makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProviderCache<'a> {
    /// Our cache folder.
    pub(crate) root: &'a Path,
    /// What tells the graph from all others. Providers tell graphs apart by their nodes' names, which are the same in
    /// every fine-tune: they would take one's engine, weights and all, for another's.
    pub(crate) graph: &'a str,
}

impl ProviderCache<'_> {
    /// The folder of what a provider keeps for any graph.
    pub(crate) fn shared_folder(self, kind: DeviceKind) -> PathBuf {
        self.folder(kind).join("shared")
    }

    /// The folder of what a provider makes of this graph.
    pub(crate) fn graph_folder(self, kind: DeviceKind) -> PathBuf {
        self.folder(kind).join(self.graph)
    }

    fn folder(self, kind: DeviceKind) -> PathBuf {
        self.root.join(PROVIDERS).join(kind.name())
    }
}

impl ProviderOption {
    /// An option.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if name or value are empty or no text for ONNX Runtime, the device has no options, or
    /// this one (CUDA graphs) would make answers wrong.
    pub fn new(kind: DeviceKind, name: impl Into<String>, value: impl Into<String>) -> Result<Self> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || value.is_empty() || name.contains('\0') || value.contains('\0') {
            return Err(invalid(format!(
                "{kind}.{name}={value} is not of the form DEVICE.OPTION=VALUE"
            )));
        }
        if kind == DeviceKind::Cpu {
            return Err(invalid("the processor's provider has no options".into()));
        }
        let is_off = ["0", "false"].iter().any(|off| value.eq_ignore_ascii_case(off));
        if kind.spec().captures_runs == Some(name.as_str()) && !is_off {
            // The provider would not say so: it does what it recorded, with the tensors of the run that it recorded.
            return Err(invalid(format!(
                "{kind}.{name}: a recorded run is for tensors of the same sizes in the same places, which most graphs' are \
                 not, so that answers would be wrong; leave it out"
            )));
        }
        Ok(Self { kind, name, value })
    }

    /// The kind of device whose provider it is for.
    pub const fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// The option's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// As it is read.
impl fmt::Display for ProviderOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}={}", self.kind, self.name, self.value)
    }
}

impl FromStr for ProviderOption {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('=').and_then(|(option, value)| {
            let (kind, name) = option.split_once('.')?;
            Some((kind, name.trim(), value.trim()))
        });
        let Some((kind, name, value)) = parts else {
            return Err(invalid(format!(
                "{text:?} is not of the form DEVICE.OPTION=VALUE, as tensorrt.trt_fp16_enable=1"
            )));
        };
        let kind: DeviceKind = kind.parse().map_err(|error| match error {
            Error::InvalidOption { reason, .. } => invalid(reason),
            other => other,
        })?;
        Self::new(kind, name, value)
    }
}

pub(super) fn invalid(reason: String) -> Error {
    Error::InvalidOption {
        name: "ep-option",
        reason,
    }
}

impl Device {
    /// The options that the device's provider gets: ours, the index, and those given; of several with one name the last
    /// counts. Ours for caches are left out where there is no place for them.
    pub(super) fn options(self, given: &[ProviderOption], cache: Option<ProviderCache<'_>>) -> Options {
        let spec = self.kind().spec();
        let ours = spec.defaults.iter().filter_map(|&(name, default)| {
            let value = match default {
                Default::Is(value) => value.to_owned(),
                Default::WithCache(value) => cache.map(|_| value)?.to_owned(),
                Default::GraphCache => cache?.graph_folder(self.kind()).to_str()?.to_owned(),
                Default::SharedCache => cache?.shared_folder(self.kind()).to_str()?.to_owned(),
            };
            Some((name.to_owned(), value))
        });
        let index = spec.index.zip(self.index());
        let index = index.map(|(name, index)| (name.to_owned(), index.to_string()));
        let given = given.iter().filter(|option| option.kind == self.kind());
        let given = given.map(|option| (option.name.clone(), option.value.clone()));
        ours.chain(index).chain(given).collect()
    }

    /// Whether its provider keeps what it makes of a graph.
    pub(crate) fn caches(self) -> bool {
        let defaults = self.kind().spec().defaults;
        defaults
            .iter()
            .any(|(_, default)| matches!(default, Default::GraphCache))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(texts: &[&str]) -> Vec<ProviderOption> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn device(text: &str) -> Device {
        text.parse().unwrap()
    }

    #[test]
    fn options_are_read() {
        let option: ProviderOption = "TensorRT.trt_fp16_enable=1".parse().unwrap();
        assert_eq!(option.kind, DeviceKind::TensorRt);
        assert_eq!(
            (option.name.as_str(), option.value.as_str()),
            ("trt_fp16_enable", "1")
        );
        assert!("cuda.enable_cuda_graph=0".parse::<ProviderOption>().is_ok());
        // The value may have anything in it.
        let option: ProviderOption = "openvino.load_config={\"a.b\": \"c=d\"}".parse().unwrap();
        assert_eq!(option.value, "{\"a.b\": \"c=d\"}");
        assert_eq!(option.to_string().parse::<ProviderOption>().unwrap(), option);
        for (text, named) in [
            ("trt_fp16_enable=1", "DEVICE.OPTION=VALUE"),
            ("tensorrt.trt_fp16_enable", "DEVICE.OPTION=VALUE"),
            ("cuda.=1", "DEVICE.OPTION=VALUE"),
            ("cuda.use_tf32=", "DEVICE.OPTION=VALUE"),
            ("cuda.use\0tf32=1", "DEVICE.OPTION=VALUE"),
            ("abacus.beads=10", "directml"),
            ("cpu.arena=1", "no options"),
            ("cuda.enable_cuda_graph=1", "answers would be wrong"),
            ("tensorrt.trt_cuda_graph_enable=True", "answers would be wrong"),
            ("webgpu.enableGraphCapture=1", "answers would be wrong"),
        ] {
            let error = text.parse::<ProviderOption>().unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::InvalidOption {
                        name: "ep-option",
                        ..
                    }
                ),
                "{text}"
            );
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn given_options_win_over_ours_and_the_last_wins() {
        let given = given(&[
            "cuda.use_tf32=1",
            "tensorrt.x=y",
            "cuda.gpu_mem_limit=1",
            "cuda.gpu_mem_limit=2",
        ]);
        let options = device("cuda:1").options(&given, None);
        let expected = [
            ("arena_extend_strategy", "kSameAsRequested"),
            ("cudnn_conv_algo_search", "HEURISTIC"),
            ("device_id", "1"),
            ("gpu_mem_limit", "2"),
            ("use_tf32", "1"),
        ];
        assert_eq!(
            options,
            expected.map(|(name, value)| (name.into(), value.into())).into()
        );
    }

    #[test]
    fn what_is_made_of_a_graph_is_kept_apart_from_what_is_made_of_others() {
        let root = tempfile::tempdir().unwrap();
        let options = |device: &str, graph| {
            let cache = ProviderCache {
                root: root.path(),
                graph,
            };
            self::device(device).options(&[], Some(cache))
        };
        let (one, two) = (options("tensorrt", "1"), options("tensorrt", "2"));
        assert_ne!(one["trt_engine_cache_path"], two["trt_engine_cache_path"]);
        assert_eq!(one["trt_timing_cache_path"], two["trt_timing_cache_path"]);
        assert_eq!(one["trt_engine_cache_enable"], "1");
        assert!(Path::new(&one["trt_engine_cache_path"]).starts_with(root.path()));
        let core_ml = options("coreml", "1");
        assert_eq!(core_ml["ModelFormat"], "MLProgram");
        assert!(core_ml["ModelCacheDirectory"].contains("coreml"));
        // Without a place for them, there are none.
        assert_eq!(device("tensorrt").options(&[], None), Options::new());
        assert!(
            !device("coreml")
                .options(&[], None)
                .contains_key("ModelCacheDirectory")
        );
    }
}
