//! Execution providers with their options, registered with sessions.

use std::path::Path;

use ort::ep::ExecutionProviderDispatch;
use ort::session::builder::SessionBuilder;

use super::options::invalid;
use super::usable::joined;
use super::{Device, ProviderOption};
use crate::error::{Error, Result};
use crate::runtime::{CheckedGraph, RuntimeInfo, log, provider_cache};

impl Device {
    /// Returns the execution provider. If it fails, building the session fails, without a silent fallback to the CPU.
    /// Creates the folders of the provider's cache, by default in `cache`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an option that is known to be invalid; [`Error::DeviceUnusable`] if this crate is built
    /// without the provider.
    pub(super) fn provider(
        self,
        given: &[ProviderOption],
        cache: Option<&Path>,
    ) -> Result<ExecutionProviderDispatch> {
        let spec = self.kind().spec();
        let binding = spec.binding.as_ref().ok_or_else(|| self.not_compiled_in())?;
        let values = self.options(given, cache);
        let folders = spec.cache.iter().filter(|(_, value)| value.is_none());
        for folder in folders.filter_map(|(name, _)| values.get(*name)) {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let provider =
            (binding.make)(&values).map_err(|reason| invalid(format!("{}: {reason}", self.kind())))?;
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

#[cfg(test)]
#[cfg(feature = "load-dynamic")]
mod tests {
    use ort::ep;

    use super::super::binding::configured;
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
