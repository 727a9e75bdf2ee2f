//! The memory that a device works in.

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};

use super::Device;
use crate::error::{Error, Result};

/// The memory that a device works in, by ONNX Runtime's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceMemory {
    name: &'static str,
    index: u32,
}

impl DeviceMemory {
    /// The CPU's memory.
    pub(crate) const CPU: DeviceMemory = DeviceMemory {
        name: "Cpu",
        index: 0,
    };

    /// Returns the device's own memory, if it has any.
    pub(crate) fn of(device: Device) -> Option<Self> {
        Some(Self {
            name: device.kind().spec().memory?,
            index: device.index().unwrap_or(0),
        })
    }

    /// Returns the memory in the form that bindings take.
    pub(crate) fn info(self) -> Result<MemoryInfo<'static>> {
        let index = i32::try_from(self.index).unwrap_or(i32::MAX);
        let device = AllocationDevice::new(self.name);
        MemoryInfo::new(device, index, AllocatorType::Device, MemoryType::Default).map_err(Error::ort(
            format!("describing the memory of device {}:{}", self.name, self.index),
        ))
    }
}
