//! Execution providers with their options, registered with sessions.

use std::path::Path;
use std::str::FromStr;

use ort::ep::directml::{DeviceFilter, PerformancePreference};
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;

use super::options::{Options, invalid};
use super::usable::joined;
use super::{Device, ProviderOption};
use crate::error::{Error, Result};
use crate::runtime::{CheckedGraph, RuntimeInfo, log, provider_cache};

impl Device {
    /// Returns the execution provider. If it fails, building the session fails, without a silent fallback to the CPU.
    /// Creates the folders of the provider's cache, by default in `cache`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an option that is known to be invalid.
    pub(super) fn provider(
        self,
        given: &[ProviderOption],
        cache: Option<&Path>,
    ) -> Result<ExecutionProviderDispatch> {
        let values = self.options(given, cache);
        let spec = self.kind().spec();
        let folders = spec.cache.iter().filter(|(_, value)| value.is_none());
        for folder in folders.filter_map(|(name, _)| values.get(*name)) {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let provider =
            (spec.make)(&values).map_err(|reason| invalid(format!("{}: {reason}", self.kind())))?;
        Ok(provider.error_on_failure())
    }
}

/// Registers the devices' providers with a session, in their order. `options` replace this crate's defaults;
/// providers may cache the compiled `graph`.
///
/// # Errors
/// [`Error::DeviceUnusable`] if a device cannot be used; [`Error::InvalidOption`] if it can, but not with these options.
pub(crate) fn register(
    mut builder: SessionBuilder,
    runtime: &RuntimeInfo,
    graph: Option<&CheckedGraph>,
    devices: &[Device],
    options: &[ProviderOption],
) -> Result<SessionBuilder> {
    for &device in devices {
        device.check_in_library()?;
        let cached = graph.filter(|_| !device.kind().spec().cache.is_empty());
        let folder = cached.and_then(|graph| provider_cache::folder(graph, device, options, &runtime.build));
        let provider = device.provider(options, folder.as_deref())?;
        if let (Some(graph), Some(folder)) = (cached, &folder) {
            provider_cache::describe(folder, graph.source())?;
        }
        let register =
            || -> ort::Result<SessionBuilder> { Ok(builder.with_execution_providers([provider])?) };
        let (registered, logged) = log::keeping_errors(register);
        builder = match registered {
            Ok(builder) => builder,
            Err(error) => {
                device.usable()?;
                return Err(invalid(format!(
                    "{device} rejects its options: {}",
                    joined(error.message(), &logged)
                )));
            }
        };
    }
    Ok(builder)
}

/// Makes a provider that takes any options and reports those it does not know.
pub(super) fn arbitrary<P>(options: &Options) -> Result<ExecutionProviderDispatch, String>
where
    P: ArbitrarilyConfigurableExecutionProvider + Default + Into<ExecutionProviderDispatch>,
{
    Ok(configured::<P>(options).into())
}

fn configured<P>(options: &Options) -> P
where
    P: ArbitrarilyConfigurableExecutionProvider + Default,
{
    options.iter().fold(P::default(), |provider, (name, value)| {
        provider.with_arbitrary_config(name, value)
    })
}

pub(super) fn cpu(_: &Options) -> Result<ExecutionProviderDispatch, String> {
    // Without the arena, `ort`'s default, each run allocates its tensors anew.
    Ok(ep::CPU::default().with_arena_allocator(true).build())
}

/// Makes DirectML's provider, which takes its options as a structure: either an index, or how to select a device.
pub(super) fn direct_ml(options: &Options) -> Result<ExecutionProviderDispatch, String> {
    if options.contains_key("device_id") && options.len() > 1 {
        return Err("device_id cannot be combined with the other options, which also select a device".into());
    }
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
                        "{name}={value} is not one of its options: device_id, \
                     performance_preference=default|high_performance|minimum_power, device_filter=gpu|npu|any"
                    ));
                }
            })
        })?;
    Ok(provider.build())
}

/// Makes MIGraphX's provider, which takes its options as a structure.
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
                        "{name} is not one of its options: device_id, migraphx_fp16_enable, migraphx_fp8_enable, \
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
        .map_err(|_| format!("{name}={value} is not a number in range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::DeviceKind;

    fn device(text: &str) -> Device {
        text.parse().unwrap()
    }

    #[test]
    fn folders_are_made_where_options_name_them() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("providers/key");
        let cache = Some(folder.as_path());
        device("tensorrt").provider(&[], cache).unwrap();
        assert!(folder.is_dir());
        std::fs::remove_dir(&folder).unwrap();
        let own = root.path().join("own");
        let own = ProviderOption::new(DeviceKind::CoreMl, "ModelCacheDirectory", own.to_str().unwrap());
        device("coreml").provider(&[own.unwrap()], cache).unwrap();
        assert!(root.path().join("own").is_dir() && !folder.exists());
    }

    /// `ort` passes the given options to ONNX Runtime.
    #[test]
    fn options_reach_the_provider() {
        let options = device("cuda:1").options(&["cuda.gpu_mem_limit=1000".parse().unwrap()], None);
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
        for name in DeviceKind::TensorRt.spec().shapes.unwrap() {
            let given = ProviderOption::new(DeviceKind::TensorRt, name, "input_ids:1x12").unwrap();
            let options = device("tensorrt").options(&[given], None);
            let provider = format!("{:?}", configured::<ep::TensorRT>(&options));
            assert!(
                provider.contains(name) && provider.contains("\"input_ids:1x12\""),
                "{provider}"
            );
        }
        for &kind in DeviceKind::ALL {
            let provider = Device::new(kind).provider(&[], None).unwrap();
            assert_eq!(provider.name(), kind.provider());
        }
    }

    #[test]
    fn options_in_structures_are_checked() {
        for (text, good) in [
            ("directml.device_filter=npu", true),
            ("directml.performance_preference=minimum_power", true),
            ("directml.device_id=1", true),
            ("directml.device_id=first", false),
            ("directml.device_id=1 directml.device_filter=npu", false),
            ("directml.colour=red", false),
            ("migraphx.migraphx_fp16_enable=1", true),
            ("migraphx.migraphx_fp16_enable=yes", false),
            ("migraphx.colour=red", false),
        ] {
            let options: Vec<ProviderOption> =
                text.split(' ').map(|option| option.parse().unwrap()).collect();
            let made = Device::new(options[0].kind()).provider(&options, None).map(drop);
            match made {
                Ok(()) => assert!(good, "{text}"),
                Err(error) => {
                    assert!(matches!(
                        error,
                        Error::InvalidOption {
                            name: "provider option",
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
