//! Custom operators, each defined by other operators as an ONNX function.

use std::collections::BTreeMap;

use super::value::value_of_any_shape;
use super::{Attribute, Graph, Value};
use florence2_layout::onnx::{DataType, FunctionProto};
use florence2_layout::operators::DOMAIN;

/// A custom operator, in the domain [`DOMAIN`]. Runtimes that have no kernel for it run its body instead.
pub(crate) struct Function<const INPUTS: usize, const OUTPUTS: usize> {
    pub(crate) name: &'static str,
    pub(crate) inputs: [&'static str; INPUTS],
    pub(crate) attributes: &'static [&'static str],
    pub(crate) outputs: [&'static str; OUTPUTS],
    /// Makes the nodes that compute the outputs. They may use [attributes](Attribute::Parameter) of the operator, but no
    /// weights or constants of a graph: a function has none.
    pub(crate) body: fn(&mut Graph<'_>, [Value; INPUTS]) -> [Value; OUTPUTS],
}

/// The functions that a graph uses, by name, without the opset versions of their bodies.
pub(super) type Functions = BTreeMap<&'static str, FunctionProto>;

impl<const INPUTS: usize, const OUTPUTS: usize> Function<INPUTS, OUTPUTS> {
    fn define(&self) -> FunctionProto {
        let mut body = Graph::default();
        let inputs = self.inputs.map(|name| body.input(name, DataType::Float, &[]));
        let outputs = (self.body)(&mut body, inputs);
        for (name, value) in self.outputs.iter().zip(&outputs) {
            body.output(name, value, &[]);
        }
        let (body, ..) = body.finish(self.name);
        FunctionProto {
            name: self.name.to_owned(),
            input: self.inputs.map(str::to_owned).to_vec(),
            output: self.outputs.map(str::to_owned).to_vec(),
            attribute: self.attributes.iter().map(|&name| name.to_owned()).collect(),
            node: body.node,
            domain: DOMAIN.to_owned(),
            ..FunctionProto::default()
        }
    }
}

impl Graph<'_> {
    /// Adds a node of a function. The type of its outputs is stored, since shape inference fails for bodies with operators
    /// that are not ONNX's own.
    pub(crate) fn call<const INPUTS: usize, const OUTPUTS: usize>(
        &mut self,
        function: &Function<INPUTS, OUTPUTS>,
        inputs: [&Value; INPUTS],
        attributes: &[(&str, Attribute<'_>)],
    ) -> [Value; OUTPUTS] {
        self.functions
            .entry(function.name)
            .or_insert_with(|| function.define());
        let outputs = self.nodes(DOMAIN, function.name, &inputs, attributes);
        let float = |value| value_of_any_shape(value, DataType::Float);
        self.value_info.extend(outputs.iter().map(float));
        outputs
    }
}
