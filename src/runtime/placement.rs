//! Where the nodes of a loaded graph run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ort::logging::{LogLevel, LoggerFunction};

use super::device::{Device, DeviceKind};
use super::log;

/// Where the nodes of a loaded graph run, after all rewriting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Placement {
    /// What the graph is called in messages.
    pub graph: String,
    /// Each provider that got nodes, as ONNX Runtime lists them. Empty if it does not say: if the application has made
    /// the session, or an ONNX Runtime to come says it otherwise.
    pub providers: Vec<ProviderNodes>,
}

/// The nodes that a provider got.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProviderNodes {
    /// ONNX Runtime's name for it: `CUDAExecutionProvider`.
    pub provider: String,
    /// How many nodes, those of branches included. What a provider [compiles](DeviceKind::compiles) is one node for each
    /// part of the graph that it got as a whole.
    pub nodes: usize,
    /// How many of each operator; empty where one provider got everything.
    pub operators: BTreeMap<String, usize>,
}

/// The operators that ONNX Runtime adds where a tensor goes from one device's memory to another's.
const COPIES: [&str; 2] = ["MemcpyFromHost", "MemcpyToHost"];

impl Placement {
    /// Whether it is known.
    pub fn is_known(&self) -> bool {
        !self.providers.is_empty()
    }

    /// How many nodes the devices of a kind got.
    pub fn nodes_on(&self, kind: DeviceKind) -> usize {
        let of_kind = |nodes: &&ProviderNodes| nodes.provider == kind.provider();
        self.providers
            .iter()
            .filter(of_kind)
            .map(|nodes| nodes.nodes)
            .sum()
    }

    /// How many nodes only copy a tensor between the processor's memory and another device's. Providers whose devices
    /// share its memory need none.
    pub fn copies(&self) -> usize {
        let operators = self.providers.iter().flat_map(|nodes| &nodes.operators);
        operators
            .filter(|(operator, _)| COPIES.contains(&operator.as_str()))
            .map(|(_, count)| count)
            .sum()
    }

    /// Says in the log where the nodes are, with a warning if a device that was asked for got none.
    pub(crate) fn report(&self, devices: &[Device]) {
        let graph = &self.graph;
        if !self.is_known() {
            tracing::warn!(graph, "ONNX Runtime does not say which devices its nodes are on");
            return;
        }
        match self.providers.as_slice() {
            [only] => tracing::debug!(
                graph,
                provider = only.provider,
                nodes = only.nodes,
                "all nodes are there"
            ),
            _ => {
                tracing::info!(graph, providers = ?self.providers, copies = self.copies(), "nodes are here and there")
            }
        }
        for device in devices {
            if self.nodes_on(device.kind()) == 0 && !device.is_cpu() {
                tracing::warn!(graph, %device, "nothing of the graph runs on it");
            }
        }
    }
}

/// Reads the placement from what ONNX Runtime logs when it makes a session. There is nothing else that all versions
/// from 1.22 on have, and that counts the copies.
#[derive(Debug, Default)]
struct Reader {
    providers: Vec<ProviderNodes>,
    /// Nodes still to be listed for the last provider.
    to_come: usize,
}

impl Reader {
    /// Takes a message. These are looked for:
    ///
    /// ```text
    /// Node placements
    ///  All nodes placed on [CPUExecutionProvider]. Number of nodes: 511
    ///  Node(s) placed on [CUDAExecutionProvider]. Number of nodes: 1
    ///   Gather (name of the node)
    /// ```
    fn read(&mut self, message: &str) {
        let message = message.trim();
        if message == "Node placements" {
            *self = Self::default();
            return;
        }
        if let Some((listed, nodes)) = heading(message) {
            self.to_come = if listed { nodes.nodes } else { 0 };
            self.providers.push(nodes);
            return;
        }
        if self.to_come > 0
            && let Some(nodes) = self.providers.last_mut()
            && let Some((operator, _)) = message.split_once(" (")
        {
            *nodes.operators.entry(operator.to_owned()).or_default() += 1;
            self.to_come -= 1;
        }
    }
}

/// A provider and its number of nodes, and whether the nodes are listed thereafter.
fn heading(message: &str) -> Option<(bool, ProviderNodes)> {
    let (whose, rest) = message.split_once(" placed on [")?;
    let (provider, rest) = rest.split_once("]. Number of nodes: ")?;
    let nodes = ProviderNodes {
        provider: provider.to_owned(),
        nodes: rest.parse().ok()?,
        operators: BTreeMap::new(),
    };
    match whose {
        "All nodes" => Some((false, nodes)),
        "Node(s)" => Some((true, nodes)),
        _ => None,
    }
}

/// Listens to the making of a session.
#[derive(Debug, Clone, Default)]
pub(super) struct Listener(Arc<Mutex<Reader>>);

impl Listener {
    /// The session's logger. All that is not about the placement is handed on as without it.
    pub(super) fn logger(&self) -> LoggerFunction {
        let reader = Arc::clone(&self.0);
        let details_are_read = log::details_are_read();
        Arc::new(move |level, _, _, location, message| {
            if level == LogLevel::Verbose {
                reader
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .read(message);
            }
            if details_are_read || level >= LogLevel::Warning {
                log::hand_on(level, location, message);
            }
        })
    }

    /// What was heard.
    pub(super) fn placement(&self, graph: String) -> Placement {
        let mut reader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Placement {
            graph,
            providers: std::mem::take(&mut reader.providers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &str) -> Placement {
        let mut reader = Reader::default();
        log.lines().for_each(|line| reader.read(line));
        Placement {
            graph: "test".into(),
            providers: reader.providers,
        }
    }

    #[test]
    fn one_provider() {
        let placement = read(
            "GraphTransformer MemcpyTransformer modified: 0 with status: OK\n\
             Node placements\n \
             All nodes placed on [CPUExecutionProvider]. Number of nodes: 511\n\
             SaveMLValueNameIndexMapping",
        );
        assert_eq!(placement.nodes_on(DeviceKind::Cpu), 511);
        assert_eq!(
            (
                placement.providers.len(),
                placement.copies(),
                placement.is_known()
            ),
            (1, 0, true)
        );
    }

    #[test]
    fn several_providers_and_copies() {
        let placement = read(
            "Node placements\n\
             \x20Node(s) placed on [CUDAExecutionProvider]. Number of nodes: 4\n\
             \x20  MatMul (/layer (0)/MatMul)\n\
             \x20  MemcpyFromHost (Memcpy)\n\
             \x20  MatMul (MatMul_2)\n\
             \x20  MemcpyToHost ()\n\
             \x20Node(s) placed on [CPUExecutionProvider]. Number of nodes: 1\n\
             \x20  Gather (Gather_1)\n\
             Gather (no node, though it looks so)\n",
        );
        assert_eq!(
            (
                placement.nodes_on(DeviceKind::Cuda),
                placement.nodes_on(DeviceKind::Cpu)
            ),
            (4, 1)
        );
        assert_eq!(placement.copies(), 2);
        assert_eq!(placement.providers[0].operators["MatMul"], 2);
        assert_eq!(
            placement.providers[1].operators,
            [("Gather".to_owned(), 1)].into()
        );
    }

    #[test]
    fn nothing_is_made_up() {
        for log in [
            "",
            "Node placements\nAll nodes placed on [CPUExecutionProvider]",
            "Some nodes placed on [CPUExecutionProvider]. Number of nodes: many",
        ] {
            assert!(!read(log).is_known(), "{log}");
        }
    }
}
