//! The placement of a graph's nodes, as JSON and as text.

use florence2::runtime::{DeviceKind, Placement, ProviderNodes};
use serde::{Serialize, Serializer};
use serde_json::json;

/// Serializes the placement of a graph that was loaded.
pub fn serialize<S: Serializer>(placement: &Option<Placement>, serializer: S) -> Result<S::Ok, S::Error> {
    let record = placement.as_ref().map(|placement| {
        let providers = placement.providers.iter().map(|nodes| {
            let mut record = json!({
                "provider": nodes.provider,
                "nodes": nodes.nodes,
                "compiled": compiles(nodes),
            });
            if !nodes.operators.is_empty() {
                record["operators"] = json!(nodes.operators);
            }
            record
        });
        json!({ "providers": providers.collect::<Vec<_>>(), "copies": placement.copies() })
    });
    record.serialize(serializer)
}

fn compiles(nodes: &ProviderNodes) -> bool {
    let mut kinds = DeviceKind::ALL.iter();
    kinds.any(|kind| kind.provider() == nodes.provider && kind.compiles())
}

/// Formats a placement as `OpenVINOExecutionProvider 7 (compiled parts), CPUExecutionProvider 6 (3 GroupQueryAttention, 3 Add), 2 copies`.
pub fn summary(placement: &Placement) -> String {
    if !placement.is_known() {
        return "unknown".into();
    }
    let mut parts: Vec<String> = placement.providers.iter().map(provider).collect();
    match placement.copies() {
        0 => {}
        1 => parts.push("1 copy between them".into()),
        copies => parts.push(format!("{copies} copies between them")),
    }
    parts.join(", ")
}

fn provider(nodes: &ProviderNodes) -> String {
    const SHOWN: usize = 4;
    let ProviderNodes {
        provider,
        nodes: count,
        operators,
        ..
    } = nodes;
    if compiles(nodes) {
        return format!(
            "{provider} {count} ({})",
            if *count == 1 {
                "compiled as a whole"
            } else {
                "compiled parts"
            }
        );
    }
    let mut operators: Vec<(&String, &usize)> = operators.iter().collect();
    operators.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
    let mut shown: Vec<String> = operators
        .iter()
        .take(SHOWN)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if operators.len() > SHOWN {
        shown.push("...".into());
    }
    if shown.is_empty() {
        format!("{provider} {count}")
    } else {
        format!("{provider} {count} ({})", shown.join(", "))
    }
}
