//! Outputs of the largest magnitudes inside a graph, for calibration.

use super::{Attribute, Dim, Graph, Value};

impl Graph<'_> {
    /// Adds an output of the largest magnitude of each channel, `[channels]`, of the norm `module`, whose result has three
    /// axes; nothing if the norm is not in this graph.
    pub(crate) fn observe_norm(&mut self, module: &str, output: &str) {
        let weight = format!("{module}.weight");
        let norm = self.nodes.iter().find(|node| node.input.contains(&weight));
        // Of an operator that ends in a norm, the norm's result is the last output.
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
        self.output(output, &largest, &[channels]);
    }
}
