//! Where a graph's nodes run, for people and programs.

use std::collections::BTreeMap;

use florence2::runtime::{DeviceKind, Placement, ProviderNodes};
use serde::Serialize;

/// Where a graph's nodes run.
#[derive(Debug, Serialize)]
pub struct PlacementRecord {
    pub providers: Vec<ProviderRecord>,
    /// Nodes that copy a tensor between the processor's memory and another device's.
    pub copies: usize,
    /// The same in words.
    #[serde(skip)]
    pub summary: String,
}

/// What a provider got.
#[derive(Debug, Serialize)]
pub struct ProviderRecord {
    pub provider: String,
    pub nodes: usize,
    /// Whether a node of it stands for a part of the graph.
    pub compiled: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub operators: BTreeMap<String, usize>,
}

impl From<&Placement> for PlacementRecord {
    fn from(placement: &Placement) -> Self {
        let record = |nodes: &ProviderNodes| ProviderRecord {
            provider: nodes.provider.clone(),
            nodes: nodes.nodes,
            compiled: compiles(nodes),
            operators: nodes.operators.clone(),
        };
        Self {
            providers: placement.providers.iter().map(record).collect(),
            copies: placement.copies(),
            summary: summary(placement),
        }
    }
}

fn compiles(nodes: &ProviderNodes) -> bool {
    let mut kinds = DeviceKind::ALL.iter();
    kinds.any(|kind| kind.provider() == nodes.provider && kind.compiles())
}

/// As `OpenVINOExecutionProvider 7 (compiled parts), CPUExecutionProvider 6 (3 GroupQueryAttention, 3 Add), 2 copies`.
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
    match shown.is_empty() {
        true => format!("{provider} {count}"),
        false => format!("{provider} {count} ({})", shown.join(", ")),
    }
}
