//! The devices of one graph.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use super::{Device, DeviceKind, invalid};
use crate::error::{Error, Result};

/// The devices for a graph. They are read from `cuda:0,cpu`, or `auto`.
///
/// What none of them can do runs on the processor, whether or not it is named: ONNX Runtime always has its provider, and
/// puts even what a GPU could do there where that is cheaper, as sums over shapes. Where the nodes are is said by
/// [`Placement`](crate::runtime::Placement);
/// [`SessionOptions::cpu_fallback`](crate::runtime::SessionOptions::cpu_fallback) forbids it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Devices {
    /// The best device that can be used here. Those are considered that run any graph operator by operator: CUDA, ROCm,
    /// DirectML, the processor. Others are to be named: they compile graphs for the sizes that they meet (and the
    /// decoder meets new ones with each token), or may be no GPU at all (WebGPU in software).
    Auto,
    /// These, the preferred one first.
    Listed(Vec<Device>),
}

impl Default for Devices {
    /// The processor.
    fn default() -> Self {
        Self::Listed(vec![Device::CPU])
    }
}

impl From<Device> for Devices {
    fn from(device: Device) -> Self {
        Self::Listed(vec![device])
    }
}

impl Devices {
    /// The devices themselves, the preferred one first. What [`Devices::Auto`] is found to be is said in the log, and
    /// stands for the life of the process.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a list that makes no sense (see [`FromStr`]). With `Auto` what
    /// [`init`](crate::runtime::init) returns.
    pub fn resolve(&self) -> Result<Vec<Device>> {
        match self {
            Devices::Auto => best_usable().map(|device| vec![device]),
            Devices::Listed(devices) => {
                check(devices)?;
                Ok(devices.clone())
            }
        }
    }

    /// Whether they are the processor, and nothing else.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn is_cpu(&self) -> Result<bool> {
        Ok(self.resolve()?.iter().all(|device| device.is_cpu()))
    }
}

/// The first usable one of those that may be taken without being named.
fn best_usable() -> Result<Device> {
    static BEST: OnceLock<Device> = OnceLock::new();
    if let Some(&best) = BEST.get() {
        return Ok(best);
    }
    let candidates = DeviceKind::ALL.iter().filter(|kind| kind.spec().automatic);
    for device in candidates.map(|&kind| Device::new(kind)) {
        match device.usable() {
            Ok(()) => {
                tracing::info!(%device, "the best device that can be used");
                return Ok(*BEST.get_or_init(|| device));
            }
            Err(Error::DeviceUnusable { problem, .. }) => tracing::info!(%device, %problem, "not to be used"),
            Err(other) => return Err(other),
        }
    }
    tracing::info!(device = %Device::CPU, "the best device that can be used");
    Ok(*BEST.get_or_init(|| Device::CPU))
}

/// ONNX Runtime takes each provider once, and its own for the processor last.
fn check(devices: &[Device]) -> Result<()> {
    let Some((last, others)) = devices.split_last() else {
        return Err(invalid("names no device".into()));
    };
    if others.iter().any(|device| device.is_cpu()) && !last.is_cpu() {
        return Err(invalid(
            "the processor can do everything: what follows `cpu` would get nothing to do".into(),
        ));
    }
    for (place, device) in devices.iter().enumerate() {
        if devices
            .iter()
            .take(place)
            .any(|other| other.kind() == device.kind())
        {
            return Err(invalid(format!("{} is named twice", device.kind())));
        }
    }
    Ok(())
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Devices::Auto => f.write_str(AUTO),
            Devices::Listed(devices) => {
                let names: Vec<String> = devices.iter().map(Device::to_string).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

pub(super) const AUTO: &str = "auto";

/// Devices one by one: what may stand between the commas.
#[derive(Debug, Default)]
pub(super) struct Listing {
    auto: bool,
    devices: Vec<Device>,
}

impl Listing {
    pub(super) fn add(&mut self, item: &str) -> Result<()> {
        match item.trim().eq_ignore_ascii_case(AUTO) {
            true => self.auto = true,
            false => self.devices.push(item.parse()?),
        }
        Ok(())
    }

    pub(super) fn devices(self) -> Result<Devices> {
        match (self.auto, self.devices.is_empty()) {
            (true, true) => Ok(Devices::Auto),
            (true, false) => Err(invalid(
                "`auto` stands alone: it chooses the device itself".into(),
            )),
            (false, _) => {
                check(&self.devices)?;
                Ok(Devices::Listed(self.devices))
            }
        }
    }
}

impl FromStr for Devices {
    type Err = Error;

    /// # Errors
    /// [`Error::InvalidOption`] for an unknown device, one that is named twice, or `cpu` before others.
    fn from_str(text: &str) -> Result<Self> {
        let mut listing = Listing::default();
        text.split(',').try_for_each(|item| listing.add(item))?;
        listing.devices()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_printed() {
        for text in ["cpu", "auto", "cuda:0,cpu", "tensorrt:1,cuda:1", "openvino"] {
            assert_eq!(text.parse::<Devices>().unwrap().to_string(), text);
        }
        assert_eq!(
            " CUDA:0 , cpu ".parse::<Devices>().unwrap().to_string(),
            "cuda:0,cpu"
        );
        assert_eq!("cpu".parse::<Devices>().unwrap(), Devices::default());
    }

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        for (text, named) in [
            ("", "there is no device"),
            ("cuda,", "there is no device"),
            ("cpu,cuda", "follows `cpu`"),
            ("cuda:0,cuda:1", "twice"),
            ("cpu,cpu", "twice"),
            ("auto,cpu", "stands alone"),
        ] {
            let error = text.parse::<Devices>().unwrap_err();
            assert!(
                matches!(error, Error::InvalidOption { name: "device", .. }),
                "{text}"
            );
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
        assert!(Devices::Listed(Vec::new()).resolve().is_err());
    }
}
