//! What can be exported to: one row each.

use florence2_layout::graphs::GraphFile;

/// A set of graphs, for a kind of runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Target {
    /// Standard ONNX operators only, in the layout of the onnx-community deployments: runs everywhere.
    #[default]
    Plain,
}

/// A target's row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TargetSpec {
    /// On the command line and in the graphs' metadata.
    pub(crate) name: &'static str,
    /// Version of the standard operators.
    pub(crate) opset: i64,
    /// Version of the file format.
    pub(crate) ir_version: i64,
    /// Its graphs.
    pub(crate) graphs: &'static [GraphFile],
}

impl Target {
    /// Every target.
    pub const ALL: [Target; 1] = [Target::Plain];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// The target of a name.
    pub fn from_name(name: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|target| target.name() == name)
    }

    pub(crate) fn spec(self) -> TargetSpec {
        match self {
            Target::Plain => TargetSpec {
                name: "plain",
                opset: 17,
                ir_version: 8,
                graphs: &GraphFile::PLAIN,
            },
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
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 1] = [Precision::Fp32];

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
        }
    }

    /// What follows a graph's name in its file's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Precision::Fp32 => "",
        }
    }
}
