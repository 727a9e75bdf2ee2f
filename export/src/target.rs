//! The kinds of runtime that graphs are exported for.

use std::str::FromStr;

use florence2_layout::dtypes::Dtype;
use florence2_layout::graphs::GraphFile;

/// The domain of ONNX Runtime's own operators.
pub(crate) const CONTRIB_DOMAIN: &str = "com.microsoft";

/// A set of graphs, for a kind of runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Target {
    /// The layout of the onnx-community deployments, in all dtypes. [`Fp32`](Dtype::Fp32), [`Fp16`](Dtype::Fp16),
    /// [`Int8`](Dtype::Int8) and [`Uint8`](Dtype::Uint8) graphs consist of standard ONNX operators and run everywhere;
    /// 4-bit ones also use operators of ONNX Runtime, as those deployments do.
    #[default]
    Plain,
    /// The fused layout for ONNX Runtime on a CPU, with operators of ONNX Runtime and of this project, in
    /// [`Fp32`](Dtype::Fp32), [`Int8`](Dtype::Int8) and [`Q4`](Dtype::Q4).
    Cpu,
    /// The fused layout for ONNX Runtime on a GPU, with operators of ONNX Runtime, in [`Fp32`](Dtype::Fp32) and
    /// [`Fp16`](Dtype::Fp16). The decoder's KV caches have the graph's dtype, so that they can stay in device memory.
    /// CUDA needs `Fp16`: its operator that writes caches in place (`GroupQueryAttention`) takes no float32.
    Cuda,
}

/// The operators that a target's graphs consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Operators {
    /// Standard ONNX operators of opset 17.
    #[default]
    Standard,
    /// Standard ONNX operators of opset 20, and those of ONNX Runtime that its GPU providers have kernels for.
    Contrib,
    /// As [`Contrib`](Self::Contrib), and this project's operators, which have CPU kernels.
    Custom,
}

/// A target's properties.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TargetSpec {
    /// Name in options and in the graphs' metadata.
    pub(crate) name: &'static str,
    /// IR version of the ONNX files.
    pub(crate) ir_version: i64,
    pub(crate) graphs: &'static [GraphFile],
    pub(crate) operators: Operators,
    pub(crate) dtypes: &'static [Dtype],
}

impl Target {
    /// Every target.
    pub const ALL: [Target; 3] = [Target::Plain, Target::Cpu, Target::Cuda];

    /// Returns the target's name in options and in the graphs' metadata: `plain`, `cpu` or `cuda`.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Returns the target's graphs.
    pub fn graphs(self) -> &'static [GraphFile] {
        self.spec().graphs
    }

    /// Returns the dtypes that the target's graphs can be exported in.
    pub fn dtypes(self) -> &'static [Dtype] {
        self.spec().dtypes
    }

    pub(crate) fn spec(self) -> TargetSpec {
        match self {
            Target::Plain => TargetSpec {
                name: "plain",
                ir_version: 8,
                graphs: &GraphFile::PLAIN,
                operators: Operators::Standard,
                dtypes: &Dtype::BY_PREFERENCE,
            },
            Target::Cpu => TargetSpec {
                name: "cpu",
                ir_version: 10,
                graphs: &GraphFile::FUSED,
                operators: Operators::Custom,
                dtypes: &[Dtype::Fp32, Dtype::Int8, Dtype::Q4],
            },
            Target::Cuda => TargetSpec {
                name: "cuda",
                ir_version: 10,
                graphs: &GraphFile::FUSED,
                operators: Operators::Contrib,
                dtypes: &[Dtype::Fp32, Dtype::Fp16],
            },
        }
    }

    /// Returns the operator domains of a graph and their versions; the domain of standard ONNX is empty.
    pub(crate) fn opsets(self, dtype: Dtype) -> &'static [(&'static str, i64)] {
        match (self, dtype) {
            (Target::Cpu | Target::Cuda, _) => &[("", 20), (CONTRIB_DOMAIN, 1)],
            (Target::Plain, Dtype::Q4 | Dtype::Q4F16 | Dtype::Bnb4) => &[("", 17), (CONTRIB_DOMAIN, 1)],
            (Target::Plain, _) => &[("", 17)],
        }
    }
}

/// A name that no [`Target`] has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no export target {name:?}; the targets are {}", Target::ALL.map(Target::name).join(", "))]
pub struct UnknownTarget {
    name: String,
}

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Target::ALL.into_iter().find(|target| target.name() == name);
        found.ok_or_else(|| UnknownTarget {
            name: name.to_owned(),
        })
    }
}
