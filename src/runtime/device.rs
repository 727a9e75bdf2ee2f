//! The devices that graphs can run on.

use std::fmt;
use std::str::FromStr;

use ort::ep::{self, ExecutionProviderDispatch};

use crate::error::{Error, Result};

/// A device that a graph can run on: one of ONNX Runtime's execution providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
}

/// What is known of a device.
struct DeviceSpec {
    name: &'static str,
    /// Its execution provider, made so that a failure is an error, never a silent fall back to the processor.
    provider: fn() -> ExecutionProviderDispatch,
}

const CPU: DeviceSpec = DeviceSpec {
    name: "cpu",
    // Without the arena each tensor of each run is allocated anew; this provider's own default is without.
    provider: || {
        ep::CPU::default()
            .with_arena_allocator(true)
            .build()
            .error_on_failure()
    },
};

impl Device {
    /// Every device.
    pub const ALL: &[Device] = &[Device::Cpu];

    const fn spec(self) -> &'static DeviceSpec {
        match self {
            Device::Cpu => &CPU,
        }
    }

    /// The name on the command line: `cpu`.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    pub(super) fn provider(self) -> ExecutionProviderDispatch {
        (self.spec().provider)()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let mut all = Device::ALL.iter().copied();
        all.find(|device| device.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::InvalidOption {
                name: "device",
                reason: format!(
                    "there is no device {name:?}; the devices are {}",
                    names().join(", ")
                ),
            })
    }
}

fn names() -> Vec<&'static str> {
    Device::ALL.iter().map(|device| device.name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_whatever_their_case() {
        for &device in Device::ALL {
            assert_eq!(
                device.to_string().to_uppercase().parse::<Device>().unwrap(),
                device
            );
        }
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let error = "abacus".parse::<Device>().unwrap_err();
        assert!(matches!(error, Error::InvalidOption { name: "device", .. }));
        assert!(error.to_string().contains("cpu"), "{error}");
    }
}
