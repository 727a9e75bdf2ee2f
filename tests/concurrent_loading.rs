//! Sessions are made in several threads at once, in a process that has made none before: ONNX Runtime's own tables must not
//! be written to by two of them. (A process of its own: what the first session enters there stays.)

mod common;

use std::path::Path;
use std::sync::Barrier;
use std::thread;

use florence2::runtime::{GraphSource, SessionOptions, build_session};
use florence2_export::{Checkpoint, ExportOptions, GraphFile, Target, export_graph_bytes};

#[test]
fn the_first_sessions_are_made_at_the_same_time() {
    common::runtime();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/checkpoint");
    let checkpoint = Checkpoint::open(folder).unwrap();
    let options = ExportOptions::default().with_target(Target::Cpu);
    let graph = export_graph_bytes(&checkpoint, GraphFile::VisionEncoder, &options).unwrap();
    let source = GraphSource::Bytes {
        name: "vision_encoder",
        bytes: &graph,
        external_data: &[],
    };
    let threads = 8;
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    build_session(source, &SessionOptions::default()).map(drop)
                })
            })
            .collect();
        for session in sessions {
            session.join().unwrap().unwrap();
        }
    });
}
