//! What a graph is made of.

use florence2_layout::graphs::GraphFile;

use crate::bundle::GraphBytes;
use crate::runtime::{GraphSource, SharedSession};

/// What a graph is made of.
pub(super) enum Located<'b> {
    Source(GraphSource<'b>),
    /// An application's.
    Session(&'b SharedSession),
}

impl<'b> Located<'b> {
    pub(super) fn of(bytes: &'b GraphBytes, file: GraphFile) -> Self {
        match bytes {
            GraphBytes::File(path) => Located::Source(GraphSource::File(path)),
            GraphBytes::Memory { graph, external_data } => Located::Source(GraphSource::Bytes {
                name: file.name(),
                bytes: graph,
                external_data,
            }),
            GraphBytes::Rebuilt { file, graph, folder } => Located::Source(GraphSource::Rebuilt {
                file,
                bytes: graph,
                folder,
            }),
            GraphBytes::Session(session) => Located::Session(session),
        }
    }
}
