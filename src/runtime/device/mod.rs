//! The devices that graphs can run on: ONNX Runtime's execution providers, with an index for those that have several.

mod binding;
mod dispatch;
mod kind;
mod list;
mod memory;
mod options;
mod provider;
mod usable;

use std::fmt;
use std::str::FromStr;

pub use dispatch::ExecutionProviders;
pub use list::Devices;
pub(crate) use memory::DeviceMemory;
pub use options::ProviderOption;
pub(crate) use provider::register;

pub use crate::device::{Device, DeviceKind, DeviceProblem};
use crate::error::{Error, Result};

impl Device {
    /// The CPU.
    pub const CPU: Device = Device {
        kind: DeviceKind::Cpu,
        index: None,
    };

    /// Returns the provider's default device of this kind, usually the first.
    pub const fn new(kind: DeviceKind) -> Self {
        Self { kind, index: None }
    }

    /// Returns the device of this kind with this index, counted from 0.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if devices of this kind have no index.
    pub fn with_index(kind: DeviceKind, index: u32) -> Result<Self> {
        match kind.spec().index {
            Some(_) => Ok(Self {
                kind,
                index: Some(index),
            }),
            None => Err(invalid(format!("{kind} takes no index"))),
        }
    }

    /// Returns the kind of device.
    pub const fn kind(self) -> DeviceKind {
        self.kind
    }

    /// Returns the index among the devices of its kind, counted from 0; `None` for the default one.
    pub const fn index(self) -> Option<u32> {
        self.index
    }

    /// Returns `true` for the CPU with ONNX Runtime's own kernels.
    pub fn is_cpu(self) -> bool {
        self.kind == DeviceKind::Cpu
    }
}

impl From<DeviceKind> for Device {
    fn from(kind: DeviceKind) -> Self {
        Self::new(kind)
    }
}

/// Formats the device as it is parsed: `cuda:0`.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}:{index}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None => Ok(Self::new(text.parse()?)),
            Some((kind, index)) => {
                let number = index.trim().parse();
                let number =
                    number.map_err(|_| invalid(format!("{index:?} is not an index such as 0 or 1")))?;
                Self::with_index(kind.parse()?, number)
            }
        }
    }
}

fn invalid(reason: String) -> Error {
    Error::InvalidOption {
        name: "device",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_printed() {
        for &kind in DeviceKind::ALL {
            let device = Device::new(kind);
            let text = device.to_string();
            assert_eq!(text.to_uppercase().parse::<Device>().unwrap(), device);
            match Device::with_index(kind, 3) {
                Ok(third) => assert_eq!(format!("{kind}:3").parse::<Device>().unwrap(), third),
                Err(error) => assert!(error.to_string().contains("no index"), "{error}"),
            }
        }
        assert_eq!(" cuda : 1 ".parse::<Device>().unwrap().to_string(), "cuda:1");
    }

    #[test]
    fn what_is_no_device_is_refused_with_what_there_is() {
        for (text, named) in [
            ("abacus", "cuda, tensorrt"),
            ("", "cpu"),
            ("cuda:", "index"),
            ("cuda:-1", "index"),
            ("cuda:0:1", "index"),
            ("cpu:0", "takes no index"),
            ("openvino:1", "takes no index"),
        ] {
            let error = text.parse::<Device>().unwrap_err();
            assert!(matches!(error, Error::InvalidOption { name: "device", .. }));
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }
}
