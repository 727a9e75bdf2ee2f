//! What can be exported to: one row each.

use florence2_layout::graphs::GraphFile;

use crate::error::{Error, Result};
use crate::graph::CONTRIB_DOMAIN;

/// A set of graphs, for a kind of runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Target {
    /// Standard ONNX operators only, in the layout of the onnx-community deployments: runs everywhere.
    #[default]
    Plain,
    /// ONNX Runtime on a CPU: the `step` layout, with ONNX Runtime's own operators.
    Cpu,
}

/// A target's row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TargetSpec {
    /// On the command line and in the graphs' metadata.
    pub(crate) name: &'static str,
    /// Domains of operators and their versions; ONNX's own is the empty one.
    pub(crate) opsets: &'static [(&'static str, i64)],
    /// Version of the file format.
    pub(crate) ir_version: i64,
    /// Its graphs.
    pub(crate) graphs: &'static [GraphFile],
    /// What its weights may be stored as.
    pub(crate) precisions: &'static [Precision],
}

impl Target {
    /// Every target.
    pub const ALL: [Target; 2] = [Target::Plain, Target::Cpu];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// The target of a name.
    pub fn from_name(name: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|target| target.name() == name)
    }

    /// What its weights may be stored as.
    pub fn precisions(self) -> &'static [Precision] {
        self.spec().precisions
    }

    pub(crate) fn spec(self) -> TargetSpec {
        match self {
            Target::Plain => TargetSpec {
                name: "plain",
                opsets: &[("", 17)],
                ir_version: 8,
                graphs: &GraphFile::PLAIN,
                precisions: &[Precision::Fp32],
            },
            Target::Cpu => TargetSpec {
                name: "cpu",
                opsets: &[("", 20), (CONTRIB_DOMAIN, 1)],
                ir_version: 10,
                graphs: &GraphFile::STEP,
                precisions: &Precision::ALL,
            },
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

/// How weights are stored and computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// Matrices of signed bytes with a scale for each output channel, and products in integers: what goes in is
    /// quantised to bytes while it runs.
    Int8,
    /// The decoder's matrices of 4 bits with a scale for each block of 32; everything else, and the embedding matrix, as
    /// in [`Int8`](Self::Int8), which is faster where many tokens go through at once.
    Int4,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 3] = [Precision::Fp32, Precision::Int8, Precision::Int4];

    /// The precision of a name.
    pub fn from_name(name: &str) -> Option<Precision> {
        Precision::ALL
            .into_iter()
            .find(|precision| precision.name() == name)
    }

    /// Its name on the command line and in the graphs' metadata.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Int8 => "int8",
            Precision::Int4 => "int4",
        }
    }

    /// What follows a graph's name in its file's name: as in the onnx-community deployments.
    pub fn suffix(self) -> &'static str {
        match self {
            Precision::Fp32 => "",
            Precision::Int8 => "_int8",
            Precision::Int4 => "_q4",
        }
    }
}
