//! Models that are known to be on the public hub.

use serde::{Deserialize, Serialize};

/// The list, as data.
const CATALOGUE: &str = include_str!("../../models/catalogue.json");

/// A known model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// Its name on the hub.
    pub id: String,
    /// What its repository holds.
    pub form: ModelForm,
    /// How many numbers it has, about.
    pub parameters: u64,
    /// What it is.
    pub about: String,
}

/// In which form a repository has its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ModelForm {
    /// Graphs.
    Onnx,
    /// Weights, which are exported on first use.
    Safetensors,
}

impl ModelForm {
    /// `onnx`, `safetensors`.
    pub const fn name(self) -> &'static str {
        match self {
            ModelForm::Onnx => "onnx",
            ModelForm::Safetensors => "safetensors",
        }
    }
}

/// The known models.
pub fn catalogue() -> Vec<CatalogueEntry> {
    // It is part of the program, and a test reads it.
    serde_json::from_str(CATALOGUE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::hub::ModelId;

    #[test]
    fn every_entry_is_a_model_s_name_once() {
        let entries = catalogue();
        let ids: BTreeSet<ModelId> = entries.iter().map(|entry| entry.id.parse().unwrap()).collect();
        assert!(!ids.is_empty() && ids.len() == entries.len());
        assert_eq!(entries[0].form, ModelForm::Onnx);
    }
}
