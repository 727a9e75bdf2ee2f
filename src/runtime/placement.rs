//! The placement of a loaded graph's nodes on devices.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ort::logging::{LogLevel, LoggerFunction};

use super::device::{Device, DeviceKind, ExecutionProviders};
use super::log;

/// The placement of a loaded graph's nodes on execution providers, after optimization.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Placement {
    /// The graph's name in error messages and reports.
    pub graph: String,
    /// The providers with nodes, in ONNX Runtime's order. Empty if they are unknown: if the application has made the
    /// session, or a later ONNX Runtime logs them in another form.
    pub providers: Vec<ProviderNodes>,
}

/// The nodes that are assigned to a provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProviderNodes {
    /// ONNX Runtime's name for the provider: `CUDAExecutionProvider`.
    pub provider: String,
    /// The number of nodes, including nodes in branches. Each part of the graph that a provider
    /// [compiles](DeviceKind::compiles) is one node.
    pub nodes: usize,
    /// The number of nodes of each operator; empty if one provider has all nodes.
    pub operators: BTreeMap<String, usize>,
}

/// The operators that ONNX Runtime inserts to copy tensors between devices.
const COPIES: [&str; 2] = ["MemcpyFromHost", "MemcpyToHost"];

impl Placement {
    /// Returns `true` if the placement is known.
    pub fn is_known(&self) -> bool {
        !self.providers.is_empty()
    }

    /// Returns the number of nodes on devices of a kind.
    pub fn nodes_on(&self, kind: DeviceKind) -> usize {
        let of_kind = |nodes: &&ProviderNodes| nodes.provider == kind.provider();
        self.providers
            .iter()
            .filter(of_kind)
            .map(|nodes| nodes.nodes)
            .sum()
    }

    /// Returns the number of nodes that copy a tensor between the CPU's memory and a device's memory. Providers that
    /// use the CPU's memory need no copies.
    pub fn copies(&self) -> usize {
        let operators = self.providers.iter().flat_map(|nodes| &nodes.operators);
        operators
            .filter(|(operator, _)| COPIES.contains(&operator.as_str()))
            .map(|(_, count)| count)
            .sum()
    }

    /// Logs the placement, with a warning for each of the devices and providers that has no node.
    pub(crate) fn report(&self, devices: &[Device], providers: &ExecutionProviders) {
        let graph = &self.graph;
        if !self.is_known() {
            tracing::warn!(graph, "the devices of the graph's nodes are unknown");
            return;
        }
        match self.providers.as_slice() {
            [only] => tracing::debug!(
                graph,
                provider = only.provider,
                nodes = only.nodes,
                "all nodes are on one provider"
            ),
            _ => {
                tracing::info!(graph, providers = ?self.providers, copies = self.copies(), "nodes are on several providers")
            }
        }
        for device in devices {
            if self.nodes_on(device.kind()) == 0 && !device.is_cpu() {
                tracing::warn!(graph, %device, "no node of the graph runs on the device");
            }
        }
        for provider in providers.names() {
            if !self.providers.iter().any(|nodes| nodes.provider == provider) {
                tracing::warn!(graph, provider, "no node of the graph runs on the provider");
            }
        }
    }
}

/// Parses the placement from ONNX Runtime's log of building a session, the only source that all versions from 1.22 on have
/// and that includes the copies.
#[derive(Debug, Default)]
struct Reader {
    providers: Vec<ProviderNodes>,
    /// The number of nodes still to be listed for the last provider.
    remaining: usize,
}

impl Reader {
    /// Parses a message. The relevant ones are:
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
            self.remaining = if listed { nodes.nodes } else { 0 };
            self.providers.push(nodes);
            return;
        }
        if self.remaining > 0
            && let Some(nodes) = self.providers.last_mut()
            && let Some((operator, _)) = message.split_once(" (")
        {
            *nodes.operators.entry(operator.to_owned()).or_default() += 1;
            self.remaining -= 1;
        }
    }
}

/// Parses a provider with its number of nodes. The flag is `true` if a list of the nodes follows.
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

/// Collects the placement while a session is built.
#[derive(Debug, Clone, Default)]
pub(super) struct Listener(Arc<Mutex<Reader>>);

impl Listener {
    /// Returns the session's logger, which forwards all other messages.
    pub(super) fn logger(&self) -> LoggerFunction {
        let reader = Arc::clone(&self.0);
        let details_are_logged = log::details_are_logged();
        Arc::new(move |level, _, _, location, message| {
            if level == LogLevel::Verbose {
                reader
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .read(message);
            }
            if details_are_logged || level >= LogLevel::Warning {
                log::forward(level, location, message);
            }
        })
    }

    /// Returns the placement of `graph` that was logged.
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
             Gather (not a node)\n",
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
    fn unexpected_messages_are_ignored() {
        for log in [
            "",
            "Node placements\nAll nodes placed on [CPUExecutionProvider]",
            "Some nodes placed on [CPUExecutionProvider]. Number of nodes: many",
        ] {
            assert!(!read(log).is_known(), "{log}");
        }
    }
}
