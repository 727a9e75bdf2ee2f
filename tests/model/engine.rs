//! The engine's interface: streaming, cancellation, shared models, and invalid requests.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use florence2::generation::GenerationOptions;
use florence2::runtime::SessionOptions;
use florence2::{
    BoundingBox, CancelToken, Error, Florence2, ImageFeatures, ImageSize, LoadOptions, Region, RunOptions,
    Task, load_image,
};

use crate::common::golden::{Answers, exported, load};
use florence2_export::GraphFile;
use image::{DynamicImage, RgbImage};

fn model() -> Florence2 {
    let graphs = [
        GraphFile::VisionEncoder,
        GraphFile::EmbedTokens,
        GraphFile::EncoderModel,
        GraphFile::DecoderModelMerged,
    ];
    load(&exported("base-like", &graphs))
}

fn image() -> RgbImage {
    let path = Answers::read("base-like").images[0].path();
    load_image(path).unwrap()
}

fn with(generation: GenerationOptions) -> RunOptions {
    RunOptions::default().with_generation(generation.with_max_new_tokens(20))
}

fn greedy() -> RunOptions {
    with(GenerationOptions::default().with_num_beams(1))
}

#[test]
fn one_call_equals_its_stages() {
    let (model, image) = (model(), image());
    let features = model.encode_image(&image).unwrap();
    let whole = model.run_with(&image, &Task::Ocr, &greedy()).unwrap();
    let stages = model.run_with(&features, &Task::Ocr, &greedy()).unwrap();
    assert_eq!(whole.token_ids, stages.token_ids);
    assert_eq!((whole.image_size.width, whole.image_size.height), (320, 200));
    let timings = whole.timings;
    assert!(timings.preprocess > 0.0 && timings.vision_encoder > 0.0 && timings.text_encoder > 0.0);
    assert!(timings.generation > 0.0 && timings.total() >= timings.generation);
    assert!(timings.runtime > 0.5 * timings.vision_encoder && timings.runtime < timings.total());
    assert_eq!(timings.generated_tokens, whole.token_ids.len());
}

#[test]
fn a_stream_is_the_answer_piece_by_piece() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    for task in [
        Task::Ocr,
        Task::ObjectDetection,
        Task::Prompt("Où est l'étoile ? 星".into()),
    ] {
        let (mut text, mut pieces) = (String::new(), 0);
        let streamed = model
            .stream(&features, &task, &greedy(), |piece| {
                text.push_str(piece);
                ControlFlow::Continue(())
            })
            .unwrap();
        // The location tokens of a detection remain.
        assert_eq!(format!("<s>{text}</s>"), streamed.raw_text);
        let mut whole = String::new();
        let options = greedy().with_skip_special_tokens(false);
        model
            .stream(&features, &task, &options, |piece| {
                whole.push_str(piece);
                pieces += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(whole, streamed.raw_text);
        assert!(
            (2..=streamed.token_ids.len()).contains(&pieces),
            "{pieces} pieces"
        );
        assert_eq!(
            streamed.token_ids,
            model.run_with(&features, &task, &greedy()).unwrap().token_ids
        );
    }
}

#[test]
fn a_reader_can_end_a_stream() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    let whole = model.run_with(&features, &Task::Ocr, &greedy()).unwrap();
    let mut pieces = 0;
    let output = model
        .stream(&features, &Task::Ocr, &greedy(), |_| {
            pieces += 1;
            if pieces == 4 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(pieces, 4);
    assert!(output.truncated);
    assert!(whole.raw_text.starts_with(&output.raw_text) && output.raw_text.len() < whole.raw_text.len());
}

#[test]
fn beams_cannot_be_streamed() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    let options = with(GenerationOptions::default().with_num_beams(2));
    let result = model.stream(&features, &Task::Ocr, &options, |_| ControlFlow::Continue(()));
    assert!(
        matches!(
            result,
            Err(Error::InvalidOption {
                name: "num_beams",
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn a_stream_does_not_use_the_checkpoints_beams() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    assert!(model.generation_config().num_beams > 1);
    let short = RunOptions::default().with_generation(GenerationOptions::default().with_max_new_tokens(8));
    let streamed = model
        .stream(&features, &Task::Ocr, &short, |_| ControlFlow::Continue(()))
        .unwrap();
    let greedy = short.generation.clone().with_num_beams(1);
    let greedy = model
        .run_with(&features, &Task::Ocr, &short.with_generation(greedy))
        .unwrap();
    assert_eq!(streamed.token_ids, greedy.token_ids);
}

#[test]
fn logits_processors_of_a_request_constrain_its_answer() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    for beams in [1, 3] {
        let options = with(GenerationOptions::default().with_num_beams(beams));
        let free = model.run_with(&features, &Task::Ocr, &options).unwrap();
        let banned = free.token_ids[2];
        // A ban by a processor is a ban by the settings.
        let constrained = options
            .clone()
            .with_logits_processor(move |_: &[u32], scores: &mut [f32]| {
                scores[banned as usize] = f32::NEG_INFINITY;
            });
        let found = model.run_with(&features, &Task::Ocr, &constrained).unwrap();
        let by_settings = options.generation.clone().with_suppress_tokens(vec![banned]);
        let expected = model
            .run_with(
                &features,
                &Task::Ocr,
                &RunOptions::default().with_generation(by_settings),
            )
            .unwrap();
        assert_eq!(found.token_ids, expected.token_ids);
        assert!(!found.token_ids.contains(&banned));

        let invalid = options.with_logits_processor(|_: &[u32], scores: &mut [f32]| scores[7] = f32::NAN);
        let result = model.run_with(&features, &Task::Ocr, &invalid);
        assert!(matches!(
            result,
            Err(Error::InvalidOption {
                name: "logits_processors",
                ..
            })
        ));
    }
}

#[test]
fn a_batch_encodes_an_image_once() {
    let (model, image) = (model(), image());
    let copy = image.clone();
    let requests = [
        (&image, &Task::Ocr),
        (&image, &Task::Caption),
        (&copy, &Task::Ocr),
    ];
    let outputs = model.run_batch(requests, &greedy()).unwrap();
    let vision = |index: usize| outputs[index].timings.vision_encoder;
    assert_eq!(vision(0).to_bits(), vision(1).to_bits());
    assert_ne!(vision(0).to_bits(), vision(2).to_bits());
    assert_eq!(outputs[0].token_ids, outputs[2].token_ids);
    assert_eq!(outputs[1].task, Task::Caption);
}

#[test]
fn raw_text_is_parsed_as_the_models_answer() {
    let model = model();
    let output = model
        .run_with(&image(), &Task::ObjectDetection, &greedy())
        .unwrap();
    let text = "car<loc_0><loc_0><loc_499><loc_999>";
    let parsed = model.parse(&Task::ObjectDetection, text, ImageSize::new(1000, 1000));
    assert_eq!(parsed.detections()[0].label, "car");
    assert_eq!(parsed.detections()[0].score, None);
    let again = model.parse(&output.task, &output.raw_text, output.image_size);
    assert_eq!(again.detections().len(), output.parsed.detections().len());
}

#[test]
fn work_can_be_cancelled() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    let cancel = CancelToken::new();
    let options = greedy().with_cancel(cancel.clone());
    model.run_with(&features, &Task::Ocr, &options).unwrap();
    let result = model.stream(&features, &Task::Ocr, &options, |_| {
        cancel.cancel();
        ControlFlow::Continue(())
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert!(matches!(
        model.run_with(&features, &Task::Ocr, &options),
        Err(Error::Cancelled)
    ));
}

#[test]
fn an_image_is_not_encoded_after_cancellation() {
    let model = model();
    let cancel = CancelToken::new();
    let options = greedy().with_cancel(cancel.clone());
    let features = model.encode_image_with(&image(), &options).unwrap();
    assert_eq!(features.view(), model.encode_image(&image()).unwrap().view());
    cancel.cancel();
    let result = model.encode_image_with(&image(), &options);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}

#[test]
fn deadlines_end_work() {
    let model = model();
    let (image, none) = (image(), greedy().with_timeout(Duration::ZERO));
    let features = model.encode_image(&image).unwrap();
    let results = [
        model.encode_image_with(&image, &none).map(drop),
        model.run_with(&image, &Task::Ocr, &none).map(drop),
        model.run_with(&features, &Task::Ocr, &none).map(drop),
    ];
    for result in results {
        assert!(matches!(result, Err(Error::DeadlineExceeded)), "{result:?}");
    }
    // A deadline during the search.
    let timeout = Duration::from_secs(60);
    let options = greedy().with_timeout(timeout);
    let whole = model.run_with(&features, &Task::Ocr, &options).unwrap();
    let mut pieces = 0;
    let mut options = options;
    options.deadline = Some(Instant::now() + Duration::from_millis(300));
    let result = model.stream(&features, &Task::Ocr, &options, |_| {
        pieces += 1;
        std::thread::sleep(Duration::from_millis(310));
        ControlFlow::Continue(())
    });
    assert!(matches!(result, Err(Error::DeadlineExceeded)), "{result:?}");
    assert!(pieces == 1 && whole.token_ids.len() > 2, "{pieces} pieces");
    // A timeout that overflows the clock.
    let endless = greedy().with_timeout(Duration::MAX);
    assert_eq!(endless.deadline, None);
}

#[test]
fn threads_share_a_model() {
    share(&model());
}

#[test]
fn threads_share_a_model_in_the_fused_layout() {
    share(&load(&exported("base-like", &GraphFile::FUSED)));
}

#[test]
fn releasing_memory_changes_no_answer() {
    let folder = exported("base-like", &GraphFile::FUSED);
    let mut session = SessionOptions::default();
    session.release_memory = true;
    let options = LoadOptions::default().with_session(session);
    let frugal = Florence2::from_pretrained(folder.path(), options).unwrap();
    for _ in 0..2 {
        let answers = [&load(&folder), &frugal]
            .map(|model| model.run_with(&image(), &Task::Ocr, &greedy()).unwrap().token_ids);
        assert_eq!(answers[0], answers[1]);
    }
}

/// Runs different requests on one model from several threads, with different numbers of beams.
fn share(model: &Florence2) {
    let features = model.encode_image(&image()).unwrap();
    let tasks = [Task::DenseRegionCaption, Task::Ocr, Task::Caption, Task::Ocr];
    let answer = |(task, beams)| {
        let options = with(GenerationOptions::default().with_num_beams(beams));
        model.run_with(&features, task, &options).unwrap().token_ids
    };
    let requests: Vec<(&Task, usize)> = tasks.iter().zip([1, 3, 2, 1]).collect();
    let alone: Vec<Vec<u32>> = requests.iter().copied().map(answer).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = requests
            .into_iter()
            .map(|request| scope.spawn(move || answer(request)))
            .collect();
        for (thread, alone) in threads.into_iter().zip(alone) {
            assert_eq!(thread.join().unwrap(), alone);
        }
    });
}

#[test]
fn an_answer_that_reaches_the_limit_is_truncated() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    let options = |tokens| {
        let generation = GenerationOptions::default()
            .with_num_beams(1)
            .with_max_new_tokens(tokens);
        RunOptions::default().with_generation(generation)
    };
    let output = model.run_with(&features, &Task::Ocr, &options(5)).unwrap();
    assert!(output.truncated && output.token_ids.len() == 5);
    // The default and the maximum are the checkpoint's positions.
    let limit = model.generation_config().max_positions;
    let longest = model
        .run_with(&features, &Task::Ocr, &options(usize::MAX))
        .unwrap();
    assert!(longest.token_ids.len() <= limit);
}

#[test]
fn invalid_requests() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    let answer = |task: Task, options: &RunOptions| model.run_with(&features, &task, options).map(drop);
    let region = |x1, y1, x2, y2| Task::RegionToCategory(Region::Pixels(BoundingBox::new(x1, y1, x2, y2)));
    for task in [
        region(10.0, 10.0, 5.0, 20.0),
        region(0.0, 0.0, 321.0, 10.0),
        region(f32::NAN, 0.0, 1.0, 1.0),
    ] {
        assert!(matches!(
            answer(task, &greedy()),
            Err(Error::InvalidRegion { .. })
        ));
    }
    let long = Task::CaptionToPhraseGrounding("a cat and ".repeat(1000));
    match answer(long, &greedy()) {
        Err(Error::PromptTooLong { tokens, limit }) => assert!(tokens > limit && limit > 0),
        other => panic!("{other:?}"),
    }
    let bad = GenerationOptions::default();
    for generation in [
        bad.clone().with_num_beams(0),
        bad.clone().with_num_beams(1).with_num_return_sequences(2),
        bad.clone().with_do_sample(true).with_temperature(0.0),
        bad.clone().with_do_sample(true).with_top_p(1.5),
        bad.with_length_penalty(f64::NAN),
    ] {
        let options = RunOptions::default().with_generation(generation);
        assert!(
            matches!(answer(Task::Ocr, &options), Err(Error::InvalidOption { .. })),
            "{options:?}"
        );
    }
    assert!(matches!(
        model.encode_image(&DynamicImage::new_rgb8(0, 5)),
        Err(Error::ImageEmpty { width: 0, height: 5 })
    ));
}

#[test]
fn the_smallest_images_have_answers() {
    let model = model();
    for (width, height) in [(1, 1), (1, 3000), (3000, 1)] {
        let output = model
            .run_with(
                &DynamicImage::new_rgb8(width, height),
                &Task::ObjectDetection,
                &greedy(),
            )
            .unwrap();
        assert_eq!(
            (output.image_size.width, output.image_size.height),
            (width, height)
        );
    }
}

#[test]
fn an_empty_batch_has_no_answers() {
    let requests: [(&ImageFeatures, &Task); 0] = [];
    assert!(model().run_batch(requests, &greedy()).unwrap().is_empty());
}
