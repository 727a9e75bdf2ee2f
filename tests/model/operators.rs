//! Graphs run the same with the engine's operators as with the standard operators that say what those mean.

use std::path::{Path, PathBuf};

use florence2::runtime::{GraphSource, SessionOptions, build_session};
use florence2_export::{Checkpoint, Dtype, ExportOptions, GraphFile, Target, export_graph_bytes};
use florence2_layout::graphs::{
    ENCODER_SEQUENCE_LENGTHS, IMAGE_FEATURES, INPUT_IDS, PAST_SEQUENCE_LENGTHS, PIXEL_VALUES,
};

use crate::common::runtime;
use florence2_layout::operators::{
    BFLOAT16_ATTENTION, CACHED_SELF_ATTENTION, CHANNEL_ATTENTION, CROSS_ATTENTION, DEPTHWISE_CONV_LAYER_NORM,
    EXACT_GELU,
};
use ort::session::{Session, SessionInputValue};
use ort::value::{PrimitiveTensorElementType, Tensor};

/// Images that a graph is run with.
const IMAGES: usize = 2;
/// Rows of an image, in the decoder.
const ROWS: usize = 3;
/// The number of keys of each image that the decoder attends to; the largest equals the capacity.
const ENCODER_LENGTHS: [i32; IMAGES] = [5, 9];

/// Returns a graph of the demo model.
fn graph(file: GraphFile, dtype: Dtype) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/checkpoint");
    let checkpoint = Checkpoint::open(folder).unwrap();
    let options = ExportOptions::default()
        .with_target(Target::Cpu)
        .with_dtype(dtype);
    export_graph_bytes(&checkpoint, file, &options).unwrap()
}

fn tensor<T>(shape: &[usize], values: Vec<T>) -> SessionInputValue<'static>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    Tensor::from_array((shape.to_vec(), values)).unwrap().into()
}

/// A value for each input of a graph, of its shape; numbers that look random where any will do.
fn inputs(session: &Session) -> Vec<(String, SessionInputValue<'static>)> {
    let is_decoder = session
        .inputs()
        .iter()
        .any(|input| input.name() == PAST_SEQUENCE_LENGTHS);
    let rows = if is_decoder { IMAGES * ROWS } else { IMAGES };
    let input = |input: &ort::value::Outlet| {
        let shape = input.dtype().tensor_shape().unwrap();
        let known = |axis: usize| shape[axis] as usize;
        let noise = |shape: &[usize]| {
            let values = (0..shape.iter().product()).map(|i: usize| ((i * 7919) % 1009) as f32 / 250.0 - 2.0);
            tensor(shape, values.collect())
        };
        let value = match input.name() {
            INPUT_IDS => tensor(&[rows, 2], (0..rows as i64 * 2).map(|i| 10 + 7 * i).collect()),
            PAST_SEQUENCE_LENGTHS => tensor(&[rows], vec![0i32; rows]),
            ENCODER_SEQUENCE_LENGTHS => tensor(&[IMAGES], ENCODER_LENGTHS.to_vec()),
            PIXEL_VALUES => noise(&[IMAGES, known(1), known(2), known(3)]),
            IMAGE_FEATURES => noise(&[IMAGES, 35, known(2)]),
            cache if cache.contains(".encoder.") => noise(&[
                IMAGES,
                known(1),
                *ENCODER_LENGTHS.iter().max().unwrap() as usize,
                known(3),
            ]),
            _ => noise(&[rows, known(1), 4, known(3)]),
        };
        (input.name().to_owned(), value)
    };
    session.inputs().iter().map(input).collect()
}

/// Returns the graph's first output and a profile of its operators.
fn run(mut session: Session) -> (Vec<f32>, String) {
    let outputs = session.run(inputs(&session)).unwrap();
    let values = outputs[0].try_extract_tensor::<f32>().unwrap().1.to_vec();
    drop(outputs);
    let profile = PathBuf::from(session.end_profiling().unwrap());
    (values, std::fs::read_to_string(profile).unwrap())
}

/// Returns the largest difference that custom operators make to a graph's first output, relative to its largest
/// value. The graph must run the operators `used`.
fn difference(file: GraphFile, dtype: Dtype, used: &[&str]) -> f32 {
    runtime();
    let graph = graph(file, dtype);
    let folder = tempfile::tempdir().unwrap();
    let [(ours, our_operators), (standard, standard_operators)] = [true, false].map(|custom_operators| {
        let mut options = SessionOptions::default();
        options.custom_operators = custom_operators;
        options.profiling = Some(folder.path().join(format!("custom_operators_{custom_operators}")));
        let source = GraphSource::memory(file.name(), graph.clone());
        run(build_session(&source, &options).unwrap())
    });
    for operator in used {
        let uses = |profile: &str| profile.contains(&format!("\"op_name\" : \"{operator}\""));
        assert!(uses(&our_operators), "{operator}: {our_operators}");
        assert!(!uses(&standard_operators), "{operator}");
    }
    assert_eq!(ours.len(), standard.len());
    let difference = ours.iter().zip(&standard).map(|(a, b)| (a - b).abs());
    let largest = standard.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    difference.fold(0.0, f32::max) / largest
}

#[test]
fn the_vision_encoder_is_the_same_with_and_without_our_operators() {
    let difference = difference(
        GraphFile::VisionEncoder,
        Dtype::Fp32,
        &[DEPTHWISE_CONV_LAYER_NORM, CHANNEL_ATTENTION],
    );
    assert!(difference < 1e-5, "{difference:e}");
}

#[test]
fn the_decoder_is_the_same_with_and_without_our_operators() {
    let difference = difference(
        GraphFile::DecoderStep,
        Dtype::Fp32,
        &[CROSS_ATTENTION, CACHED_SELF_ATTENTION],
    );
    assert!(difference < 1e-5, "{difference:e}");
}

/// Rounding to bfloat16 moves a few quantized activations by one step, so differences are as large as quantization
/// steps.
#[test]
fn encoders_of_bytes_are_as_good_with_and_without_our_operators() {
    #[cfg(target_arch = "x86_64")]
    let has_bfloat16 = is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let has_bfloat16 = false;
    let attention = has_bfloat16.then_some(BFLOAT16_ATTENTION);
    let of_vision = [EXACT_GELU, DEPTHWISE_CONV_LAYER_NORM, CHANNEL_ATTENTION];
    for (file, others) in [
        (GraphFile::VisionEncoder, &of_vision[..]),
        (GraphFile::TextEncoder, &[EXACT_GELU]),
    ] {
        let used: Vec<&str> = others.iter().copied().chain(attention).collect();
        let difference = difference(file, Dtype::Int8, &used);
        assert!(difference < 5e-2, "{}: {difference:e}", file.name());
    }
}
