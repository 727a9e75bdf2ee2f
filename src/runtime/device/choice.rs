//! The devices of a model's graphs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use florence2_layout::graphs::ModelPart;

use super::list::{AUTO, Listing};
use super::{DeviceKind, Devices, ProviderOption, invalid};
use crate::error::{Error, Result};

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

    /// Whether the devices of any part are [`Devices::Auto`].
    pub fn is_auto(&self) -> bool {
        ModelPart::ALL
            .into_iter()
            .any(|part| *self.of(part) == Devices::Auto)
    }

    /// The kinds of devices that are to be used beside the processor, the preferred ones first; of `auto`, those that it may
    /// choose.
    pub fn kinds(&self) -> Vec<DeviceKind> {
        let mut kinds = Vec::new();
        for devices in self.parts.values().chain([&self.all]) {
            match devices {
                Devices::Auto => kinds.extend(DeviceKind::ALL.iter().filter(|kind| kind.spec().automatic)),
                Devices::Listed(devices) => kinds.extend(devices.iter().map(|device| device.kind())),
            }
        }
        let mut known = BTreeSet::new();
        kinds.retain(|&kind| kind != DeviceKind::Cpu && known.insert(kind.name()));
        kinds
    }

    /// That each device that is named can be used.
    ///
    /// # Errors
    /// As [`Device::usable`](super::Device::usable).
    pub fn check_usable(&self) -> Result<()> {
        for devices in self.parts.values().chain([&self.all]) {
            if let Devices::Listed(devices) = devices {
                devices.iter().try_for_each(|device| device.usable())?;
            }
        }
        Ok(())
    }

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
            !chosen.any(|devices| is_for(devices, option.kind()))
        });
        match lost {
            None => Ok(()),
            Some(option) => Err(Error::InvalidOption {
                name: "ep-option",
                reason: format!(
                    "{kind}.{} is for nothing: {kind} is not among the devices ({self})",
                    option.name(),
                    kind = option.kind(),
                ),
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
    fn kinds_are_those_of_all_parts() {
        let kinds = |choice: &str| choice.parse::<DeviceChoice>().unwrap().kinds();
        assert_eq!(
            kinds("tensorrt,cuda:1,cpu,decoder=cuda"),
            [DeviceKind::Cuda, DeviceKind::TensorRt]
        );
        assert!(kinds("cpu").is_empty());
        assert!(kinds("auto").contains(&DeviceKind::Cuda));
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
