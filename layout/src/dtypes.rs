//! Dtypes of a graph: how its weights are stored, and the suffix of its file's name.

use std::str::FromStr;

/// The dtype of a graph's weights and arithmetic, a suffix of its file's name: `vision_encoder_int8.onnx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Dtype {
    /// float32; no suffix.
    #[default]
    Fp32,
    /// float16 in weights and arithmetic; exports keep operations that overflow float16 in float32.
    Fp16,
    /// Signed 8-bit integers with a scale for each output channel; activations are quantized to 8 bits at run time.
    Int8,
    /// Unsigned 8-bit integers with a scale and a zero point for each output channel; activations as with
    /// [`Int8`](Self::Int8).
    Uint8,
    /// 8-bit integers, signed or unsigned. In exports, the same as [`Int8`](Self::Int8) (signed), by the name that
    /// transformers.js looks for.
    Quantized,
    /// 4-bit integers with a scale for each block of 32 (`MatMulNBits`), the rest in float32. In the fused layout for
    /// CPUs: the decoder's matrices only, the rest as with [`Int8`](Self::Int8).
    Q4,
    /// As [`Q4`](Self::Q4), the rest in float16.
    Q4F16,
    /// 4-bit floats (NF4 of bitsandbytes) with a scale for each block of 64 (`MatMulBnb4`), the rest in float32.
    Bnb4,
}

impl Dtype {
    /// All dtypes in the order in which a CPU prefers them: the exact one, then 8-bit integers before 4-bit ones, which
    /// are less accurate. Those with float16 are last: CPUs compute in float32 and convert back and forth.
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

    /// Returns the dtype's name in options and output, which is that of transformers.js: `fp32`, `q4f16`.
    pub fn name(self) -> &'static str {
        self.suffix().strip_prefix('_').unwrap_or("fp32")
    }

    /// Returns a second name that options accept: `q8` as in transformers.js, `int4` as in earlier exports.
    const fn alias(self) -> Option<&'static str> {
        match self {
            Dtype::Quantized => Some("q8"),
            Dtype::Q4 => Some("int4"),
            _ => None,
        }
    }

    /// Returns the dtypes that are loaded if a file of this dtype is missing: for [`Quantized`](Self::Quantized),
    /// which is signed or unsigned, the dtypes of either sign.
    pub const fn substitutes(self) -> &'static [Dtype] {
        match self {
            Dtype::Quantized => &[Dtype::Int8, Dtype::Uint8],
            _ => &[],
        }
    }

    /// Returns whether arithmetic is in float16.
    pub const fn is_float16(self) -> bool {
        matches!(self, Dtype::Fp16 | Dtype::Q4F16)
    }

    /// Returns the part of a file's name between the graph's name and the extension: `_int8`, or nothing for float32.
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

    /// Returns the [`suffix`](Self::suffix) in the file names of older exports, where it differs.
    pub const fn older_suffix(self) -> Option<&'static str> {
        match self {
            Dtype::Fp32 => Some("_f32"),
            Dtype::Fp16 => Some("_f16"),
            _ => None,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no [`Dtype`] has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no dtype {name:?}; the dtypes are {}", Dtype::BY_PREFERENCE.map(Dtype::name).join(", "))]
pub struct UnknownDtype {
    name: String,
}

impl FromStr for Dtype {
    type Err = UnknownDtype;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Dtype::BY_PREFERENCE
            .into_iter()
            .find(|dtype| dtype.name() == name || dtype.alias() == Some(name));
        found.ok_or_else(|| UnknownDtype {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_has_a_rank_and_is_parsed_from_its_name() {
        let mut names: Vec<&str> = Dtype::BY_PREFERENCE.map(Dtype::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 8);
        for dtype in Dtype::BY_PREFERENCE {
            assert_eq!(dtype.name().parse(), Ok(dtype));
            assert!(dtype == Dtype::Fp32 || dtype.suffix() == format!("_{dtype}"));
        }
        assert_eq!("q8".parse(), Ok(Dtype::Quantized));
        assert_eq!("int4".parse(), Ok(Dtype::Q4));
        assert!("int3".parse::<Dtype>().unwrap_err().to_string().contains("q4f16"));
    }
}
