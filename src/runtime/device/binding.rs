//! The providers that this crate is compiled with, by `ort`'s types for them.
#![cfg_attr(not(feature = "load-dynamic"), allow(dead_code))] // which of it is used depends on the providers' features

use std::str::FromStr;

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};

use super::options::Options;

/// The functions of a provider.
pub(super) struct Binding {
    /// Returns `true` if the library in use has the provider.
    pub(super) is_in_library: fn() -> ort::Result<bool>,
    /// Builds the provider from its options; the error is the reason why an option is invalid.
    pub(super) make: fn(&Options) -> Result<ExecutionProviderDispatch, String>,
}

impl Binding {
    /// ONNX Runtime's own kernels.
    pub(super) const CPU: Binding = Binding {
        is_in_library: || Ok(true),
        make: cpu,
    };
}

/// Expands to `Some(Binding)` of a type of `ort` if the crate's feature is on, else to `None`. The third argument is the name
/// of the function in this module that builds the provider, by default [`arbitrary`].
macro_rules! binding {
    ($feature:literal, ep::$provider:ident) => {
        binding!($feature, ep::$provider, arbitrary::<ort::ep::$provider>)
    };
    ($feature:literal, ep::$provider:ident, $($make:tt)+) => {{
        #[cfg(feature = $feature)]
        let binding = Some(Binding {
            is_in_library: <ort::ep::$provider as ort::ep::ExecutionProvider>::is_available,
            make: super::binding::$($make)+,
        });
        #[cfg(not(feature = $feature))]
        let binding = None;
        binding
    }};
}
pub(super) use binding;

/// Makes a provider that takes any options and reports those it does not know.
pub(super) fn arbitrary<P>(options: &Options) -> Result<ExecutionProviderDispatch, String>
where
    P: ArbitrarilyConfigurableExecutionProvider + Default + Into<ExecutionProviderDispatch>,
{
    Ok(configured::<P>(options).into())
}

pub(super) fn configured<P>(options: &Options) -> P
where
    P: ArbitrarilyConfigurableExecutionProvider + Default,
{
    options.iter().fold(P::default(), |provider, (name, value)| {
        provider.with_arbitrary_config(name, value)
    })
}

fn cpu(_: &Options) -> Result<ExecutionProviderDispatch, String> {
    // Without the arena, `ort`'s default, each run allocates its tensors anew.
    Ok(ep::CPU::default().with_arena_allocator(true).build())
}

/// Makes DirectML's provider, which takes its options as a structure: either an index, or how to select a device.
#[cfg(feature = "directml")]
pub(super) fn direct_ml(options: &Options) -> Result<ExecutionProviderDispatch, String> {
    use ort::ep::directml::{DeviceFilter, PerformancePreference};

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
#[cfg(feature = "migraphx")]
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
