//! The devices of a graph, and of a model's parts.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use florence2_layout::graphs::ModelPart;

use super::{Device, DeviceKind, ProviderOption, invalid};
use crate::error::{Error, Result};
use crate::per_part::{PartValue, PerPart};

/// The devices for a graph, the preferred one first, or [`AUTO`](Self::AUTO). Parsed from `cuda:0,cpu` or `auto`.
///
/// Nodes that no listed device supports run on the CPU, whether or not it is listed: ONNX Runtime always has its CPU
/// provider, and also assigns nodes to it that a GPU could run where that is cheaper, such as shape computations.
/// [`Placement`](crate::runtime::Placement) reports where nodes run;
/// [`SessionOptions::cpu_fallback`](crate::runtime::SessionOptions::cpu_fallback) forbids the fallback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices(Vec<Device>);

/// The CPU.
impl Default for Devices {
    fn default() -> Self {
        Device::CPU.into()
    }
}

impl From<Device> for Devices {
    fn from(device: Device) -> Self {
        Self(vec![device])
    }
}

impl Devices {
    /// The best usable device whose provider runs any graph operator by operator: CUDA, ROCm, DirectML, the CPU.
    /// Other devices must be named: they compile graphs for the input sizes that occur (and the decoder has new ones
    /// with each token), or may be no GPU at all (WebGPU in software).
    pub const AUTO: Devices = Devices(Vec::new());

    /// Creates a list of devices, the preferred one first.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an empty list, a kind that is listed twice, and a device after the CPU.
    pub fn new(devices: Vec<Device>) -> Result<Self> {
        let Some((_, before_last)) = devices.split_last() else {
            return Err(invalid("names no device".into()));
        };
        for (index, device) in devices.iter().enumerate() {
            if devices[..index].iter().any(|other| other.kind() == device.kind()) {
                return Err(invalid(format!("{} is listed twice", device.kind())));
            }
        }
        if before_last.iter().any(|device| device.is_cpu()) {
            return Err(invalid(
                "the CPU runs every operator: a device that follows `cpu` would get no node".into(),
            ));
        }
        Ok(Self(devices))
    }

    /// Returns `true` for [`AUTO`](Self::AUTO).
    pub fn is_auto(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the devices, the preferred one first. [`AUTO`](Self::AUTO) is resolved, and logged, once per process.
    ///
    /// # Errors
    /// For [`AUTO`](Self::AUTO), errors of [`init`](crate::runtime::init).
    pub fn resolve(&self) -> Result<Vec<Device>> {
        if self.is_auto() {
            return Ok(vec![best_usable()?]);
        }
        Ok(self.0.clone())
    }

    /// Returns `true` if the only device is the CPU.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn is_cpu(&self) -> Result<bool> {
        Ok(self.resolve()?.iter().all(|device| device.is_cpu()))
    }
}

/// Returns the first usable device of those that [`Devices::AUTO`] considers.
fn best_usable() -> Result<Device> {
    static BEST: OnceLock<Device> = OnceLock::new();
    if let Some(&best) = BEST.get() {
        return Ok(best);
    }
    let mut best = Device::CPU;
    for &kind in DeviceKind::ALL.iter().filter(|kind| kind.spec().automatic) {
        let device = Device::new(kind);
        match device.usable() {
            Ok(()) => {
                best = device;
                break;
            }
            Err(Error::DeviceUnusable { problem, .. }) => tracing::info!(%device, %problem, "unusable"),
            Err(other) => return Err(other),
        }
    }
    tracing::info!(device = %best, "the best device that can be used");
    Ok(*BEST.get_or_init(|| best))
}

const AUTO: &str = "auto";

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_auto() {
            return f.write_str(AUTO);
        }
        let names: Vec<String> = self.0.iter().map(Device::to_string).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Devices {
    type Err = Error;

    /// # Errors
    /// [`Error::InvalidOption`] for an unknown device; errors of [`new`](Self::new).
    fn from_str(text: &str) -> Result<Self> {
        Self::parse_items(&text.split(',').collect::<Vec<_>>())
    }
}

impl PartValue for Devices {
    const NAME: &'static str = "device";

    fn parse_items(items: &[&str]) -> Result<Self> {
        let is_auto = |item: &&str| item.trim().eq_ignore_ascii_case(AUTO);
        if items.iter().any(is_auto) {
            return if items.iter().all(is_auto) {
                Ok(Self::AUTO)
            } else {
                Err(invalid("`auto` cannot be combined with other devices".into()))
            };
        }
        Self::new(items.iter().map(|item| item.parse()).collect::<Result<_>>()?)
    }

    fn default_for_all() -> Option<Self> {
        Some(Self::default())
    }
}

/// The devices of a model's graphs; the CPU where none are set. Parsed from `cuda:0,cpu`, or `cuda,decoder=cpu`.
impl PerPart<Devices> {
    /// Returns the devices for the graphs of `part`.
    pub fn of(&self, part: ModelPart) -> Devices {
        self.get(part).cloned().unwrap_or_default()
    }

    /// Returns the devices for graphs whose part has no devices of its own, and for sessions built on their own.
    pub fn for_all(&self) -> Devices {
        self.get_all().cloned().unwrap_or_default()
    }

    /// Returns `true` if the devices of any part are [`Devices::AUTO`].
    pub fn is_auto(&self) -> bool {
        ModelPart::ALL.into_iter().any(|part| self.of(part).is_auto())
    }

    /// Returns the kinds of devices to be used beside the CPU, each once, the preferred ones first; of
    /// [`Devices::AUTO`], the candidates.
    pub fn kinds(&self) -> Vec<DeviceKind> {
        let mut kinds = Vec::new();
        for devices in self.values() {
            if devices.is_auto() {
                kinds.extend(DeviceKind::ALL.iter().filter(|kind| kind.spec().automatic));
            }
            kinds.extend(devices.0.iter().map(|device| device.kind()));
        }
        let mut unique: Vec<DeviceKind> = Vec::new();
        for kind in kinds {
            if kind != DeviceKind::Cpu && !unique.contains(&kind) {
                unique.push(kind);
            }
        }
        unique
    }

    /// Checks that each named device can be used.
    ///
    /// # Errors
    /// As [`Device::usable`].
    pub fn check_usable(&self) -> Result<()> {
        let mut devices = self.values().flat_map(|devices| &devices.0);
        devices.try_for_each(|device| device.usable())
    }

    /// Checks that each option is for a device in use; with [`Devices::AUTO`], all options pass.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], naming the device that is missing.
    pub(crate) fn check_options(&self, options: &[ProviderOption]) -> Result<()> {
        let is_used = |kind: DeviceKind| {
            let has = |devices: &Devices| devices.0.iter().any(|device| device.kind() == kind);
            self.values().any(|devices| devices.is_auto() || has(devices))
        };
        match options.iter().find(|option| !is_used(option.kind())) {
            None => Ok(()),
            Some(option) => Err(Error::InvalidOption {
                name: "provider option",
                reason: format!(
                    "{option} has no effect: {} is not among the devices ({self})",
                    option.kind()
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_as_they_are_formatted() {
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
    fn invalid_lists_are_rejected() {
        for (text, named) in [
            ("", "there is no device"),
            ("cuda,", "there is no device"),
            ("cpu,cuda", "follows `cpu`"),
            ("cuda:0,cuda:1", "twice"),
            ("cpu,cpu", "twice"),
            ("auto,cpu", "be combined"),
        ] {
            let error = text.parse::<Devices>().unwrap_err();
            assert!(
                matches!(error, Error::InvalidOption { name: "device", .. }),
                "{text}"
            );
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
        assert!(Devices::new(Vec::new()).is_err());
    }

    #[test]
    fn parts_have_their_own_devices() {
        let choice: PerPart<Devices> = "cuda:0,decoder=tensorrt,cpu, decoder = cpu ,text=auto"
            .parse()
            .unwrap();
        let of = |part| choice.of(part).to_string();
        assert_eq!(of(ModelPart::Vision), "cuda:0,cpu");
        assert_eq!(of(ModelPart::Text), "auto");
        assert_eq!(of(ModelPart::Decoder), "tensorrt,cpu");
        assert_eq!(choice.to_string().parse::<PerPart<Devices>>().unwrap(), choice);
        let only: PerPart<Devices> = "decoder=openvino".parse().unwrap();
        assert_eq!(only.of(ModelPart::Vision), Devices::default());
        for (text, named) in [
            ("image=cuda", "vision"),
            ("decoder=", "there is no device"),
            ("cuda,decoder=cpu,decoder=cuda", "follows `cpu`"),
        ] {
            let error = text.parse::<PerPart<Devices>>().unwrap_err();
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn kinds_are_those_of_all_parts() {
        let kinds = |choice: &str| choice.parse::<PerPart<Devices>>().unwrap().kinds();
        assert_eq!(
            kinds("tensorrt,cuda:1,cpu,decoder=cuda"),
            [DeviceKind::Cuda, DeviceKind::TensorRt]
        );
        assert!(kinds("cpu").is_empty());
        assert!(kinds("auto").contains(&DeviceKind::Cuda));
    }

    #[test]
    fn options_are_for_devices_in_use() {
        let options = ["cuda.use_tf32=1".parse().unwrap()];
        for (choice, good) in [
            ("cuda:1", true),
            ("decoder=cuda", true),
            ("auto", true),
            ("tensorrt", false),
        ] {
            let checked = choice
                .parse::<PerPart<Devices>>()
                .unwrap()
                .check_options(&options);
            assert_eq!(checked.is_ok(), good, "{choice}: {checked:?}");
        }
    }
}
