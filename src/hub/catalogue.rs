//! Known models on the public hub.

use serde::{Deserialize, Serialize};

/// The list of models as JSON.
const CATALOGUE: &str = include_str!("../../models/catalogue.json");

/// A model in the built-in list of repositories with Florence-2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// The repository: `organisation/name`.
    pub id: String,
    /// The form in which the repository holds the model.
    pub form: ModelForm,
    /// The approximate number of parameters.
    pub parameters: u64,
    /// A description of the model in one line.
    pub about: String,
}

/// The form in which a repository holds a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ModelForm {
    /// ONNX graphs.
    Onnx,
    /// Weights in safetensors, which are exported on first use.
    Safetensors,
}

impl ModelForm {
    /// Returns the name: `onnx` or `safetensors`.
    pub const fn name(self) -> &'static str {
        match self {
            ModelForm::Onnx => "onnx",
            ModelForm::Safetensors => "safetensors",
        }
    }
}

/// Returns the built-in list of models.
pub fn catalogue() -> Vec<CatalogueEntry> {
    // The list is embedded, and a test parses it.
    serde_json::from_str(CATALOGUE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::hub::ModelId;

    #[test]
    fn entries_have_unique_model_ids() {
        let entries = catalogue();
        let ids: BTreeSet<ModelId> = entries.iter().map(|entry| entry.id.parse().unwrap()).collect();
        assert!(!ids.is_empty() && ids.len() == entries.len());
        assert_eq!(entries[0].form, ModelForm::Onnx);
    }
}
