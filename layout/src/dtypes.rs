//! In which types a graph's numbers are stored, and how the file's name says so.

use std::fmt;
use std::str::FromStr;

/// The types in which deployments store a graph's numbers. They are told by a suffix of the file's name:
/// `vision_encoder_int8.onnx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// float32; no suffix.
    Fp32,
    /// float16.
    Fp16,
    /// Weights in signed 8-bit integers.
    Int8,
    /// Weights in unsigned 8-bit integers.
    Uint8,
    /// Weights in 8-bit integers of whichever sign.
    Quantized,
    /// Weights in blocks of 4-bit integers.
    Q4,
    /// Weights in blocks of 4-bit integers, the rest in float16.
    Q4F16,
    /// Weights in blocks of 4-bit floats (bitsandbytes).
    Bnb4,
}

impl Dtype {
    /// All types, in the order in which a processor prefers them: as exact as it gets first; then by speed, 8-bit
    /// integers before 4-bit ones, which are less exact. What has float16 is last: processors compute in float32, so
    /// that it is converted back and forth.
    pub const BY_PREFERENCE: [Dtype; 8] = [
        Dtype::Fp32,
        Dtype::Int8,
        Dtype::Quantized,
        Dtype::Uint8,
        Dtype::Q4,
        Dtype::Bnb4,
        Dtype::Fp16,
        Dtype::Q4F16,
    ];

    /// What users call it, as transformers.js has it: `fp32`, `q4f16`.
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::Fp32 => "fp32",
            Dtype::Fp16 => "fp16",
            Dtype::Int8 => "int8",
            Dtype::Uint8 => "uint8",
            Dtype::Quantized => "quantized",
            Dtype::Q4 => "q4",
            Dtype::Q4F16 => "q4f16",
            Dtype::Bnb4 => "bnb4",
        }
    }

    /// What transformers.js calls it besides.
    pub const fn other_name(self) -> Option<&'static str> {
        match self {
            Dtype::Quantized => Some("q8"),
            _ => None,
        }
    }

    /// What is also of this type: of [`Quantized`](Self::Quantized), which leaves the sign open, that of either.
    pub const fn others(self) -> &'static [Dtype] {
        match self {
            Dtype::Quantized => &[Dtype::Int8, Dtype::Uint8],
            _ => &[],
        }
    }

    /// What stands between a graph's name and the extension: `_int8`, or nothing for float32.
    pub const fn suffix(self) -> &'static str {
        match self {
            Dtype::Fp32 => "",
            Dtype::Fp16 => "_fp16",
            Dtype::Int8 => "_int8",
            Dtype::Uint8 => "_uint8",
            Dtype::Quantized => "_quantized",
            Dtype::Q4 => "_q4",
            Dtype::Q4F16 => "_q4f16",
            Dtype::Bnb4 => "_bnb4",
        }
    }

    /// What older exports have in the place of [`suffix`](Self::suffix).
    pub const fn older_suffix(self) -> Option<&'static str> {
        match self {
            Dtype::Fp32 => Some("_f32"),
            Dtype::Fp16 => Some("_f16"),
            _ => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`Dtype`]'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDtype(String);

impl fmt::Display for UnknownDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Dtype::BY_PREFERENCE.map(Dtype::name).join(", ");
        write!(f, "there is no dtype {:?}; the dtypes are {names}", self.0)
    }
}

impl std::error::Error for UnknownDtype {}

impl FromStr for Dtype {
    type Err = UnknownDtype;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Dtype::BY_PREFERENCE
            .into_iter()
            .find(|dtype| dtype.name() == name || dtype.other_name() == Some(name));
        found.ok_or_else(|| UnknownDtype(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_preferred_somewhere_and_read_by_its_name() {
        let mut names: Vec<&str> = Dtype::BY_PREFERENCE.map(Dtype::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 8);
        for dtype in Dtype::BY_PREFERENCE {
            assert_eq!(dtype.name().parse(), Ok(dtype));
            assert!(dtype == Dtype::Fp32 || dtype.suffix() == format!("_{dtype}"));
        }
        assert_eq!("q8".parse(), Ok(Dtype::Quantized));
        assert!("int4".parse::<Dtype>().unwrap_err().to_string().contains("q4f16"));
    }
}
