//! Batches over the real graphs, against single runs.

use std::collections::HashSet;

use florence2::generation::GenerationOptions;
use florence2::{ImageFeatures, Output, RunOptions, Task, load_image};
use florence2_export::GraphFile;

use crate::common::golden::{Answers, exported, load};
use crate::common::graphs::{MERGED, SPLIT};

/// Checks that every search returns the same sequences for a request alone and in batches of any size, whether the
/// other requests finish earlier or later.
fn check(graphs: &[GraphFile]) {
    let model = load(&exported("base-like", graphs));
    let images: Vec<ImageFeatures> = Answers::read("base-like")
        .images
        .iter()
        .map(|answers| {
            let image = load_image(answers.path()).unwrap();
            model.encode_image(&image).unwrap()
        })
        .collect();
    let tasks = [
        Task::Ocr,
        Task::CaptionToPhraseGrounding("a red circle and a blue square beside a green star".into()),
        Task::Prompt("x".into()),
        Task::Caption,
        Task::ObjectDetection,
        Task::Prompt("What is written on the blue sign?".into()),
    ];
    let requests: Vec<(&ImageFeatures, &Task)> = images.iter().cycle().zip(&tasks).collect();
    let beams = GenerationOptions::default().with_max_new_tokens(40);
    let single = beams.clone().with_num_beams(1);
    let sampling = |options: GenerationOptions| options.with_do_sample(true).with_seed(7);
    let mut lengths = HashSet::new();
    for (generation, sequences) in [
        (beams.clone().with_num_beams(3).with_num_return_sequences(3), 3),
        (single.clone(), 1),
        (sampling(single.with_num_return_sequences(4)), 4),
        (sampling(beams.with_num_beams(3)).with_num_return_sequences(2), 2),
    ] {
        let options = RunOptions::default().with_generation(generation);
        let alone: Vec<Output> = requests
            .iter()
            .map(|&(image, task)| model.run_with(image, task, &options).unwrap())
            .collect();
        for max_batch in [1, 2, 3, 8] {
            let options = options.clone().with_max_batch(max_batch);
            let batch = model.run_batch(requests.iter().copied(), &options).unwrap();
            assert_eq!(batch.len(), requests.len());
            for ((together, alone), (_, task)) in batch.iter().zip(&alone).zip(&requests) {
                assert_eq!(together.sequences().count(), sequences);
                assert_eq!(alone.sequences().count(), sequences);
                for (together, alone) in together.sequences().zip(alone.sequences()) {
                    let what = format!("{task} {max_batch} {:?}", options.generation);
                    assert_eq!(together.token_ids, alone.token_ids, "{what}");
                    assert_eq!(together.truncated, alone.truncated, "{what}");
                    assert!((together.score - alone.score).abs() < 1e-4, "{what}");
                    lengths.insert(alone.token_ids.len());
                }
            }
        }
    }
    assert!(lengths.len() > 2, "rows leave at different times: {lengths:?}");
}

#[test]
fn with_a_merged_decoder() {
    check(&MERGED);
}

#[test]
fn with_a_split_decoder() {
    check(&SPLIT);
}

#[test]
fn in_the_fused_layout() {
    check(&GraphFile::FUSED);
}
