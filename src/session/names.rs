//! Tensors that a graph calls otherwise than its layout does, and inputs of other integer types.

use florence2_layout::graphs::{GraphFile, USE_CACHE_BRANCH};
use florence2_layout::names::GraphNames;

use super::graph::Inputs;
use super::tensor;
use crate::error::Result;
use crate::runtime::{ElementType, GraphSignature, TensorSpec};

/// The differences between a graph's tensors and its layout's.
#[derive(Debug, Default)]
pub(super) struct TensorNames {
    /// Pairs of the layout's name and the graph's.
    inputs: Vec<(String, String)>,
    outputs: Vec<(String, String)>,
    /// The types of inputs that are fed int64 values and have another type, by the layout's names.
    integers: Vec<(String, ElementType)>,
}

impl TensorNames {
    /// Gives the tensors of a signature the layout's names: by the deployment's table, and where the layout has one input or
    /// output only, whatever its name.
    pub(super) fn apply(signature: &mut GraphSignature, file: GraphFile, names: &GraphNames) -> Self {
        let inputs = rename(&mut signature.inputs, file.only_input(), |name| {
            names.layout_input(name)
        });
        let outputs = rename(&mut signature.outputs, file.only_output(), |name| {
            names.layout_output(name)
        });
        let is_other = |spec: &&TensorSpec| {
            matches!(spec.dtype, ElementType::Int32 | ElementType::Bool) && spec.name != USE_CACHE_BRANCH
        };
        let integers = signature.inputs.iter().filter(is_other);
        Self {
            integers: integers.map(|spec| (spec.name.clone(), spec.dtype)).collect(),
            inputs,
            outputs,
        }
    }

    /// Returns whether tensors have other names than the layout's.
    pub(super) fn differ(&self) -> bool {
        !self.inputs.is_empty() || !self.outputs.is_empty()
    }

    /// Returns the inputs of a run by the graph's names and in its types.
    pub(super) fn inputs<'a>(&'a self, mut inputs: Inputs<'a>) -> Result<Inputs<'a>> {
        for (name, element) in &self.integers {
            if let Some((_, value)) = inputs.iter_mut().find(|(input, _)| input == name)
                && let Some(converted) = tensor::converted_integers(value, *element)?
            {
                *value = converted.into();
            }
        }
        for (name, _) in &mut inputs {
            *name = other(&self.inputs, name);
        }
        Ok(inputs)
    }

    /// Returns the graph's name of an output.
    pub(super) fn output<'n>(&'n self, name: &'n str) -> &'n str {
        other(&self.outputs, name)
    }

    /// Returns the layout's name of the graph's output `name`.
    pub(super) fn layout_output(&self, name: String) -> String {
        let found = self.outputs.iter().find(|(_, own)| *own == name);
        found.map_or(name, |(layout, _)| layout.clone())
    }
}

fn other<'n>(names: &'n [(String, String)], name: &'n str) -> &'n str {
    let found = names.iter().find(|(layout, _)| layout == name);
    found.map_or(name, |(_, own)| own)
}

/// Renames tensors. Returns pairs of the new name and the old one.
fn rename(
    specs: &mut [TensorSpec],
    only: Option<&str>,
    layout_name: impl Fn(&str) -> Option<String>,
) -> Vec<(String, String)> {
    let is_alone = specs.len() == 1;
    let mut renamed = Vec::new();
    for spec in specs {
        let only = only.filter(|_| is_alone).map(str::to_owned);
        if let Some(name) = layout_name(&spec.name).or(only)
            && name != spec.name
        {
            renamed.push((name.clone(), std::mem::replace(&mut spec.name, name)));
        }
    }
    renamed
}
