//! Outputs that say how large values inside a graph become.

use super::{Attribute, Dim, Graph, Value};
use florence2_layout::onnx::DataType;

impl Graph<'_> {
    /// Makes the largest magnitude of each channel (place along the last axis) an output, for the three-dimensional
    /// result of the norm whose weight is `module`'s, if it is in this graph.
    pub(crate) fn observe_norm(&mut self, module: &str, output: &str) {
        let weight = format!("{module}.weight");
        let norm = self.nodes.iter().find(|node| node.input.contains(&weight));
        // Where a norm is the end of a larger operator, its result is the last.
        let Some(result) = norm.and_then(|norm| norm.output.last()) else {
            return;
        };
        let result = Value(result.as_str().into());
        let channels = self
            .initializers
            .iter()
            .find(|initializer| initializer.name == weight);
        let channels = channels.map_or(Dim::Name("channels"), |weight| weight.len().into());
        let magnitudes = self.unary("Abs", &result);
        let axes = self.ints(&[0, 1]);
        let largest = self.node(
            "ReduceMax",
            &[&magnitudes, &axes],
            &[("keepdims", Attribute::Int(0))],
        );
        self.output(output, &largest, DataType::Float, &[channels]);
    }
}
