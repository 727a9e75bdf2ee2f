//! Which devices a graph is to use.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use florence2_layout::graphs::ModelPart;

use super::{Device, DeviceKind, ProviderOption, invalid};
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

const AUTO: &str = "auto";

/// Devices one by one: what may stand between the commas.
#[derive(Debug, std::default::Default)]
struct Listing {
    auto: bool,
    devices: Vec<Device>,
}

impl Listing {
    fn add(&mut self, item: &str) -> Result<()> {
        match item.trim().eq_ignore_ascii_case(AUTO) {
            true => self.auto = true,
            false => self.devices.push(item.parse()?),
        }
        Ok(())
    }

    fn devices(self) -> Result<Devices> {
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

/// The devices of a model's graphs: of all, and of those of a [part](ModelPart) that are to have others.
///
/// It is read from `cuda:0,cpu` (for all), or `cuda,decoder=cpu`; each item without a part adds to the devices of all,
/// each with one to those of the part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceChoice {
    all: Devices,
    parts: BTreeMap<ModelPart, Devices>,
}

impl DeviceChoice {
    /// All graphs have these devices, but for those of which something else is said.
    #[must_use]
    pub fn with_all(mut self, devices: impl Into<Devices>) -> Self {
        self.all = devices.into();
        self
    }

    /// The graphs of a part have these devices.
    #[must_use]
    pub fn with_part(mut self, part: ModelPart, devices: impl Into<Devices>) -> Self {
        self.parts.insert(part, devices.into());
        self
    }

    /// The devices of graphs of which nothing else is said; a session that is built by itself has these.
    pub fn all(&self) -> &Devices {
        &self.all
    }

    /// The devices of a part's graphs.
    pub fn of(&self, part: ModelPart) -> &Devices {
        self.parts.get(&part).unwrap_or(&self.all)
    }
}

impl DeviceChoice {
    /// That each option is for a device that is chosen; what `auto` chooses is not known yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], naming the device that is missing.
    pub(crate) fn check_options(&self, options: &[ProviderOption]) -> Result<()> {
        let is_for = |devices: &Devices, kind: DeviceKind| match devices {
            Devices::Auto => true,
            Devices::Listed(devices) => devices.iter().any(|device| device.kind() == kind),
        };
        let mut options = options.iter();
        let lost = options.find(|option| {
            let mut chosen = self.parts.values().chain([&self.all]);
            !chosen.any(|devices| is_for(devices, option.kind))
        });
        match lost {
            None => Ok(()),
            Some(ProviderOption { kind, name, .. }) => Err(Error::InvalidOption {
                name: "ep-option",
                reason: format!("{kind}.{name} is for nothing: {kind} is not among the devices ({self})"),
            }),
        }
    }
}

impl<D: Into<Devices>> From<D> for DeviceChoice {
    fn from(devices: D) -> Self {
        Self::default().with_all(devices)
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    /// # Errors
    /// As [`Devices`], and [`Error::InvalidOption`] for an unknown part.
    fn from_str(text: &str) -> Result<Self> {
        let mut all = None;
        let mut parts: BTreeMap<ModelPart, Listing> = BTreeMap::new();
        for item in text.split(',') {
            let (part, device) = ModelPart::split(item).map_err(|unknown| invalid(unknown.to_string()))?;
            match part {
                Some(part) => parts.entry(part).or_default(),
                None => all.get_or_insert_with(Listing::default),
            }
            .add(device)?;
        }
        let parts = parts
            .into_iter()
            .map(|(part, listing)| Ok((part, listing.devices()?)));
        Ok(Self {
            all: all.map(Listing::devices).transpose()?.unwrap_or_default(),
            parts: parts.collect::<Result<_>>()?,
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all.fmt(f)?;
        for (part, devices) in &self.parts {
            match devices {
                Devices::Auto => write!(f, ",{}={AUTO}", part.name())?,
                Devices::Listed(devices) => devices
                    .iter()
                    .try_for_each(|device| write!(f, ",{}={device}", part.name()))?,
            }
        }
        Ok(())
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

    #[test]
    fn parts_have_their_own_devices() {
        let choice: DeviceChoice = "cuda:0,decoder=tensorrt,cpu, decoder = cpu ,text=auto"
            .parse()
            .unwrap();
        let of = |part| choice.of(part).to_string();
        assert_eq!(of(ModelPart::Vision), "cuda:0,cpu");
        assert_eq!(of(ModelPart::Text), "auto");
        assert_eq!(of(ModelPart::Decoder), "tensorrt,cpu");
        assert_eq!(choice.to_string().parse::<DeviceChoice>().unwrap(), choice);
        let only: DeviceChoice = "decoder=openvino".parse().unwrap();
        assert_eq!(only.of(ModelPart::Vision), &Devices::default());
        for (text, named) in [
            ("image=cuda", "vision"),
            ("decoder=", "there is no device"),
            ("cuda,decoder=cpu,decoder=cuda", "follows `cpu`"),
        ] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn options_are_for_devices_that_are_chosen() {
        let options = ["cuda.use_tf32=1".parse().unwrap()];
        for (choice, good) in [
            ("cuda:1", true),
            ("decoder=cuda", true),
            ("auto", true),
            ("tensorrt", false),
        ] {
            let checked = choice.parse::<DeviceChoice>().unwrap().check_options(&options);
            assert_eq!(checked.is_ok(), good, "{choice}: {checked:?}");
        }
    }
}
