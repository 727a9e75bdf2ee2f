//! Graphs run the same with the engine's operators as with the standard operators that say what those mean.

mod common;

use std::path::{Path, PathBuf};

use common::runtime;
use florence2::runtime::{GraphSource, SessionOptions, build_session};
use florence2_export::{Checkpoint, ExportOptions, GraphFile, Target, export_graph_bytes};
use florence2_layout::operators::DEPTHWISE_CONV_LAYER_NORM;
use ort::session::Session;
use ort::value::Tensor;

/// The demo model's vision encoder.
fn graph() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/checkpoint");
    let checkpoint = Checkpoint::open(folder).unwrap();
    let options = ExportOptions::default().with_target(Target::Cpu);
    export_graph_bytes(&checkpoint, GraphFile::VisionEncoder, &options).unwrap()
}

/// Image features of `batch` pictures of noise, and which operators gave them.
fn features(mut session: Session, batch: usize) -> (Vec<f32>, String) {
    let side = session.inputs()[0].dtype().tensor_shape().unwrap()[3] as usize;
    let noise = (0..batch * 3 * side * side).map(|i| ((i * 7919) % 1009) as f32 / 250.0 - 2.0);
    let pixels = Tensor::from_array(([batch, 3, side, side], noise.collect::<Vec<_>>())).unwrap();
    let outputs = session.run(ort::inputs![pixels]).unwrap();
    let features = outputs[0].try_extract_tensor::<f32>().unwrap().1.to_vec();
    drop(outputs);
    let profile = PathBuf::from(session.end_profiling().unwrap());
    (features, std::fs::read_to_string(profile).unwrap())
}

#[test]
fn the_vision_encoder_is_the_same_with_and_without_our_operators() {
    runtime();
    let graph = graph();
    let folder = tempfile::tempdir().unwrap();
    let [(ours, our_operators), (standard, standard_operators)] = [true, false].map(|own_operators| {
        let mut options = SessionOptions::default();
        options.own_operators = own_operators;
        options.profiling = Some(folder.path().join(format!("own_operators_{own_operators}")));
        let source = GraphSource::Bytes {
            name: "vision",
            bytes: &graph,
            external_data: &[],
        };
        features(build_session(source, &options).unwrap(), 2)
    });
    let used = |profile: &str| profile.contains(&format!("\"op_name\" : \"{DEPTHWISE_CONV_LAYER_NORM}\""));
    assert!(used(&our_operators), "{our_operators}");
    assert!(!used(&standard_operators));
    let difference = ours.iter().zip(&standard).map(|(a, b)| (a - b).abs());
    let largest = standard.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let difference = difference.fold(0.0, f32::max) / largest;
    assert!(difference < 1e-5, "{difference:e}");
}
