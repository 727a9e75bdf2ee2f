//! The order in which the dtypes of a bundle's graphs are preferred.

use florence2_layout::dtypes::{Dtype, UnknownDtype};
use florence2_layout::graphs::GraphFile;

use crate::error::{Error, Result};
use crate::per_part::{PartValue, PerPart};

impl PartValue for Dtype {
    const NAME: &'static str = "dtype";

    /// Parses every item and returns the last.
    fn parse_items(items: &[&str]) -> Result<Self> {
        let invalid = |reason: String| Error::InvalidOption {
            name: Self::NAME,
            reason,
        };
        let parse = |item: &&str| {
            item.parse()
                .map_err(|unknown: UnknownDtype| invalid(unknown.to_string()))
        };
        let dtypes: Vec<Dtype> = items.iter().map(parse).collect::<Result<_>>()?;
        dtypes.last().copied().ok_or_else(|| invalid("is empty".into()))
    }
}

/// Which dtype of a graph's file to load: the requested one if there is one, else the first found in order of
/// preference.
#[derive(Debug, Clone, Default)]
pub struct DtypePreference {
    wanted: PerPart<Dtype>,
    float16_first: bool,
}

impl From<PerPart<Dtype>> for DtypePreference {
    fn from(wanted: PerPart<Dtype>) -> Self {
        Self {
            wanted,
            float16_first: false,
        }
    }
}

impl DtypePreference {
    /// Prefers float16 for graphs without a requested dtype, for devices such as CUDA and CoreML.
    pub(crate) fn with_float16_first(mut self, float16_first: bool) -> Self {
        self.float16_first = float16_first;
        self
    }

    /// Returns the requested dtypes.
    pub(crate) fn wanted(&self) -> &PerPart<Dtype> {
        &self.wanted
    }

    /// Returns the dtype requested for a graph; `None` if none was.
    pub(crate) fn of(&self, graph: GraphFile) -> Option<Dtype> {
        self.wanted.get(graph.part()).copied()
    }

    /// Returns the dtypes that a graph's file may have, best first.
    pub(super) fn candidates(&self, graph: GraphFile) -> impl Iterator<Item = Dtype> {
        let wanted = self.of(graph);
        let others = wanted.map_or(&Dtype::BY_PREFERENCE[..], Dtype::substitutes);
        let first = wanted.or(self.float16_first.then_some(Dtype::Fp16));
        first.into_iter().chain(others.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_formatted_as_they_are_parsed() {
        assert_eq!(PerPart::<Dtype>::default().to_string(), "");
        for text in ["int8", "vision=fp32,decoder=q4", "int8,vision=fp32"] {
            let choice: PerPart<Dtype> = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
        }
    }

    #[test]
    fn settings_are_parsed() {
        let of = |text: &str, graph| DtypePreference::from(text.parse::<PerPart<Dtype>>().unwrap()).of(graph);
        let text = "int8,vision=fp32, decoder = q4";
        assert_eq!(of(text, GraphFile::VisionEncoder), Some(Dtype::Fp32));
        assert_eq!(of(text, GraphFile::TextEncoder), Some(Dtype::Int8));
        assert_eq!(of(text, GraphFile::DecoderModelMerged), Some(Dtype::Q4));
        assert_eq!(of("decoder=q4", GraphFile::VisionEncoder), None);
        for (text, named) in [
            ("", "fp32"),
            ("int3", "q4f16"),
            ("image=int8", "vision"),
            ("int8,", "fp32"),
        ] {
            let error = text.parse::<PerPart<Dtype>>().unwrap_err();
            assert!(matches!(error, Error::InvalidOption { name: "dtype", .. }));
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }
}
