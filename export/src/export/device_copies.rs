//! What of a graph ONNX Runtime would compute on the processor beside a CUDA device, and so copy between the two.
//!
//! The rule is that of `GetCpuPreferredNodes` (`onnxruntime/core/framework/fallback_cpu_capability.cc`): what is known of
//! shapes is in the processor's memory, and a node whose inputs are all that, small constants or the graph's inputs (none
//! of them of 16-bit floats) is computed there too, unless its kernel takes them from there anyway. A copy costs a wait, and
//! forbids that a CUDA graph is made of a run.

use std::collections::BTreeSet;

use super::{ExportOptions, build, image_size};
use crate::checkpoint::Checkpoint;
use crate::graph::Graph;
use crate::target::{Precision, Target};

/// Constants of more elements are not looked at on the processor.
const SMALL: usize = 100;

/// The inputs that CUDA's kernels take from the processor's memory.
fn processor_inputs(operator: &str) -> &'static [usize] {
    match operator {
        "Range" => &[0, 1, 2],
        "Slice" => &[1, 2, 3, 4],
        "ConstantOfShape" => &[0],
        "Expand" | "Pad" | "ReduceSum" | "Reshape" | "Split" | "Squeeze" | "Unsqueeze" => &[1],
        "GroupQueryAttention" => &[6],
        _ => &[],
    }
}

/// The tensors that would be copied from one memory to the other.
fn copies(graph: &Graph<'_>) -> Vec<String> {
    let nodes = graph.node_protos();
    let constants = graph.constants();
    let is_small = |name: &str| constants.get(name).is_some_and(|&elements| elements <= SMALL);
    let inputs = graph.inputs_of_integers();
    let mut on_processor: BTreeSet<&str> = BTreeSet::new();
    let mut copies = Vec::new();
    // Nodes are in an order in which each comes after what it needs.
    for node in nodes {
        let from_processor = processor_inputs(&node.op_type);
        let given = || node.input.iter().enumerate().filter(|(_, name)| !name.is_empty());
        let follows = given().any(|(_, name)| on_processor.contains(name.as_str()));
        let may_move = given().all(|(index, name)| {
            is_small(name)
                || inputs.contains(name)
                || (on_processor.contains(name.as_str()) && !from_processor.contains(&index))
        });
        if node.op_type == "Shape" {
            on_processor.extend(node.output.iter().map(String::as_str));
        } else if follows && may_move {
            on_processor.extend(node.output.iter().map(String::as_str));
            let copied = given().filter(|(_, name)| inputs.contains(*name));
            copies.extend(copied.map(|(_, name)| format!("{name} for {}", node.name)));
        } else {
            let copied = given().filter(|(index, name)| {
                let is_there = on_processor.contains(name.as_str());
                let is_constant = constants.contains_key(*name);
                is_there != from_processor.contains(index) && !is_constant
            });
            copies.extend(copied.map(|(_, name)| format!("{name} for {}", node.name)));
        }
    }
    copies
}

#[test]
fn nothing_is_copied_between_cuda_and_the_processor() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/checkpoints/base-like"
    );
    let checkpoint = Checkpoint::open(folder).unwrap();
    for precision in [Precision::Fp16, Precision::Fp32] {
        let options = ExportOptions::default()
            .with_target(Target::Cuda)
            .with_precision(precision);
        let image_size = image_size(&checkpoint, &options).unwrap();
        let (graphs, _) = build(&checkpoint, &options, image_size).unwrap();
        for (file, graph) in graphs {
            let copies = copies(&graph);
            assert!(copies.is_empty(), "{} {precision:?}: {copies:?}", file.name());
        }
    }
}
