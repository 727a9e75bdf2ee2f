//! The engine in an application that has an environment, threads and files of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use florence2::bundle::Bytes;
use florence2::generation::GenerationOptions;
use florence2::ort::AsPointer;
use florence2::ort::environment::{Environment, GlobalThreadPoolOptions, ThreadManager};
use florence2::ort::ep::ExecutionProviderDispatch;
use florence2::runtime::{self, GraphSource, RuntimeOptions, SessionOptions, build_session};
use florence2::{BundleSource, Error, Florence2, LoadOptions, RunOptions, Task, load_image, ort};

use crate::common::golden::{Answers, exported};
use crate::common::graphs::MERGED;
use crate::common::own_process::{in_own_process, library};
use florence2_export::GraphFile;

#[test]
fn an_applications_threads_serve_several_models() {
    in_own_process(module_path!(), "threads_of_the_application", &[]);
}

/// Counts the threads that ONNX Runtime starts for the application's pool.
struct CountedThreads;

static THREADS: AtomicUsize = AtomicUsize::new(0);

impl ThreadManager for CountedThreads {
    type Thread = JoinHandle<()>;

    fn create(&self, work: impl FnOnce() + Send + 'static) -> ort::Result<Self::Thread> {
        THREADS.fetch_add(1, Ordering::SeqCst);
        Ok(std::thread::spawn(work))
    }

    fn join(thread: Self::Thread) -> ort::Result<()> {
        thread.join().map_err(|_| ort::Error::new("a thread panicked"))
    }
}

/// An environment all of whose sessions share a pool of three threads, one of them the caller's.
fn environment() -> ort::Result<Environment> {
    let threads = GlobalThreadPoolOptions::default()
        .with_intra_threads(3)?
        .with_inter_threads(1)?
        .with_thread_manager(CountedThreads)?;
    ort::init()
        .with_name("application")
        .with_global_thread_pool(threads)
        .build()
}

#[test]
#[ignore = "run by an_applications_threads_serve_several_models"]
fn threads_of_the_application() {
    ort::init_from(library()).unwrap();
    let runtime = RuntimeOptions::default().with_environment(environment().unwrap());
    let options = LoadOptions::default().with_runtime(runtime);
    let load = |options: &LoadOptions, graphs: &[GraphFile]| {
        let folder = exported("base-like", graphs);
        Florence2::from_pretrained(folder.path(), options.clone()).unwrap()
    };
    let models = [&MERGED[..], &GraphFile::FUSED].map(|graphs| load(&options, graphs));
    let answers = models.each_ref().map(answer);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(THREADS.load(Ordering::SeqCst), 2);

    // A model with `intra_threads` gets its own threads.
    let mut session = SessionOptions::default();
    session.intra_threads = Some(2);
    let model = load(&options.with_session(session), &MERGED);
    assert_eq!(answer(&model), answers[0]);
    assert_eq!(THREADS.load(Ordering::SeqCst), 2);
}

#[test]
fn an_environment_made_elsewhere_must_be_passed() {
    in_own_process(module_path!(), "environment_made_elsewhere", &[]);
}

#[test]
#[ignore = "run by an_environment_made_elsewhere_must_be_passed"]
fn environment_made_elsewhere() {
    let runtime = RuntimeOptions::default().with_library(library());
    let found = runtime::find_library(&runtime).unwrap();
    assert_eq!(found, library());
    // Another crate makes the environment, with the library that was found.
    let environment = ort::init().build().unwrap();
    let error = runtime::init(&runtime).unwrap_err();
    assert!(matches!(error, Error::EnvironmentExists), "{error:?}");
    let info = runtime::init(&runtime.with_environment(environment.clone())).unwrap();
    assert_eq!(info.path.as_deref(), Some(found));
    assert!(info.version.is_some());
    assert_eq!(runtime::environment().unwrap().ptr(), environment.ptr());
}

#[test]
fn providers_of_the_application_are_registered() {
    crate::common::runtime();
    let folder = exported("base-like", &MERGED);
    let load = |provider: ExecutionProviderDispatch| {
        let session = SessionOptions::default().with_execution_providers([provider]);
        Florence2::from_pretrained(folder.path(), LoadOptions::default().with_session(session))
    };
    let without = Florence2::from_pretrained(folder.path(), LoadOptions::default()).unwrap();
    // The library has no XNNPACK: as with `ort`, that is an error only if it was asked for.
    let model = load(ort::ep::XNNPACK::default().build()).unwrap();
    assert_eq!(answer(&model), answer(&without));
    let error = load(ort::ep::XNNPACK::default().build().error_on_failure()).unwrap_err();
    assert!(matches!(error, Error::Ort { .. }), "{error:?}");
}

#[test]
fn sessions_of_the_application_are_used_and_stay_its_own() {
    crate::common::runtime();
    let folder = exported("base-like", &MERGED);
    let mut options = LoadOptions::default();
    for graph in [GraphFile::VisionEncoder, GraphFile::DecoderModelMerged] {
        let file = folder.path().join("onnx").join(format!("{}.onnx", graph.name()));
        let session = build_session(&GraphSource::File(file.clone()), &SessionOptions::default()).unwrap();
        std::fs::remove_file(file).unwrap();
        options = options.with_shared_session(graph, Arc::new(Mutex::new(session)));
    }
    let vision = options.sessions[&GraphFile::VisionEncoder].clone();
    // The same sessions serve two models, and the application.
    let models = [(); 2].map(|()| Florence2::from_pretrained(folder.path(), options.clone()).unwrap());
    let whole = exported("base-like", &MERGED);
    let whole = Florence2::from_pretrained(whole.path(), LoadOptions::default()).unwrap();
    assert_eq!(models.each_ref().map(answer), [answer(&whole), answer(&whole)]);
    assert_eq!(vision.lock().unwrap().inputs()[0].name(), "pixel_values");
}

#[test]
fn a_session_of_another_graph_is_rejected() {
    crate::common::runtime();
    let folder = exported("base-like", &MERGED);
    let file = folder.path().join("onnx/encoder_model.onnx");
    let session = build_session(&GraphSource::File(file.clone()), &SessionOptions::default()).unwrap();
    let options =
        LoadOptions::default().with_shared_session(GraphFile::VisionEncoder, Arc::new(Mutex::new(session)));
    let error = Florence2::from_pretrained(folder.path(), options).unwrap_err();
    assert!(
        matches!(&error, Error::InvalidGraph { graph, .. } if graph == "vision_encoder"),
        "{error:?}"
    );
    assert!(error.to_string().contains("pixel_values"), "{error}");
}

fn answer(model: &Florence2) -> Vec<u32> {
    let path = Answers::read("base-like").images[0].path();
    let image = load_image(path).unwrap();
    let generation = GenerationOptions::default()
        .with_num_beams(3)
        .with_max_new_tokens(20);
    let options = RunOptions::default().with_generation(generation);
    model.run_with(&image, &Task::Ocr, &options).unwrap().token_ids
}

#[test]
fn a_model_can_come_from_memory() {
    crate::common::runtime();
    let folder = exported("base-like", &MERGED);
    let mut files: BTreeMap<String, Bytes> = BTreeMap::new();
    for directory in ["", "onnx"] {
        for entry in std::fs::read_dir(folder.path().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(folder.path()).unwrap().to_str().unwrap();
                files.insert(name.replace('\\', "/"), std::fs::read(&path).unwrap().into());
            }
        }
    }
    let source = BundleSource::Memory {
        name: "in memory".into(),
        files,
    };
    let from_memory = Florence2::load(source, LoadOptions::default()).unwrap();
    let from_files = Florence2::from_pretrained(folder.path(), LoadOptions::default()).unwrap();
    assert_eq!(answer(&from_memory), answer(&from_files));
}
