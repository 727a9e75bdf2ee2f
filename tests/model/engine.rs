//! The engine's interface: streaming, cancellation, shared models, and invalid requests.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use florence2::generation::GenerationOptions;
use florence2::runtime::SessionOptions;
use florence2::{
    BoundingBox, CancelToken, Error, Florence2, ImageFeatures, ImageLimits, LoadOptions, Region, RunOptions,
    Task, load_image,
};

use crate::common::golden::{Answers, exported, load};
use florence2_export::GraphFile;
use image::DynamicImage;

fn model() -> Florence2 {
    let graphs = [
        GraphFile::VisionEncoder,
        GraphFile::EmbedTokens,
        GraphFile::EncoderModel,
        GraphFile::DecoderModelMerged,
    ];
    load(&exported("base-like", &graphs))
}

fn image() -> DynamicImage {
    let path = Answers::read("base-like").images[0].path();
    load_image(path, &ImageLimits::default()).unwrap().into()
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
    let stages = model.answer(&features, &Task::Ocr, &greedy()).unwrap();
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
            .stream(&features, &task, &greedy(), &mut |piece| {
                text.push_str(piece);
                pieces += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(text, streamed.raw_text);
        assert!(
            (2..=streamed.token_ids.len()).contains(&pieces),
            "{pieces} pieces"
        );
        assert_eq!(
            streamed.token_ids,
            model.answer(&features, &task, &greedy()).unwrap().token_ids
        );
    }
}

#[test]
fn a_reader_can_end_a_stream() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    let whole = model.answer(&features, &Task::Ocr, &greedy()).unwrap();
    let mut pieces = 0;
    let output = model
        .stream(&features, &Task::Ocr, &greedy(), &mut |_| {
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
    let result = model.stream(
        &features,
        &Task::Ocr,
        &options,
        &mut |_| ControlFlow::Continue(()),
    );
    assert!(matches!(result, Err(Error::InvalidOption { .. })), "{result:?}");
}

#[test]
fn work_can_be_cancelled() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    let cancel = CancelToken::new();
    let options = greedy().with_cancel(cancel.clone());
    model.answer(&features, &Task::Ocr, &options).unwrap();
    let result = model.stream(&features, &Task::Ocr, &options, &mut |_| {
        cancel.cancel();
        ControlFlow::Continue(())
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert!(matches!(
        model.answer(&features, &Task::Ocr, &options),
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
        model.answer(&features, &Task::Ocr, &none).map(drop),
    ];
    for result in results {
        assert!(matches!(result, Err(Error::DeadlineExceeded)), "{result:?}");
    }
    // A deadline during the search.
    let timeout = Duration::from_secs(60);
    let options = greedy().with_timeout(timeout);
    let whole = model.answer(&features, &Task::Ocr, &options).unwrap();
    let mut pieces = 0;
    let mut options = options;
    options.deadline = Some(Instant::now() + Duration::from_millis(300));
    let result = model.stream(&features, &Task::Ocr, &options, &mut |_| {
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
        model.answer(&features, task, &options).unwrap().token_ids
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
    let output = model.answer(&features, &Task::Ocr, &options(5)).unwrap();
    assert!(output.truncated && output.token_ids.len() == 5);
    // The default and the maximum are the checkpoint's positions.
    let limit = model.generation_config().max_positions;
    let longest = model.answer(&features, &Task::Ocr, &options(usize::MAX)).unwrap();
    assert!(longest.token_ids.len() <= limit);
}

#[test]
fn invalid_requests() {
    let model = model();
    let features = model.encode_image(&image()).unwrap();
    let answer = |task: Task, options: &RunOptions| model.answer(&features, &task, options).map(drop);
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
    assert!(model().answer_batch(&requests, &greedy()).unwrap().is_empty());
}
