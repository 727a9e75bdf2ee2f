//! A decoder whose KV cache stays in its device's memory gives the answers of one whose cache comes to the CPU's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use florence2::generation::GenerationOptions;
use florence2::runtime::SessionOptions;
use florence2::{Florence2, LoadOptions, Output, RunOptions, Task, load_image};
use florence2_export::{Dtype, ExportOptions, GraphFile, Target};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::common::golden::{Answers, exported_with};
use crate::common::graphs::{MERGED, SPLIT};

/// More than the decoders' caches have capacity for at first.
const MAX_NEW_TOKENS: usize = 40;

/// Exports whose decoder's cache may be in a device's memory or not.
const PLAIN: [(Target, &[GraphFile]); 2] = [(Target::Plain, &MERGED), (Target::Plain, &SPLIT)];
/// The export whose decoder's cache is in the memory of the decoder's device.
const CUDA: (Target, &[GraphFile]) = (Target::Cuda, &GraphFile::FUSED);

/// Loads a model on `device` (`None`: the CPU), with or without its cache in the device's memory.
fn load(export: (Target, &[GraphFile]), device: Option<&str>, device_caches: bool) -> Florence2 {
    let mut session = SessionOptions::default();
    session.device_caches = Some(device_caches);
    load_with(export, device, session).unwrap()
}

fn load_with(
    (target, graphs): (Target, &[GraphFile]),
    device: Option<&str>,
    mut session: SessionOptions,
) -> florence2::Result<Florence2> {
    crate::common::runtime();
    // CUDA's attention operator takes no float32.
    let dtype = match (target, device) {
        (Target::Cuda, Some(device)) if device.starts_with("cuda") => Dtype::Fp16,
        _ => Dtype::Fp32,
    };
    if let Some(device) = device {
        session.devices = device.parse().unwrap();
    }
    let options = ExportOptions::default().with_target(target).with_dtype(dtype);
    let folder = exported_with(&options.with_graphs(graphs), "base-like");
    Florence2::from_pretrained(folder.path(), LoadOptions::default().with_session(session))
}

/// The tokens of an answer and their log-probabilities.
type Answer = (Vec<u32>, Vec<f32>);

/// Answers to prompts of different lengths, one by one and together, for several searches.
fn answers(model: &Florence2) -> Vec<Answer> {
    let answer = |output: &Output| (output.token_ids.clone(), output.token_log_probs.clone());
    let path = Answers::read("base-like").images[0].path();
    let image = load_image(path).unwrap();
    let features = model.encode_image(&image).unwrap();
    let tasks = [
        Task::Ocr,
        Task::OpenVocabularyDetection("a red circle beside a blue star".into()),
        Task::Caption,
    ];
    let mut answers = Vec::new();
    for beams in [1, 3] {
        let generation = GenerationOptions::default()
            .with_num_beams(beams)
            .with_max_new_tokens(MAX_NEW_TOKENS)
            .with_num_return_sequences(beams);
        let options = RunOptions::default().with_generation(generation);
        for task in &tasks {
            let found = model.run_with(&features, task, &options).unwrap();
            answers.extend(found.sequences().map(answer));
        }
        let requests = tasks.iter().map(|task| (&features, task));
        let found = model.run_batch(requests, &options).unwrap();
        answers.extend(found.iter().flat_map(Output::sequences).map(answer));
    }
    answers
}

/// Asserts equal tokens, and log-probabilities within 1e-4.
fn assert_same(found: &[Answer], expected: &[Answer], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((tokens, log_probs), (expected, expected_log_probs)) in found.iter().zip(expected) {
        assert_eq!(tokens, expected, "{what}");
        for (found, expected) in log_probs.iter().zip(expected_log_probs) {
            assert!((found - expected).abs() < 1e-4, "{what}: {found}, not {expected}");
        }
    }
}

/// Counts the events of a module.
#[derive(Clone)]
struct Log {
    module: &'static str,
    warnings: Arc<AtomicUsize>,
    details: Arc<AtomicUsize>,
}

impl Log {
    fn of(module: &'static str) -> Self {
        Self {
            module,
            warnings: Arc::default(),
            details: Arc::default(),
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == self.module
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let count = match *event.metadata().level() {
            Level::WARN => &self.warnings,
            _ => &self.details,
        };
        count.fetch_add(1, Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn caches_may_stay_on_the_device() {
    for export in PLAIN.into_iter().chain([CUDA, (Target::Cpu, &GraphFile::FUSED)]) {
        let expected = answers(&load(export, None, false));
        assert!(expected.len() == 24 && expected.iter().all(|(tokens, _)| tokens.len() > 2));
        let longest = expected.iter().map(|(tokens, _)| tokens.len()).max();
        assert_eq!(longest, Some(MAX_NEW_TOKENS));
        let log = Log::of("florence2::decode::device_top_k");
        let found = tracing::subscriber::with_default(log.clone(), || answers(&load(export, None, true)));
        assert_same(&found, &expected, &format!("{export:?}"));
        // Top-k logits suffice for nearly all steps: the forced last token of a search asks for all, as does a ban in a
        // greedy one.
        let steps: usize = expected.iter().map(|(tokens, _)| tokens.len()).sum();
        let (warnings, details) = (log.warnings.load(Relaxed), log.details.load(Relaxed));
        assert_eq!(warnings, 0, "{export:?}");
        assert!(
            details > 0 && details * 10 < steps,
            "{export:?}: {details} of {steps}"
        );
    }
}

#[test]
#[ignore = "needs a device with memory of its own: FLORENCE2_TEST_DEVICE=cuda cargo test --test runtime -- --ignored device_caches --test-threads 1"]
fn caches_stay_on_a_device_of_its_own_memory() {
    let device = named_device();
    for export in PLAIN {
        let expected = answers(&load(export, None, false));
        for device_caches in [false, true] {
            let found = answers(&load(export, Some(&device), device_caches));
            assert_same(&found, &expected, &format!("{export:?} {device_caches}"));
        }
    }
}

/// The answers on the device are those on the CPU.
#[test]
#[ignore = "needs a device with memory of its own that takes the operators in float32 (not CUDA, for which benches/gpu.sh compares float16): FLORENCE2_TEST_DEVICE=webgpu cargo test --test runtime -- --ignored device_caches::caches_of_the_cuda_target"]
fn caches_of_the_cuda_target_stay_on_a_device() {
    let expected = answers(&load(CUDA, None, false));
    assert_same(
        &answers(&load(CUDA, Some(&named_device()), true)),
        &expected,
        "cuda",
    );
}

fn named_device() -> String {
    std::env::var("FLORENCE2_TEST_DEVICE").expect("FLORENCE2_TEST_DEVICE names the device")
}
