//! Settings that may differ between the parts of a model.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use florence2_layout::graphs::ModelPart;

use crate::error::{Error, Result};

/// A setting of a model's graphs: one value for all of them, and other values for single [parts](ModelPart).
///
/// Parsed from comma-separated items, each for all graphs (`int8`) or for those of a part (`vision=fp32`), as in
/// `int8,vision=fp32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerPart<T> {
    all: Option<T>,
    parts: BTreeMap<ModelPart, T>,
}

/// A value that [`PerPart`] is parsed to.
pub trait PartValue: Sized {
    /// The setting's name in error messages.
    const NAME: &'static str;

    /// Parses the items given for one part, or for all graphs, in their order.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the items are not a value.
    fn parse_items(items: &[&str]) -> Result<Self>;

    /// Returns the default value for graphs without a given value; `None` if the setting has no default.
    fn default_for_all() -> Option<Self> {
        None
    }
}

impl<T> PerPart<T> {
    /// Sets the value for graphs whose part has no value of its own.
    #[must_use]
    pub fn with_all(mut self, value: impl Into<T>) -> Self {
        self.all = Some(value.into());
        self
    }

    /// Sets the value for the graphs of a part.
    #[must_use]
    pub fn with_part(mut self, part: ModelPart, value: impl Into<T>) -> Self {
        self.parts.insert(part, value.into());
        self
    }

    /// Returns the value for the graphs of `part`, if it is set.
    pub fn get(&self, part: ModelPart) -> Option<&T> {
        self.parts.get(&part).or(self.all.as_ref())
    }

    /// Returns the value for graphs whose part has no value of its own, if it is set.
    pub fn get_all(&self) -> Option<&T> {
        self.all.as_ref()
    }

    /// Returns `true` if nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }

    /// Returns the values that are set; the value for all graphs is the last.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.parts.values().chain(&self.all)
    }
}

impl<T: PartValue> Default for PerPart<T> {
    fn default() -> Self {
        Self {
            all: T::default_for_all(),
            parts: BTreeMap::new(),
        }
    }
}

impl<T: PartValue> From<T> for PerPart<T> {
    fn from(value: T) -> Self {
        Self::default().with_all(value)
    }
}

impl<T: PartValue> FromStr for PerPart<T> {
    type Err = Error;

    /// # Errors
    /// [`Error::InvalidOption`] for an unknown part and for items that are not a value.
    fn from_str(text: &str) -> Result<Self> {
        let mut items: BTreeMap<Option<ModelPart>, Vec<&str>> = BTreeMap::new();
        for item in text.split(',') {
            let (part, value) = ModelPart::split(item).map_err(|unknown| Error::InvalidOption {
                name: T::NAME,
                reason: unknown.to_string(),
            })?;
            items.entry(part).or_default().push(value);
        }
        let mut setting = Self::default();
        for (part, items) in items {
            let value = T::parse_items(&items)?;
            match part {
                Some(part) => setting.parts.insert(part, value),
                None => setting.all.replace(value),
            };
        }
        Ok(setting)
    }
}

/// Formats the setting as it is parsed; an empty string if nothing is set.
impl<T: fmt::Display> fmt::Display for PerPart<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items: Vec<String> = self.all.iter().map(T::to_string).collect();
        for (part, value) in &self.parts {
            let value = value.to_string();
            items.extend(value.split(',').map(|item| format!("{}={item}", part.name())));
        }
        f.write_str(&items.join(","))
    }
}
