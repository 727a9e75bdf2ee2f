//! A decoder whose caches stay in its device's memory gives the answers of one whose caches come to the processor's.

mod common;

use common::golden::{Answers, exported_for};
use common::graphs::{MERGED, SPLIT};
use florence2::generation::GenerationOptions;
use florence2::runtime::SessionOptions;
use florence2::{Florence2, ImageLimits, LoadOptions, RunOptions, Task, load_image};
use florence2_export::{GraphFile, Target};

/// More than the decoders' caches have room for at first.
const MAX_NEW_TOKENS: usize = 40;

/// What has a decoder whose caches may be on a device or not.
const PLAIN: [(Target, &[GraphFile]); 2] = [(Target::Plain, &MERGED), (Target::Plain, &SPLIT)];
/// What has a decoder whose caches are where it runs.
const CUDA: (Target, &[GraphFile]) = (Target::Cuda, &GraphFile::STEP);

/// A model on these devices (`None`: on the processor), with its caches where the device has them or not.
fn load((target, graphs): (Target, &[GraphFile]), device: Option<&str>, device_caches: bool) -> Florence2 {
    common::runtime();
    let mut session = SessionOptions::default();
    session.device_caches = Some(device_caches);
    if let Some(device) = device {
        session.devices = device.parse().unwrap();
    }
    let folder = exported_for(target, "base-like", graphs);
    Florence2::from_pretrained(folder.path(), LoadOptions::default().with_session(session)).unwrap()
}

/// Answers to questions of different lengths, one by one and together, for several searches.
fn answers(model: &Florence2) -> Vec<Vec<u32>> {
    let path = Answers::read("base-like").images[0].path();
    let picture = load_image(path, &ImageLimits::default()).unwrap().into();
    let features = model.encode_image(&picture).unwrap();
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
            let found = model.answers(&features, task, &options).unwrap();
            answers.extend(found.into_iter().map(|output| output.token_ids));
        }
        let requests: Vec<_> = tasks.iter().map(|task| (&features, task)).collect();
        let found = model.answer_batch(&requests, &options).unwrap();
        answers.extend(found.into_iter().flatten().map(|output| output.token_ids));
    }
    answers
}

#[test]
fn caches_may_stay_on_the_device() {
    for export in PLAIN.into_iter().chain([CUDA, (Target::Cpu, &GraphFile::STEP)]) {
        let expected = answers(&load(export, None, false));
        assert!(expected.len() == 24 && expected.iter().all(|tokens| tokens.len() > 2));
        let longest = expected.iter().map(Vec::len).max();
        assert_eq!(longest, Some(MAX_NEW_TOKENS));
        assert_eq!(answers(&load(export, None, true)), expected);
    }
}

#[test]
#[ignore = "needs a device with memory of its own: FLORENCE2_TEST_DEVICE=cuda cargo test --test device_caches -- --ignored"]
fn caches_stay_on_a_device_of_its_own_memory() {
    let device = named_device();
    for export in PLAIN {
        let expected = answers(&load(export, None, false));
        for device_caches in [false, true] {
            assert_eq!(
                answers(&load(export, Some(&device), device_caches)),
                expected,
                "{export:?} {device_caches}"
            );
        }
    }
}

/// On the device, the answers are those of the processor.
#[test]
#[ignore = "needs a device with memory of its own: FLORENCE2_TEST_DEVICE=cuda cargo test --test device_caches -- --ignored"]
fn caches_of_the_cuda_target_stay_on_a_device() {
    let expected = answers(&load(CUDA, None, false));
    assert_eq!(answers(&load(CUDA, Some(&named_device()), true)), expected);
}

fn named_device() -> String {
    std::env::var("FLORENCE2_TEST_DEVICE").expect("FLORENCE2_TEST_DEVICE names the device")
}
