//! Several threads build sessions at once, in a process that has built none before: two of them must not write to ONNX
//! Runtime's own tables. (In a process of its own: the first session's entries in those tables stay.)

use std::path::Path;
use std::sync::Barrier;
use std::thread;

use florence2::runtime::{GraphSource, RuntimeOptions, SessionOptions, build_session, init};
use florence2_export::{Checkpoint, ExportOptions, GraphFile, Target, export_graph_bytes};

use crate::common::own_process::{in_own_process, library};

#[test]
fn first_sessions_can_be_built_at_the_same_time() {
    in_own_process(module_path!(), "builds_sessions_in_threads", &[]);
}

#[test]
#[ignore = "run by first_sessions_can_be_built_at_the_same_time"]
fn builds_sessions_in_threads() {
    init(&RuntimeOptions::default().with_library(library())).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/checkpoint");
    let checkpoint = Checkpoint::open(folder).unwrap();
    let options = ExportOptions::default().with_target(Target::Cpu);
    let graph = export_graph_bytes(&checkpoint, GraphFile::VisionEncoder, &options).unwrap();
    let source = &GraphSource::memory("vision_encoder", graph);
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
