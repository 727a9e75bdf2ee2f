//! Starting ONNX Runtime, building sessions, reading signatures.

use std::path::Path;
use std::thread;

use florence2::Error;
use florence2::runtime::{
    Dimension, GraphSignature, GraphSource, OptimizationLevel, RuntimeOptions, SessionOptions, build_session,
    init,
};

use crate::common::own_process::{in_own_process, library, loaded_library};
use crate::common::{fixture, runtime};
use ort::value::Tensor;

fn options() -> SessionOptions {
    let mut options = SessionOptions::default();
    options.intra_threads = Some(1);
    options
}

/// Computes `x + x` with the tiny graph.
fn doubled(graph: &GraphSource, options: &SessionOptions) -> Vec<f32> {
    let mut session = build_session(graph, options).unwrap();
    let x = Tensor::from_array(([1, 3], vec![1.0f32, 2.0, 3.0])).unwrap();
    let mask = Tensor::from_array(([1, 1], vec![1i64])).unwrap();
    let outputs = session.run(ort::inputs! { "x" => x, "mask" => mask }).unwrap();
    outputs["y"].try_extract_tensor::<f32>().unwrap().1.to_vec()
}

#[test]
fn sessions_run_from_files_and_bytes() {
    let info = runtime();
    assert!(info.path.as_ref().is_some_and(|path| path.exists()), "{info:?}");
    assert!(
        info.version
            .as_ref()
            .is_some_and(|version| version.starts_with("1.")),
        "{info:?}"
    );

    let path = fixture("tiny.onnx");
    assert_eq!(
        doubled(&GraphSource::File(path.clone()), &options()),
        [2.0, 4.0, 6.0]
    );
    let bytes = std::fs::read(&path).unwrap();
    let graph = GraphSource::memory("tiny", bytes);
    assert_eq!(doubled(&graph, &SessionOptions::default()), [2.0, 4.0, 6.0]);
}

#[test]
fn every_option_is_accepted_by_onnx_runtime() {
    runtime();
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.spinning = false;
    options.disabled_optimizers = vec!["SimplifiedLayerNormFusion".into(), "GeluFusionL2".into()];
    options.profiling = Some(dir.path().join("profile"));
    for level in [
        OptimizationLevel::Disabled,
        OptimizationLevel::Basic,
        OptimizationLevel::Extended,
    ] {
        options.optimization_level = level;
        assert_eq!(
            doubled(&GraphSource::File(fixture("tiny.onnx")), &options),
            [2.0, 4.0, 6.0]
        );
    }
    let profiles = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(profiles > 0, "no profile was written");
}

#[test]
fn weights_beside_the_graph_are_found() {
    runtime();
    let mut session = build_session(&GraphSource::File(fixture("tiny_external.onnx")), &options()).unwrap();
    let x = Tensor::from_array(([1, 3], vec![1.0f32, 0.0, 1.0])).unwrap();
    let outputs = session.run(ort::inputs! { "x" => x }).unwrap();
    assert_eq!(
        outputs["y"].try_extract_tensor::<f32>().unwrap().1,
        [8.0, 10.0, 12.0, 14.0]
    );
}

#[test]
fn bad_graphs_are_errors_that_name_them() {
    runtime();
    let whole = std::fs::read(fixture("tiny.onnx")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut cases: Vec<Vec<u8>> = (0..whole.len())
        .step_by(5)
        .map(|end| whole[..end].to_vec())
        .collect();
    cases.push(b"<html>not found</html>".to_vec());
    cases.push(vec![0xff; 4096]);
    let (mut refused, built) = (0, 2 * cases.len());
    for bytes in cases {
        let path = dir.path().join("cut.onnx");
        std::fs::write(&path, &bytes).unwrap();
        let graph = GraphSource::memory("cut.onnx", bytes);
        for graph in [GraphSource::File(path), graph] {
            // A cut between two fields leaves a valid message, for example without some metadata.
            if let Err(error) = build_session(&graph, &options()) {
                assert!(
                    matches!(error, Error::Ort { .. } | Error::InvalidGraph { .. }),
                    "{error:?}"
                );
                assert!(error.to_string().contains("cut.onnx"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > built * 9 / 10, "{refused} of {built}");
}

#[test]
fn missing_files_are_named() {
    runtime();
    let absent = fixture("absent.onnx");
    let error = build_session(&GraphSource::File(absent.clone()), &options()).unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if *path == absent),
        "{error:?}"
    );

    // The graph without the weights beside it.
    let dir = tempfile::tempdir().unwrap();
    let alone = dir.path().join("tiny_external.onnx");
    std::fs::copy(fixture("tiny_external.onnx"), &alone).unwrap();
    let error = build_session(&GraphSource::File(alone.clone()), &options()).unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if path.ends_with("tiny_external.onnx_data")),
        "{error:?}"
    );
}

#[test]
fn weights_beside_a_graph_in_memory_are_found() {
    runtime();
    let [bytes, weights] =
        ["tiny_external.onnx", "tiny_external.onnx_data"].map(|name| std::fs::read(fixture(name)).unwrap());
    let graph = GraphSource::Memory {
        name: "tiny_external".into(),
        model: bytes.into(),
        external_data: vec![("tiny_external.onnx_data".to_owned(), weights.into())],
    };
    let mut session = build_session(&graph, &options()).unwrap();
    let x = Tensor::from_array(([1, 3], vec![1.0f32, 0.0, 1.0])).unwrap();
    let outputs = session.run(ort::inputs! { "x" => x }).unwrap();
    let y = outputs["y"].try_extract_tensor::<f32>().unwrap().1;
    assert_eq!(y, [8.0, 10.0, 12.0, 14.0]);
}

#[test]
fn zero_threads_are_rejected() {
    let mut options = SessionOptions::default();
    options.intra_threads = Some(0);
    let error = build_session(&GraphSource::File(fixture("tiny.onnx")), &options).unwrap_err();
    assert!(
        matches!(
            error,
            Error::InvalidOption {
                name: "intra_threads",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn signatures_are_read_from_the_graph() {
    runtime();
    let session = build_session(&GraphSource::File(fixture("tiny.onnx")), &options()).unwrap();
    let signature = GraphSignature::of(&session, "tiny").unwrap();
    let x = signature.input("x").unwrap();
    assert_eq!(x.dtype(), "f32");
    assert_eq!(x.dims, [Dimension::Symbolic("batch".into()), Dimension::Fixed(3)]);
    assert_eq!((x.fixed(0), x.fixed(1), x.fixed(2)), (None, Some(3), None));
    let mask = signature.output("mask_out").unwrap();
    assert_eq!(mask.dtype(), "i64");
    assert_eq!(
        mask.dims,
        [Dimension::Symbolic("batch".into()), Dimension::Unknown]
    );
    assert_eq!(mask.to_string(), "mask_out i64 [batch, ?]");
    assert!(signature.has_input("mask") && !signature.has_output("mask"));
    assert_eq!(signature.producer.as_deref(), Some("florence2-tests"));
    assert_eq!(signature.metadata["florence2.layers"], "6");
    assert_eq!(signature.metadata["florence2.note"], "größer");

    let error = signature.input("pixel_values").unwrap_err();
    assert!(
        matches!(&error, Error::InvalidGraph { graph, .. } if graph == "tiny"),
        "{error:?}"
    );
    assert!(error.to_string().contains("only x, mask"), "{error}");
}

#[test]
fn an_input_that_is_not_a_tensor_is_an_error() {
    runtime();
    let session = build_session(&GraphSource::File(fixture("tiny_sequence.onnx")), &options()).unwrap();
    let error = GraphSignature::of(&session, "tiny_sequence").unwrap_err();
    assert!(
        matches!(&error, Error::InvalidGraph { reason, .. } if reason.contains("\"xs\"")),
        "{error:?}"
    );
}

// ONNX Runtime is started once a process. Each test below is about a process's first steps: it runs one of the ignored
// tests at the end in a process of its own.

const PROCESS: &str = concat!(module_path!(), "::own_process");

#[test]
fn a_failed_start_can_be_retried() {
    in_own_process(PROCESS, "retries_after_failures", &[]);
}

#[test]
fn threads_may_start_it_at_once() {
    in_own_process(PROCESS, "starts_in_many_threads", &[]);
}

#[test]
fn an_applications_environment_is_kept() {
    in_own_process(PROCESS, "keeps_the_applications_environment", &[]);
}

#[test]
fn an_applications_library_is_kept() {
    in_own_process(PROCESS, "keeps_the_applications_library", &[]);
}

#[test]
fn a_session_starts_it_by_the_variable() {
    let path = loaded_library();
    let path = path.to_str().unwrap();
    in_own_process(PROCESS, "builds_a_session_first", &[("ORT_DYLIB_PATH", path)]);
}

#[test]
fn a_wrong_variable_is_an_error() {
    in_own_process(
        PROCESS,
        "rejects_a_wrong_variable",
        &[("ORT_DYLIB_PATH", "/no/such/library.so")],
    );
}

mod own_process {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::{Event, Level, Metadata, Subscriber, span};

    use super::*;

    /// Counts the warnings in the log.
    #[derive(Clone, Default)]
    struct Warnings(Arc<AtomicUsize>);

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::WARN
        }
        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    #[ignore = "run by a_failed_start_can_be_retried"]
    fn retries_after_failures() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |bad: &Path| {
            let error = init(&RuntimeOptions::default().with_library(bad)).unwrap_err();
            assert!(
                matches!(&error, Error::RuntimeLoad { path, .. } if path == bad),
                "{error:?}"
            );
            error.to_string()
        };
        refused(&dir.path().join("absent.so"));
        refused(dir.path());
        let bad = dir.path().join("bad.so");
        std::fs::write(&bad, "not a library").unwrap();
        refused(&bad);
        let whole = std::fs::read(library()).unwrap();
        for cut in [0, 40, 100, 1_000_000, whole.len() / 2, whole.len() * 9 / 10] {
            std::fs::write(&bad, &whole[..cut]).unwrap();
            let message = refused(&bad);
            if cfg!(target_os = "linux") && cut >= 100 {
                assert!(message.contains("truncated"), "{message}");
            }
        }
        let first = init(&RuntimeOptions::default().with_library(library())).unwrap();
        assert_eq!(first.path, Some(library()));
        // A running ONNX Runtime stays in use; a request for another library is logged.
        for (asked, warnings) in [(library(), 0), ("another.so".into(), 1)] {
            let log = Warnings::default();
            let again = tracing::subscriber::with_default(log.clone(), || {
                init(&RuntimeOptions::default().with_library(asked)).unwrap()
            });
            assert!(std::ptr::eq(first, again));
            assert_eq!(log.0.load(Ordering::Relaxed), warnings);
        }
    }

    #[test]
    #[ignore = "run by threads_may_start_it_at_once"]
    fn starts_in_many_threads() {
        let options = RuntimeOptions::default().with_library(library());
        let infos: Vec<_> = thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| init(&options).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(infos.iter().all(|info| std::ptr::eq(*info, infos[0])));
    }

    #[test]
    #[ignore = "run by an_applications_environment_is_kept"]
    fn keeps_the_applications_environment() {
        let environment = ort::init_from(library())
            .unwrap()
            .with_name("application")
            .build()
            .unwrap();
        let error = init(&RuntimeOptions::default()).unwrap_err();
        assert!(
            error.to_string().contains("RuntimeOptions::with_environment"),
            "{error}"
        );

        let info = init(&RuntimeOptions::default().with_environment(environment)).unwrap();
        assert_eq!(info.path, None);
        assert_eq!(
            doubled(&GraphSource::File(fixture("tiny.onnx")), &options()),
            [2.0, 4.0, 6.0]
        );
    }

    #[test]
    #[ignore = "run by an_applications_library_is_kept"]
    fn keeps_the_applications_library() {
        drop(ort::init_from(library()).unwrap());
        let info = init(&RuntimeOptions::default().with_library("another.so")).unwrap();
        assert_eq!(info.path, None);
        assert_eq!(
            doubled(&GraphSource::File(fixture("tiny.onnx")), &options()),
            [2.0, 4.0, 6.0]
        );
    }

    #[test]
    #[ignore = "run by a_session_starts_it_by_the_variable"]
    fn builds_a_session_first() {
        assert_eq!(
            doubled(&GraphSource::File(fixture("tiny.onnx")), &options()),
            [2.0, 4.0, 6.0]
        );
        let info = init(&RuntimeOptions::default()).unwrap();
        assert_eq!(info.path, Some(library()));
    }

    #[test]
    #[ignore = "run by a_wrong_variable_is_an_error"]
    fn rejects_a_wrong_variable() {
        let error = init(&RuntimeOptions::default()).unwrap_err();
        assert!(matches!(error, Error::RuntimeLoad { .. }), "{error:?}");
        assert!(error.to_string().contains("/no/such/library.so"), "{error}");
    }
}
