//! Calibrated exports: the error of a channel of large values in int8, and that evening it out changes nothing else.

use std::collections::BTreeMap;

use florence2::runtime::{GraphSource, SessionOptions, build_session};
use florence2_export::{
    ActivationRanges, Checkpoint, Dtype, Error, ExportOptions, GraphFile, Target, export_graph_bytes,
};

use crate::common::golden::checkpoint;
use crate::common::runtime;
use half::f16;
use ort::session::{Session, SessionInputs};
use ort::value::Tensor;
use safetensors::tensor::{Dtype as StoredDtype, TensorView};
use safetensors::{SafeTensors, serialize};

/// The channel of large values.
const CHANNEL: usize = 3;
const IMAGE_SIDE: usize = 192;
const PROMPT: [i64; 4] = [0, 11, 12, 2];

/// The demo model with one channel of the norms below `side` multiplied by `factor`, and the weights of the following
/// layers divided by it.
fn with_outliers(side: &str, factor: f32) -> Checkpoint {
    let folder = checkpoint("demo");
    let stored = std::fs::read(folder.join("model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&stored).unwrap();
    let mut tensors = BTreeMap::new();
    for (name, tensor) in stored.iter() {
        let halves = tensor.data().chunks_exact(2);
        let mut values: Vec<f32> = halves
            .map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32())
            .collect();
        let is = |parts: &[&str]| name.starts_with(side) && parts.iter().any(|part| name.contains(part));
        let factor = match tensor.shape() {
            [_] if is(&["norm1.", "norm2.", "layer_norm.", "layernorm_embedding."]) => factor,
            [_, _] if is(&["qkv.", "fc1.", "q_proj.", "k_proj.", "v_proj."]) => factor.recip(),
            _ => 1.0,
        };
        let width = tensor.shape().last().copied().unwrap_or(1);
        values
            .iter_mut()
            .skip(CHANNEL)
            .step_by(width)
            .for_each(|value| *value *= factor);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.insert(name.to_owned(), (tensor.shape().to_vec(), bytes));
    }
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        (
            name,
            TensorView::new(StoredDtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    let config = std::fs::read(folder.join("config.json")).unwrap();
    Checkpoint::from_bytes(config, serialize(views, None).unwrap()).unwrap()
}

fn options(dtype: Dtype) -> ExportOptions {
    ExportOptions::default()
        .with_target(Target::Cpu)
        .with_dtype(dtype)
        .with_image_size(IMAGE_SIDE as u32)
}

fn session(checkpoint: &Checkpoint, file: GraphFile, options: &ExportOptions) -> Session {
    runtime();
    let bytes = export_graph_bytes(checkpoint, file, options).unwrap();
    let graph = GraphSource::memory(file.name(), bytes);
    build_session(&graph, &SessionOptions::default()).unwrap()
}

/// All outputs of f32, by name.
fn run<'i>(session: &mut Session, inputs: impl Into<SessionInputs<'i, 'i>>) -> BTreeMap<String, Vec<f32>> {
    let outputs = session.run(inputs.into()).unwrap();
    let values = outputs.iter().map(|(name, value)| {
        let (_, values) = value.try_extract_tensor::<f32>().unwrap();
        (name.to_owned(), values.to_vec())
    });
    values.collect()
}

/// A synthetic image of smooth colours.
fn pixels() -> Tensor<f32> {
    let wave =
        |index: usize| ((index % 977) as f32 * 0.013).sin() + ((index / IMAGE_SIDE) as f32 * 0.07).cos();
    let values: Vec<f32> = (0..3 * IMAGE_SIDE * IMAGE_SIDE).map(wave).collect();
    Tensor::from_array(([1, 3, IMAGE_SIDE, IMAGE_SIDE], values)).unwrap()
}

fn see(checkpoint: &Checkpoint, options: &ExportOptions) -> BTreeMap<String, Vec<f32>> {
    let mut session = session(checkpoint, GraphFile::VisionEncoder, options);
    run(&mut session, ort::inputs! { "pixel_values" => pixels() })
}

fn read(checkpoint: &Checkpoint, options: &ExportOptions, features: &[f32]) -> BTreeMap<String, Vec<f32>> {
    let mut session = session(checkpoint, GraphFile::TextEncoder, options);
    let dim = checkpoint.config().text_config.d_model;
    let features = Tensor::from_array(([1, features.len() / dim, dim], features.to_vec())).unwrap();
    let ids = Tensor::from_array(([1, PROMPT.len()], PROMPT.to_vec())).unwrap();
    run(
        &mut session,
        ort::inputs! { "input_ids" => ids, "image_features" => features },
    )
}

/// The largest difference over the largest magnitude.
fn relative_error(ours: &[f32], exact: &[f32]) -> f32 {
    assert_eq!(ours.len(), exact.len());
    let largest = exact
        .iter()
        .fold(0.0f32, |largest, value| largest.max(value.abs()));
    let differences = ours.iter().zip(exact).map(|(ours, exact)| (ours - exact).abs());
    differences.fold(0.0, f32::max) / largest
}

/// The outputs of both encoders in fp32, and the recorded ranges.
struct Observed {
    ranges: ActivationRanges,
    features: Vec<f32>,
    caches: BTreeMap<String, Vec<f32>>,
}

fn observe(checkpoint: &Checkpoint) -> Observed {
    let options = options(Dtype::Fp32).with_observers(true);
    let mut ranges = ActivationRanges::default();
    let seen = see(checkpoint, &options);
    let features = seen["image_features"].clone();
    let read = read(checkpoint, &options, &features);
    for (name, values) in seen.iter().chain(&read) {
        ranges.record(name, values);
    }
    Observed {
        ranges,
        features,
        caches: read,
    }
}

#[test]
fn evening_channels_out_changes_nothing_in_fp32() {
    let checkpoint = with_outliers("model.", 50.0);
    let observed = observe(&checkpoint);
    let plain = options(Dtype::Fp32);
    let calibrated = plain.clone().with_activation_ranges(observed.ranges);
    let features = &see(&checkpoint, &plain)["image_features"];
    assert_eq!(features, &observed.features, "observers changed the result");
    assert!(relative_error(&see(&checkpoint, &calibrated)["image_features"], features) <= 1e-6);

    let exact = read(&checkpoint, &plain, features);
    let evened = read(&checkpoint, &calibrated, features);
    for (name, exact) in &exact {
        assert!(relative_error(&evened[name], exact) <= 1e-6, "{name}");
    }
    assert!(exact.len() > 2);
}

/// Whether this CPU adds products of bytes without saturation.
fn has_vnni() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    true
}

#[test]
fn calibrated_int8_is_accurate_despite_a_channel_of_large_values() {
    let int8 = options(Dtype::Int8);
    let checkpoint = with_outliers("model.vision_tower.", 50.0);
    let observed = observe(&checkpoint);
    let error = |options| relative_error(&see(&checkpoint, &options)["image_features"], &observed.features);
    let uncalibrated = error(int8.clone());
    let calibrated = error(int8.clone().with_activation_ranges(observed.ranges.clone()));
    // Without VNNI, sums of products of bytes saturate in both: measured 0.104.
    let share = if has_vnni() { 0.1 } else { 0.12 };
    assert!(
        calibrated < share * uncalibrated,
        "{calibrated} calibrated, {uncalibrated} not"
    );

    // In BART, residual connections pass the channel on to later layers.
    let checkpoint = with_outliers("model.language_model.", 10.0);
    let observed = observe(&checkpoint);
    let error = |options| {
        let read = read(&checkpoint, &options, &observed.features);
        let caches = read.iter().filter(|(name, _)| name.starts_with("present."));
        let errors = caches.map(|(name, values)| relative_error(values, &observed.caches[name]));
        errors.fold(0.0, f32::max)
    };
    let uncalibrated = error(int8.clone());
    let calibrated = error(int8.with_activation_ranges(observed.ranges));
    assert!(
        calibrated < 0.5 * uncalibrated,
        "{calibrated} calibrated, {uncalibrated} not"
    );
}

#[test]
fn ranges_must_be_complete_and_for_a_target_that_supports_them() {
    let checkpoint = Checkpoint::open(checkpoint("demo")).unwrap();
    let mut ranges = ActivationRanges::default();
    ranges.record(
        "largest_magnitude.model.vision_tower.blocks.0.0.spatial_block.norm1",
        &[1.0; 5],
    );
    let int8 = options(Dtype::Int8).with_activation_ranges(ranges.clone());
    let error = export_graph_bytes(&checkpoint, GraphFile::TextEncoder, &int8).unwrap_err();
    let Error::ActivationRanges { expected, found, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((expected, found), (32, 5));

    let plain = ExportOptions::default().with_image_size(IMAGE_SIDE as u32);
    for options in [
        plain.clone().with_activation_ranges(ranges),
        plain.with_observers(true),
    ] {
        let error = export_graph_bytes(&checkpoint, GraphFile::VisionEncoder, &options).unwrap_err();
        assert!(matches!(error, Error::NoCalibration { .. }), "{error}");
    }
}
