//! Exported checkpoints, run by the engine, against transformers: every stage, and every answer token by token.

use std::collections::HashSet;

use florence2::generation::GenerationOptions;
use florence2::preprocess::{load_image, resize};
use florence2::{CoordinateFormat, Florence2, ImageFeatures, Output, RunOptions, Task};
use florence2_export::{Checkpoint, ExportOptions, GraphFile, Target, export};
use image::RgbImage;

use crate::common::fixture;
use crate::common::golden::{
    Answer, Answers, ImageAnswers, PromptAnswers, Sampled, Settings, exported, exported_for, load, stages,
};
use crate::common::graphs::{MERGED, SPLIT};

/// Tolerance of tensors, relative to the largest magnitude; of sequence scores, absolute.
const TOLERANCE: f32 = 1e-4;
/// Tolerance of single tokens' log-probabilities: 5e-5 of the random models' logits, which reach ±12. (transformers' own f32
/// logits are 4e-6 of that from its f64 ones.)
const TOKEN_TOLERANCE: f32 = 6e-4;

struct Subject {
    checkpoint: String,
    max_new_tokens: usize,
    answers: Answers,
    model: Florence2,
}

impl Subject {
    fn new(checkpoint: &'static str, graphs: &[GraphFile], max_new_tokens: usize) -> Self {
        Self::of(checkpoint, load(&exported(checkpoint, graphs)), max_new_tokens)
    }

    fn of(checkpoint: &str, model: Florence2, max_new_tokens: usize) -> Self {
        Self {
            checkpoint: checkpoint.to_owned(),
            max_new_tokens,
            answers: Answers::read(checkpoint),
            model,
        }
    }

    fn greedy(&self) -> RunOptions {
        let generation = GenerationOptions::default()
            .with_num_beams(1)
            .with_max_new_tokens(self.max_new_tokens);
        RunOptions::default().with_generation(generation)
    }

    /// Beam search, as the checkpoint's configuration asks for.
    fn beams(&self) -> RunOptions {
        RunOptions::default()
            .with_generation(GenerationOptions::default().with_max_new_tokens(self.max_new_tokens))
    }

    fn features(&self, answers: &ImageAnswers) -> ImageFeatures {
        self.model.encode_image(&image(answers)).unwrap()
    }

    fn check_stages(&self) {
        let stages = stages(&self.checkpoint);
        for answers in &self.answers.images {
            let (image, stem) = (image(answers), answers.stem());
            self.check_pixels(answers, &image, &stages[&format!("{stem}.pixel_values")]);
            let features = self.model.encode_image(&image).unwrap();
            assert_close(
                &stages[&format!("{stem}.image_features")],
                features.view().iter(),
                "image features",
            );
            for prompt in &answers.prompts {
                let task = prompt.task();
                assert_eq!(
                    self.model.prompt_ids(&features, &task).unwrap(),
                    prompt.input_ids,
                    "{task}"
                );
                let Some(stage) = prompt.stage() else { continue };
                let Some(hidden) = stages.get(&format!("{stem}.{stage}.encoder_last_hidden_state")) else {
                    continue;
                };
                let states = self.model.encoder_hidden_states(&features, &task).unwrap();
                assert_close(hidden, states.iter(), "encoder states");
                let logits = [&[2][..], &[2, 0]].map(|start| {
                    self.model
                        .next_token_logits(&features, &task, start)
                        .unwrap()
                        .to_vec()
                });
                assert_close(
                    &stages[&format!("{stem}.{stage}.logits")],
                    logits.concat().iter(),
                    "logits",
                );
            }
        }
    }

    fn check_pixels(&self, answers: &ImageAnswers, image: &RgbImage, reference: &Sampled) {
        let processor = self.model.image_processor();
        let resized = resize(
            image,
            processor.size.unwrap(),
            processor.resample,
            processor.backend,
        )
        .unwrap();
        let path = crate::common::fixture(&format!(
            "golden/{}/{}.resized.png",
            self.checkpoint,
            answers.stem()
        ));
        let expected = image::open(path).unwrap().to_rgb8();
        assert!(
            resized == expected,
            "{}: the resized image is Pillow's to the last bit",
            answers.stem()
        );
        let values = processor.process(image).unwrap();
        let error = reference.relative_error(values.view().iter());
        assert!(error < 1e-6, "{}: pixel values differ by {error}", answers.stem());
    }

    /// Compares all answers. Returns the number of tasks.
    fn check_answers(&self) -> usize {
        let (greedy, beams) = (self.greedy(), self.beams());
        let (mut asked, mut answered) = (HashSet::new(), HashSet::new());
        for answers in &self.answers.images {
            let features = self.features(answers);
            for prompt in &answers.prompts {
                let task = prompt.task();
                asked.insert(task.tag().to_owned());
                if let Some(reference) = &prompt.greedy {
                    let output = self.model.run_with(&features, &task, &greedy).unwrap();
                    check_answer(&output, reference, &format!("{} {task} greedy", answers.stem()));
                }
                if let Some(reference) = &prompt.beams {
                    let output = self.model.run_with(&features, &task, &beams).unwrap();
                    check_answer(&output, reference, &format!("{} {task} beams", answers.stem()));
                    let (score, wanted) = (output.score, reference.sequences_scores[0]);
                    assert!(
                        (score - wanted).abs() < TOLERANCE,
                        "{task}: score {score} is not {wanted}"
                    );
                }
                if prompt.greedy.is_some() && prompt.beams.is_some() {
                    answered.insert(task.tag().to_owned());
                }
            }
        }
        assert_eq!(asked, answered, "every task is compared");
        answered.len()
    }

    /// Compares a batch of prompts of different lengths and different images.
    fn check_batches(&self) {
        let images: Vec<(ImageFeatures, &ImageAnswers)> = self
            .answers
            .images
            .iter()
            .map(|answers| (self.features(answers), answers))
            .collect();
        let requests: Vec<(&ImageFeatures, Task, &PromptAnswers)> = images
            .iter()
            .flat_map(|(features, answers)| {
                answers
                    .prompts
                    .iter()
                    .map(move |prompt| (features, prompt.task(), prompt))
            })
            .collect();
        for batch in requests.chunks(5) {
            let asked: Vec<_> = batch
                .iter()
                .map(|(features, task, _)| (*features, task))
                .collect();
            let given = self.model.run_batch(asked, &self.beams()).unwrap();
            assert_eq!(given.len(), batch.len());
            for (output, (_, task, prompt)) in given.iter().zip(batch) {
                if let Some(reference) = &prompt.beams {
                    check_answer(output, reference, &format!("{task} in a batch"));
                }
            }
        }
    }
}

fn image(answers: &ImageAnswers) -> RgbImage {
    let image = load_image(answers.path()).unwrap();
    assert_eq!(<[u32; 2]>::from(image.dimensions()), answers.size);
    image
}

fn assert_close<'v>(reference: &Sampled, values: impl ExactSizeIterator<Item = &'v f32>, what: &str) {
    let error = reference.relative_error(values);
    assert!(error <= TOLERANCE, "{what} differ by {error:e}");
}

fn check_answer(output: &Output, reference: &Answer, what: &str) {
    // The reference's sequences begin with the decoder's start token.
    assert_eq!(output.token_ids, reference.sequences[0][1..], "{what}");
    assert_eq!(format!("</s>{}", output.raw_text), reference.raw, "{what}");
    assert_eq!(output.token_log_probs.len(), output.token_ids.len(), "{what}");
    for (at, (score, wanted)) in output
        .token_log_probs
        .iter()
        .zip(&reference.transition_scores[0])
        .enumerate()
    {
        assert!(
            (score - wanted).abs() < TOKEN_TOLERANCE,
            "{what}: token {at} scores {score}, not {wanted}"
        );
    }
    // For ASCII text, the results are transformers', with coordinates truncated to integers.
    if output.raw_text.is_ascii() {
        let result = output.parsed.to_transformers("result", CoordinateFormat::Integer);
        assert_eq!(result["result"], reference.result, "{what}: {}", output.raw_text);
    }
}

#[test]
fn base_like() {
    let subject = Subject::new("base-like", &MERGED, 24);
    subject.check_stages();
    assert!(subject.check_answers() >= 15);
    subject.check_batches();
}

#[test]
fn large_like() {
    let subject = Subject::new("large-like", &MERGED, 24);
    subject.check_stages();
    assert!(subject.check_answers() >= 15);
    subject.check_batches();
}

#[test]
fn base_like_with_split_decoder() {
    let subject = Subject::new("base-like", &SPLIT, 24);
    subject.check_stages();
    assert!(subject.check_answers() >= 15);
}

#[test]
fn demo() {
    let subject = Subject::new("demo", &MERGED, 120);
    subject.check_stages();
    assert!(subject.check_answers() >= 15);
    subject.check_batches();
}

#[test]
fn base_like_in_the_fused_layout() {
    let subject = Subject::new("base-like", &GraphFile::FUSED, 24);
    subject.check_stages();
    assert!(subject.check_answers() >= 15);
    subject.check_batches();
}

#[test]
fn large_like_in_the_fused_layout() {
    let subject = Subject::new("large-like", &GraphFile::FUSED, 24);
    subject.check_stages();
    assert!(subject.check_answers() >= 15);
    subject.check_batches();
}

#[test]
fn demo_in_the_fused_layout() {
    let subject = Subject::new("demo", &GraphFile::FUSED, 120);
    subject.check_stages();
    assert!(subject.check_answers() >= 15);
    subject.check_batches();
}

/// In 32-bit floats, the graphs for CUDA run on the CPU too.
#[test]
fn demo_for_cuda() {
    let folder = exported_for(Target::Cuda, "demo", &GraphFile::FUSED);
    let subject = Subject::of("demo", load(&folder), 120);
    subject.check_stages();
    assert!(subject.check_answers() >= 15);
    subject.check_batches();
}

/// Checks the answers of a model with an adapter that was merged on export against those of the model that PEFT merged.
fn check_adapter(adapter: &str) {
    for target in [Target::Plain, Target::Cpu] {
        let folder = tempfile::tempdir().unwrap();
        let base = Checkpoint::open(fixture("checkpoints/base-like")).unwrap();
        let checkpoint = base
            .with_adapter(fixture(&format!("adapters/{adapter}")))
            .unwrap();
        export(
            &checkpoint,
            folder.path(),
            &ExportOptions::default().with_target(target),
        )
        .unwrap();
        let subject = Subject::of(&format!("adapters/{adapter}"), load(&folder), 24);
        assert!(subject.check_answers() > 1);
    }
}

#[test]
fn merged_adapter_of_notebooks() {
    check_adapter("notebook");
}

#[test]
fn merged_adapter_with_patterns() {
    check_adapter("patterns");
}

#[test]
fn merged_adapter_of_embeddings() {
    check_adapter("embeddings");
}

#[test]
fn settings() {
    check_settings(&MERGED);
}

#[test]
fn settings_in_the_fused_layout() {
    check_settings(&GraphFile::FUSED);
}

/// Compares answers under every search setting of a checkpoint's `generation_config.json`.
fn check_settings(graphs: &[GraphFile]) {
    let folder = exported("base-like", graphs);
    let settings = Settings::read();
    let image = load_image(settings.image()).unwrap();
    let mut compared = 0;
    for group in &settings.groups {
        for case in &group.cases {
            case.write_generation_config(folder.path());
            let model = load(&folder);
            let features = model.encode_image(&image).unwrap();
            let answer = model
                .run_with(&features, &group.task(), &RunOptions::default())
                .unwrap();
            let what = format!("{}: {}", group.name, case.settings);
            assert_eq!(answer.sequences().count(), case.sequences.len(), "{what}");
            for (at, output) in answer.sequences().enumerate() {
                assert_eq!(output.token_ids, case.sequences[at][1..], "{what}: sequence {at}");
                if let Some(wanted) = case.sequences_scores.get(at) {
                    // The length penalty multiplies the error of the sum, too.
                    let tolerance = TOLERANCE * wanted.abs().max(1.0);
                    assert!(
                        (output.score - wanted).abs() < tolerance,
                        "{what}: {} is not {wanted}",
                        output.score
                    );
                }
            }
            compared += 1;
        }
    }
    assert!(compared >= 40, "{compared} cases");
}
