//! The options of execution providers: ours, and those that a user gives.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ort::ep::directml::{DeviceFilter, PerformancePreference};
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};

use super::{Device, DeviceKind};
use crate::error::{Error, Result};

/// A provider's options by name.
pub(super) type Options = BTreeMap<String, String>;

/// An option for an execution provider, in that provider's own words. It is read from
/// `tensorrt.trt_fp16_enable=1`: the [kind](DeviceKind) of device, the option's name, its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderOption {
    /// The kind of device whose provider it is for.
    pub kind: DeviceKind,
    /// The option's name.
    pub name: String,
    /// Its value.
    pub value: String,
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

impl ProviderOption {
    /// An option.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if name or value are empty or no text for ONNX Runtime, or the device has no options.
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
        Ok(Self { kind, name, value })
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

fn invalid(reason: String) -> Error {
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
        let folder = |shared: bool| {
            let root = cache?.root.join("providers").join(self.kind().name());
            Some(if shared { root } else { root.join(cache?.graph) })
        };
        let ours = spec.defaults.iter().filter_map(|&(name, default)| {
            let value = match default {
                Default::Is(value) => value.to_owned(),
                Default::WithCache(value) => cache.map(|_| value)?.to_owned(),
                Default::GraphCache => folder(false)?.to_str()?.to_owned(),
                Default::SharedCache => folder(true)?.to_str()?.to_owned(),
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

    /// The execution provider, made so that a failure is an error, never a silent fall back to the processor. Folders
    /// for its caches are made.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an option that is known not to be one.
    pub(crate) fn provider(
        self,
        given: &[ProviderOption],
        cache: Option<ProviderCache<'_>>,
    ) -> Result<ExecutionProviderDispatch> {
        let options = self.options(given, cache);
        let spec = self.kind().spec();
        for (name, default) in spec.defaults {
            if matches!(default, Default::GraphCache | Default::SharedCache)
                && let Some(folder) = options.get(*name).map(PathBuf::from)
            {
                std::fs::create_dir_all(&folder).map_err(Error::io(folder))?;
            }
        }
        let provider =
            (spec.make)(&options).map_err(|reason| invalid(format!("{}: {reason}", self.kind())))?;
        Ok(provider.error_on_failure())
    }
}

/// A provider that takes any options, and says itself which it does not know.
pub(super) fn arbitrary<P>(options: &Options) -> Result<ExecutionProviderDispatch, String>
where
    P: ArbitrarilyConfigurableExecutionProvider + std::default::Default + Into<ExecutionProviderDispatch>,
{
    Ok(configured::<P>(options).into())
}

fn configured<P>(options: &Options) -> P
where
    P: ArbitrarilyConfigurableExecutionProvider + std::default::Default,
{
    options.iter().fold(P::default(), |provider, (name, value)| {
        provider.with_arbitrary_config(name, value)
    })
}

pub(super) fn cpu(_: &Options) -> Result<ExecutionProviderDispatch, String> {
    // Without the arena each tensor of each run is allocated anew; `ort`'s own default is without.
    Ok(ep::CPU::default().with_arena_allocator(true).build())
}

/// DirectML's provider takes its options as a structure, either an index or a way to choose.
pub(super) fn direct_ml(options: &Options) -> Result<ExecutionProviderDispatch, String> {
    let provider = options
        .iter()
        .try_fold(ep::DirectML::default(), |provider, (name, value)| {
            Ok(match (name.as_str(), value.as_str()) {
                ("device_id", index) => provider.with_device_id(number(name, index)?),
                ("performance_preference", "default") => {
                    provider.with_performance_preference(PerformancePreference::Default)
                }
                ("performance_preference", "high_performance") => {
                    provider.with_performance_preference(PerformancePreference::HighPerformance)
                }
                ("performance_preference", "minimum_power") => {
                    provider.with_performance_preference(PerformancePreference::MinimumPower)
                }
                ("device_filter", "gpu") => provider.with_device_filter(DeviceFilter::Gpu),
                ("device_filter", "npu") => provider.with_device_filter(DeviceFilter::Npu),
                ("device_filter", "any") => provider.with_device_filter(DeviceFilter::Any),
                _ => {
                    return Err(format!(
                        "{name}={value} is none of its options: device_id, \
                     performance_preference=default|high_performance|minimum_power, device_filter=gpu|npu|any"
                    ));
                }
            })
        })?;
    Ok(provider.build())
}

/// MIGraphX's provider takes its options as a structure.
pub(super) fn migraphx(options: &Options) -> Result<ExecutionProviderDispatch, String> {
    let flag = |name: &str, value: &str| number::<u8>(name, value).map(|flag| flag != 0);
    let provider = options
        .iter()
        .try_fold(ep::MIGraphX::default(), |provider, (name, value)| {
            Ok(match name.as_str() {
                "device_id" => provider.with_device_id(number(name, value)?),
                "migraphx_fp16_enable" => provider.with_fp16(flag(name, value)?),
                "migraphx_fp8_enable" => provider.with_fp8(flag(name, value)?),
                "migraphx_int8_enable" => provider.with_int8(flag(name, value)?),
                "migraphx_exhaustive_tune" => provider.with_exhaustive_tune(flag(name, value)?),
                "migraphx_mem_limit" => provider.with_mem_limit(number(name, value)?),
                "migraphx_save_model_path" => provider.with_save_model(value),
                "migraphx_load_model_path" => provider.with_load_model(value),
                _ => {
                    return Err(format!(
                        "{name} is none of its options: device_id, migraphx_fp16_enable, migraphx_fp8_enable, \
                     migraphx_int8_enable, migraphx_exhaustive_tune, migraphx_mem_limit, migraphx_save_model_path, \
                     migraphx_load_model_path"
                    ));
                }
            })
        })?;
    Ok(provider.build())
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name}={value} is not the number that it must be"))
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

    #[test]
    fn folders_are_made_where_options_name_them() {
        let root = tempfile::tempdir().unwrap();
        let cache = ProviderCache {
            root: root.path(),
            graph: "1",
        };
        device("tensorrt").provider(&[], Some(cache)).unwrap();
        assert!(root.path().join("providers/tensorrt/1").is_dir());
        let own = root.path().join("own");
        let own = ProviderOption::new(DeviceKind::CoreMl, "ModelCacheDirectory", own.to_str().unwrap());
        device("coreml").provider(&[own.unwrap()], Some(cache)).unwrap();
        assert!(root.path().join("own").is_dir() && !root.path().join("providers/coreml").exists());
    }

    /// What `ort` hands to ONNX Runtime is what was given.
    #[test]
    fn options_reach_the_provider() {
        let options = device("cuda:1").options(&given(&["cuda.gpu_mem_limit=1000"]), None);
        let provider = format!("{:?}", configured::<ep::CUDA>(&options));
        for text in [
            "use_tf32",
            "device_id",
            "gpu_mem_limit",
            "\"1000\"",
            "\"HEURISTIC\"",
        ] {
            assert!(provider.contains(text), "{text}: {provider}");
        }
        for &kind in DeviceKind::ALL {
            let provider = Device::new(kind).provider(&[], None).unwrap();
            assert_eq!(provider.name(), kind.provider());
        }
    }

    #[test]
    fn options_that_go_into_a_structure_are_checked() {
        for (text, good) in [
            ("directml.device_filter=npu", true),
            ("directml.performance_preference=minimum_power", true),
            ("directml.device_id=1", true),
            ("directml.device_id=first", false),
            ("directml.colour=red", false),
            ("migraphx.migraphx_fp16_enable=1", true),
            ("migraphx.migraphx_fp16_enable=yes", false),
            ("migraphx.colour=red", false),
        ] {
            let option: ProviderOption = text.parse().unwrap();
            let made = Device::new(option.kind).provider(&[option], None).map(drop);
            match made {
                Ok(()) => assert!(good, "{text}"),
                Err(error) => {
                    assert!(matches!(
                        error,
                        Error::InvalidOption {
                            name: "ep-option",
                            ..
                        }
                    ));
                    assert!(
                        !good
                            && error.to_string().contains("directml")
                                | error.to_string().contains("migraphx"),
                        "{text}: {error}"
                    );
                }
            }
        }
    }
}
