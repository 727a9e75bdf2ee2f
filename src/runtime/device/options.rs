//! Options of execution providers: this crate's defaults and the user's.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::{Device, DeviceKind};
use crate::error::{Error, Result};

/// A provider's options by name.
pub(super) type Options = BTreeMap<String, String>;

/// An option for an execution provider, with the provider's own name and values. Parsed from `tensorrt.trt_fp16_enable=1`:
/// the [kind](DeviceKind) of device, the name, the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderOption {
    kind: DeviceKind,
    name: String,
    value: String,
}

impl ProviderOption {
    /// Creates an option.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if `name` or `value` is empty or contains a NUL, if the device has no options, or if
    /// the option captures and replays runs (CUDA graphs), which would give wrong answers.
    pub fn new(kind: DeviceKind, name: impl Into<String>, value: impl Into<String>) -> Result<Self> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || value.is_empty() || name.contains('\0') || value.contains('\0') {
            return Err(invalid(format!(
                "{kind}.{name}={value} is not of the form DEVICE.OPTION=VALUE"
            )));
        }
        if kind == DeviceKind::Cpu {
            return Err(invalid("the CPU's provider has no options".into()));
        }
        let is_off = ["0", "false"].iter().any(|off| value.eq_ignore_ascii_case(off));
        if kind.spec().captures_runs == Some(name.as_str()) && !is_off {
            // The provider would not report an error, but replay the captured run on that run's tensors.
            return Err(invalid(format!(
                "{kind}.{name}: a captured run requires the same tensor shapes and addresses in every run, which most graphs \
                 do not have: answers would be wrong. Leave the option out"
            )));
        }
        Ok(Self { kind, name, value })
    }

    /// Returns the kind of device whose provider the option is for.
    pub const fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// Returns the option's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the option's value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Formats the option as it is parsed.
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
        name: "provider option",
        reason,
    }
}

impl Device {
    /// Returns the options for the device's provider: this crate's defaults, the cache's options, the device index,
    /// then `given`. A later value replaces an earlier one of the same name. `cache` is the folder for compiled
    /// graphs.
    pub(super) fn options(self, given: &[ProviderOption], cache: Option<&Path>) -> Options {
        let spec = self.kind().spec();
        let defaults = spec
            .defaults
            .iter()
            .map(|&(name, value)| (name, value.to_owned()));
        let cache = cache.and_then(Path::to_str).into_iter().flat_map(|folder| {
            let options = spec.cache.iter();
            options.map(move |&(name, value)| (name, value.unwrap_or(folder).to_owned()))
        });
        let index = spec.index.zip(self.index());
        let index = index.map(|(name, index)| (name, index.to_string()));
        let given = given.iter().filter(|option| option.kind == self.kind());
        let given = given.map(|option| (option.name.as_str(), option.value.clone()));
        let all = defaults.chain(cache).chain(index).chain(given);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
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
        // The value may contain any characters.
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
                        name: "provider option",
                        ..
                    }
                ),
                "{text}"
            );
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn given_options_override_ours_and_the_last_counts() {
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
    fn compiled_graphs_are_cached_in_the_given_folder() {
        let options = |device: &str| self::device(device).options(&[], Some(Path::new("/cache/key")));
        let tensorrt = options("tensorrt");
        assert_eq!(tensorrt["trt_engine_cache_path"], "/cache/key");
        assert_eq!(tensorrt["trt_timing_cache_path"], "/cache/key");
        assert_eq!(tensorrt["trt_engine_cache_enable"], "1");
        let core_ml = options("coreml");
        assert_eq!(core_ml["ModelFormat"], "MLProgram");
        assert_eq!(core_ml["ModelCacheDirectory"], "/cache/key");
        // Without a folder, nothing is cached.
        assert_eq!(device("tensorrt").options(&[], None), Options::new());
        assert!(
            !device("coreml")
                .options(&[], None)
                .contains_key("ModelCacheDirectory")
        );
    }
}
