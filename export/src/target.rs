//! What can be exported to: one row each.

use florence2_layout::dtypes::Dtype;
use florence2_layout::graphs::GraphFile;

use crate::error::{Error, Result};

/// The domain of ONNX Runtime's own operators.
pub(crate) const CONTRIB_DOMAIN: &str = "com.microsoft";

/// A set of graphs, for a kind of runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Target {
    /// The layout of the onnx-community deployments. In [`Fp32`](Precision::Fp32), [`Fp16`](Precision::Fp16),
    /// [`Int8`](Precision::Int8) and [`Uint8`](Precision::Uint8) of standard ONNX operators only: runs everywhere. The
    /// 4-bit precisions use operators of ONNX Runtime's, as those deployments do.
    #[default]
    Plain,
    /// ONNX Runtime on a CPU: the `step` layout, with ONNX Runtime's own operators and ours.
    Cpu,
    /// ONNX Runtime on a GPU: the `step` layout, with ONNX Runtime's own operators. The decoder's caches are of the
    /// precision, so that they stay in the device's memory as they are. On CUDA, in [`Fp16`](Precision::Fp16): its
    /// operator for caches in place (`GroupQueryAttention`) takes no 32-bit floats. [`Fp32`](Precision::Fp32) is for
    /// providers whose operator does.
    Cuda,
}

/// The operators that a target's graphs are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Operators {
    /// ONNX's own of opset 17, which every runtime has.
    #[default]
    Standard,
    /// ONNX's own of opset 20, and those of ONNX Runtime's that its providers for GPUs have kernels for.
    Contrib,
    /// These too, and ours, which this project has kernels for on a CPU.
    Own,
}

/// A target's row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TargetSpec {
    /// On the command line and in the graphs' metadata.
    pub(crate) name: &'static str,
    /// Version of the file format.
    pub(crate) ir_version: i64,
    /// Its graphs.
    pub(crate) graphs: &'static [GraphFile],
    /// What they are made of.
    pub(crate) operators: Operators,
    /// What its weights may be stored as.
    pub(crate) precisions: &'static [Precision],
}

impl Target {
    /// Every target.
    pub const ALL: [Target; 3] = [Target::Plain, Target::Cpu, Target::Cuda];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// The target of a name.
    pub fn from_name(name: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|target| target.name() == name)
    }

    /// Its graphs.
    pub fn graphs(self) -> &'static [GraphFile] {
        self.spec().graphs
    }

    /// What its weights may be stored as.
    pub fn precisions(self) -> &'static [Precision] {
        self.spec().precisions
    }

    pub(crate) fn spec(self) -> TargetSpec {
        match self {
            Target::Plain => TargetSpec {
                name: "plain",
                ir_version: 8,
                graphs: &GraphFile::PLAIN,
                operators: Operators::Standard,
                precisions: &[
                    Precision::Fp32,
                    Precision::Fp16,
                    Precision::Int8,
                    Precision::Quantized,
                    Precision::Uint8,
                    Precision::Q4,
                    Precision::Q4F16,
                    Precision::Bnb4,
                ],
            },
            Target::Cpu => TargetSpec {
                name: "cpu",
                ir_version: 10,
                graphs: &GraphFile::STEP,
                operators: Operators::Own,
                precisions: &[Precision::Fp32, Precision::Int8, Precision::Int4],
            },
            Target::Cuda => TargetSpec {
                name: "cuda",
                ir_version: 10,
                graphs: &GraphFile::STEP,
                operators: Operators::Contrib,
                precisions: &[Precision::Fp32, Precision::Fp16],
            },
        }
    }

    /// Domains of operators and their versions; ONNX's own is the empty one.
    pub(crate) fn opsets(self, precision: Precision) -> &'static [(&'static str, i64)] {
        match (self, precision) {
            (Target::Cpu | Target::Cuda, _) => &[("", 20), (CONTRIB_DOMAIN, 1)],
            (Target::Plain, Precision::Q4 | Precision::Q4F16 | Precision::Bnb4) => {
                &[("", 17), (CONTRIB_DOMAIN, 1)]
            }
            (Target::Plain, _) => &[("", 17)],
        }
    }

    /// # Errors
    /// [`Error::PrecisionNotInTarget`] if it does not have `precision`.
    pub(crate) fn check(self, precision: Precision) -> Result<()> {
        match self.precisions().contains(&precision) {
            true => Ok(()),
            false => Err(Error::PrecisionNotInTarget {
                target: self,
                precision,
            }),
        }
    }
}

/// How weights are stored and computed with. Which a target has: [`Target::precisions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// 16-bit floats, in weights and arithmetic; what overflows there stays in 32 bits.
    Fp16,
    /// Matrices of signed bytes with a scale for each output channel, and products in integers: what goes in is
    /// quantised to bytes while it runs.
    Int8,
    /// [`Int8`](Self::Int8) by the name under which transformers.js looks for it (`q8`).
    Quantized,
    /// As [`Int8`](Self::Int8) in the plain target, but of unsigned bytes, with a zero point for each output channel.
    Uint8,
    /// The decoder's matrices of 4 bits with a scale for each block of 32; everything else, and the embedding matrix, as
    /// in [`Int8`](Self::Int8), which is faster where many tokens go through at once.
    Int4,
    /// Matrices of 4-bit integers with a scale for each block of 32 (`MatMulNBits`), the rest in 32-bit floats.
    Q4,
    /// As [`Q4`](Self::Q4), the rest in 16-bit floats.
    Q4F16,
    /// Matrices of 4-bit floats (NF4 of bitsandbytes) with a scale for each block of 64 (`MatMulBnb4`), the rest in 32-bit
    /// floats.
    Bnb4,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 9] = [
        Precision::Fp32,
        Precision::Fp16,
        Precision::Int8,
        Precision::Quantized,
        Precision::Uint8,
        Precision::Int4,
        Precision::Q4,
        Precision::Q4F16,
        Precision::Bnb4,
    ];

    /// The precision of a name.
    pub fn from_name(name: &str) -> Option<Precision> {
        Precision::ALL
            .into_iter()
            .find(|precision| precision.name() == name)
    }

    /// Its name on the command line and in the graphs' metadata: its [`dtype`](Self::dtype)'s, except for
    /// [`Int4`](Self::Int4).
    pub fn name(self) -> &'static str {
        match self {
            Precision::Int4 => "int4",
            _ => self.dtype().name(),
        }
    }

    /// What follows a graph's name in its file's name: as in the onnx-community deployments.
    pub fn suffix(self) -> &'static str {
        self.dtype().suffix()
    }

    /// By which name and suffix those who load the graphs know it.
    pub fn dtype(self) -> Dtype {
        match self {
            Precision::Fp32 => Dtype::Fp32,
            Precision::Fp16 => Dtype::Fp16,
            Precision::Int8 => Dtype::Int8,
            Precision::Quantized => Dtype::Quantized,
            Precision::Uint8 => Dtype::Uint8,
            Precision::Int4 | Precision::Q4 => Dtype::Q4,
            Precision::Q4F16 => Dtype::Q4F16,
            Precision::Bnb4 => Dtype::Bnb4,
        }
    }

    /// Whether arithmetic is in 16-bit floats.
    pub(crate) fn is_float16(self) -> bool {
        matches!(self, Precision::Fp16 | Precision::Q4F16)
    }
}
