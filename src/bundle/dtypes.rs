//! Which of a bundle's files of a graph is to be taken, where it has the graph in several types.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use florence2_layout::dtypes::{Dtype, UnknownDtype};
use florence2_layout::graphs::{GraphFile, ModelPart};

use crate::error::Error;

/// The types in which a model's graphs are wanted. [`Default`] wants none: of each graph the file is taken that comes
/// first in [`Dtype::BY_PREFERENCE`], or that of 16-bit floats where all is on devices that suit these best (CUDA, TensorRT,
/// CoreML).
///
/// It is read from `int8`, for all graphs, or `vision=fp32,decoder=q4`, for those of a [part](ModelPart), or both:
/// `int8,vision=fp32`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DtypeChoice {
    all: Option<Dtype>,
    parts: BTreeMap<ModelPart, Dtype>,
    /// Whether, where nothing is wanted, float16 comes before all others.
    float16_first: bool,
}

impl DtypeChoice {
    /// All graphs are to be of this type, but for those of which something else is said.
    #[must_use]
    pub fn with_all(mut self, dtype: Dtype) -> Self {
        self.all = Some(dtype);
        self
    }

    /// The graphs of a part are to be of this type.
    #[must_use]
    pub fn with_part(mut self, part: ModelPart, dtype: Dtype) -> Self {
        self.parts.insert(part, dtype);
        self
    }

    /// Where nothing is wanted, float16 comes before all others, if `float16_first`.
    pub(crate) fn with_float16_first(mut self, float16_first: bool) -> Self {
        self.float16_first = float16_first;
        self
    }

    /// Whether the types of some graphs are said.
    pub(crate) fn is_explicit(&self) -> bool {
        self.all.is_some() || !self.parts.is_empty()
    }

    /// The type in which a graph is wanted, if it is not to be chosen by preference.
    pub fn of(&self, graph: GraphFile) -> Option<Dtype> {
        self.parts.get(&graph.part()).copied().or(self.all)
    }

    /// The types in which a graph may be, the best first.
    pub(super) fn candidates(&self, graph: GraphFile) -> impl Iterator<Item = Dtype> {
        let wanted = self.of(graph);
        let others = wanted.map_or(&Dtype::BY_PREFERENCE[..], Dtype::others);
        let first = wanted.or(self.float16_first.then_some(Dtype::Fp16));
        first.into_iter().chain(others.iter().copied())
    }
}

/// As it is read; empty if nothing is wanted.
impl fmt::Display for DtypeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.map(|dtype| dtype.to_string());
        let parts = self
            .parts
            .iter()
            .map(|(part, dtype)| format!("{}={dtype}", part.name()));
        let items: Vec<String> = all.into_iter().chain(parts).collect();
        f.write_str(&items.join(","))
    }
}

impl FromStr for DtypeChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason: String| Error::InvalidOption {
            name: "dtype",
            reason,
        };
        text.split(',').try_fold(Self::default(), |choice, item| {
            let (part, name) = ModelPart::split(item).map_err(|unknown| invalid(unknown.to_string()))?;
            let dtype: Dtype = name
                .parse()
                .map_err(|error: UnknownDtype| invalid(error.to_string()))?;
            Ok(match part {
                Some(part) => choice.with_part(part, dtype),
                None => choice.with_all(dtype),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_written_as_they_are_read() {
        for text in ["", "int8", "vision=fp32,decoder=q4", "int8,vision=fp32"] {
            let choice: DtypeChoice = match text {
                "" => DtypeChoice::default(),
                text => text.parse().unwrap(),
            };
            assert_eq!(choice.to_string(), text);
        }
    }

    #[test]
    fn choices_are_read() {
        let choice: DtypeChoice = "int8,vision=fp32, decoder = q4".parse().unwrap();
        assert_eq!(choice.of(GraphFile::VisionEncoder), Some(Dtype::Fp32));
        assert_eq!(choice.of(GraphFile::TextEncoder), Some(Dtype::Int8));
        assert_eq!(choice.of(GraphFile::DecoderModelMerged), Some(Dtype::Q4));
        let only: DtypeChoice = "decoder=q4".parse().unwrap();
        assert_eq!(only.of(GraphFile::VisionEncoder), None);
        for (text, named) in [
            ("", "fp32"),
            ("int4", "q4f16"),
            ("image=int8", "vision"),
            ("int8,", "fp32"),
        ] {
            let message = text.parse::<DtypeChoice>().unwrap_err().to_string();
            assert!(message.contains(named), "{text}: {message}");
        }
    }
}
