//! The nodes of a graph that ONNX Runtime would compute on the CPU beside a CUDA device, and the copies between the two.
//!
//! The rule is that of `GetCpuPreferredNodes` (`onnxruntime/core/framework/fallback_cpu_capability.cc`): shapes are
//! in CPU memory, and a node whose inputs are all shapes, small constants or integer inputs of the graph is computed
//! on the CPU too, unless its kernel takes them from CPU memory anyway. A copy makes the CPU wait for the device.

use std::collections::BTreeSet;

use florence2_layout::dtypes::Dtype;

use super::{build, image_size};
use crate::checkpoint::Checkpoint;
use crate::graph::Graph;
use crate::options::ExportOptions;
use crate::target::Target;

/// The largest number of elements of a constant that the CPU may take.
const SMALL: usize = 100;

/// The inputs that CUDA's kernels take from CPU memory.
fn cpu_inputs(operator: &str) -> &'static [usize] {
    match operator {
        "Range" => &[0, 1, 2],
        "Slice" => &[1, 2, 3, 4],
        "ConstantOfShape" => &[0],
        "Expand" | "Pad" | "ReduceSum" | "Reshape" | "Split" | "Squeeze" | "Unsqueeze" => &[1],
        "GroupQueryAttention" => &[6],
        _ => &[],
    }
}

/// The tensors that would be copied between CPU memory and device memory.
fn copies(graph: &Graph<'_>) -> Vec<String> {
    let nodes = graph.node_protos();
    let constants = graph.constants();
    let is_small = |name: &str| constants.get(name).is_some_and(|&elements| elements <= SMALL);
    let inputs = graph.integer_inputs();
    let mut on_cpu: BTreeSet<&str> = BTreeSet::new();
    let mut copies = Vec::new();
    // Nodes are in topological order.
    for node in nodes {
        let from_cpu = cpu_inputs(&node.op_type);
        let inputs_of_node = || node.input.iter().enumerate().filter(|(_, name)| !name.is_empty());
        let follows = inputs_of_node().any(|(_, name)| on_cpu.contains(name.as_str()));
        let may_move = inputs_of_node().all(|(index, name)| {
            is_small(name)
                || inputs.contains(name)
                || (on_cpu.contains(name.as_str()) && !from_cpu.contains(&index))
        });
        if node.op_type == "Shape" {
            on_cpu.extend(node.output.iter().map(String::as_str));
        } else if follows && may_move {
            on_cpu.extend(node.output.iter().map(String::as_str));
            let copied = inputs_of_node().filter(|(_, name)| inputs.contains(*name));
            copies.extend(copied.map(|(_, name)| format!("{name} for {}", node.name)));
        } else {
            let copied = inputs_of_node().filter(|(index, name)| {
                let is_on_cpu = on_cpu.contains(name.as_str());
                let is_constant = constants.contains_key(*name);
                is_on_cpu != from_cpu.contains(index) && !is_constant
            });
            copies.extend(copied.map(|(_, name)| format!("{name} for {}", node.name)));
        }
    }
    copies
}

#[test]
fn nothing_is_copied_between_cuda_and_the_cpu() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/checkpoints/base-like"
    );
    let checkpoint = Checkpoint::open(folder).unwrap();
    for dtype in [Dtype::Fp16, Dtype::Fp32] {
        let options = ExportOptions::default()
            .with_target(Target::Cuda)
            .with_dtype(dtype);
        let image_size = image_size(&checkpoint, &options).unwrap();
        let (graphs, _) = build(&checkpoint, &options, image_size).unwrap();
        for (file, graph) in graphs {
            let copies = copies(&graph);
            assert!(copies.is_empty(), "{} {dtype:?}: {copies:?}", file.name());
        }
    }
}
