//! Deployments in published forms, built from the demo checkpoint: in every dtype, mixed dtypes, with the file names of older
//! exports, and broken.
#![cfg(feature = "fetch-runtime")]

#[path = "../common/mod.rs"]
mod common;

mod broken;
mod damaged;
mod exports;
mod external_data;
mod fine_tunes;
mod folders;
mod forms;
mod loops;
mod mixes;
mod names;
mod onnx;
mod overlap;
mod traced;

use std::collections::BTreeMap;
use std::sync::Mutex;

use common::golden::checkpoint;
use common::graphs::{MERGED, SPLIT};
use florence2::bundle::Bytes;
use florence2::runtime::SessionOptions;
use florence2::{
    BundleSource, Error, Florence2, LoadOptions, RunOptions, Task, generation::GenerationOptions,
};
use florence2_export::{
    Checkpoint, Dtype, ExportOptions, GraphFile, export_config_files, export_graph_bytes,
};
use image::DynamicImage;

/// How graphs are exported.
#[derive(Clone, Copy, PartialEq)]
struct Form {
    dtype: Dtype,
    float16_io: bool,
}

const FP32: Form = form(Dtype::Fp32);
/// 16-bit floats throughout, also in caches.
const FP16_IO: Form = Form {
    dtype: Dtype::Fp16,
    float16_io: true,
};

const fn form(dtype: Dtype) -> Form {
    Form {
        dtype,
        float16_io: false,
    }
}

/// A deployment's files.
#[derive(Clone)]
struct Deployment {
    files: BTreeMap<String, Bytes>,
}

impl Deployment {
    /// Returns a deployment of graphs of one form, named for it, with configuration files.
    fn new(graphs: &[GraphFile], form: Form) -> Self {
        let checkpoint = Checkpoint::open(checkpoint("demo")).unwrap();
        let files = export_config_files(&checkpoint, &ExportOptions::default()).unwrap();
        let files = files
            .into_iter()
            .map(|(name, bytes)| (name, bytes.into()))
            .collect();
        graphs
            .iter()
            .fold(Self { files }, |deployment, &graph| deployment.with(graph, form))
    }

    /// Adds a graph, under the name of its form.
    fn with(mut self, graph: GraphFile, form: Form) -> Self {
        let path = path(graph, form);
        self.files.insert(path, exported(graph, form).into());
        self
    }

    /// Adds a graph under the name of another form: file names do not determine a graph's types.
    fn with_as(mut self, graph: GraphFile, form: Form, named: Form) -> Self {
        self.files
            .insert(path(graph, named), exported(graph, form).into());
        self
    }

    fn without(mut self, file: &str) -> Self {
        self.files.remove(file).unwrap_or_else(|| panic!("{file}"));
        self
    }

    /// Changes a file's bytes.
    fn edited(mut self, file: &str, edit: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        let bytes = self.files.get_mut(file).unwrap_or_else(|| panic!("{file}"));
        *bytes = edit(bytes).into();
        self
    }

    /// Changes a JSON file.
    fn edited_json(self, file: &str, edit: impl FnOnce(&mut serde_json::Value)) -> Self {
        self.edited(file, |bytes| {
            let mut json = serde_json::from_slice(bytes).unwrap();
            edit(&mut json);
            json.to_string().into_bytes()
        })
    }

    fn source(&self) -> BundleSource {
        BundleSource::Memory {
            name: "deployment".into(),
            files: self.files.clone(),
        }
    }

    fn load_with(&self, options: LoadOptions) -> Result<Florence2, Error> {
        common::runtime();
        Florence2::load(self.source(), options)
    }

    fn load(&self) -> Florence2 {
        self.load_with(options())
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the error of loading the deployment.
    fn error(&self) -> Error {
        match self.load_with(options()) {
            Ok(_) => panic!("it was taken for a model"),
            Err(error) => error,
        }
    }
}

/// Returns a graph's bytes, exported once.
fn exported(graph: GraphFile, form: Form) -> Vec<u8> {
    type Made = Mutex<BTreeMap<(&'static str, &'static str, bool), Vec<u8>>>;
    static MADE: Made = Mutex::new(BTreeMap::new());
    let key = (graph.name(), form.dtype.name(), form.float16_io);
    let mut made = MADE.lock().unwrap();
    made.entry(key)
        .or_insert_with(|| exported_from("demo", graph, form))
        .clone()
}

fn exported_from(name: &str, graph: GraphFile, form: Form) -> Vec<u8> {
    let checkpoint = Checkpoint::open(checkpoint(name)).unwrap();
    let options = ExportOptions::default()
        .with_dtype(form.dtype)
        .with_float16_io(form.float16_io);
    export_graph_bytes(&checkpoint, graph, &options).unwrap()
}

fn path(graph: GraphFile, form: Form) -> String {
    format!("onnx/{}", graph.file_name(form.dtype))
}

/// Returns options for tests that share the CPU.
fn options() -> LoadOptions {
    let mut session = SessionOptions::default();
    session.spinning = false;
    LoadOptions::default().with_session(session)
}

/// Returns a sample scene of the demo model.
fn scene(name: &str) -> DynamicImage {
    let path = checkpoint("demo").join("../scenes").join(name);
    image::open(path).unwrap()
}

/// Returns options for greedy search, which shows differences of models most directly.
fn greedy() -> RunOptions {
    let generation = GenerationOptions::default()
        .with_num_beams(1)
        .with_max_new_tokens(100);
    RunOptions::default().with_generation(generation)
}

/// Returns the tokens of two tasks' answers about a scene, greedy and with beams.
fn answers(model: &Florence2) -> Vec<Vec<u32>> {
    let features = model.encode_image(&scene("ring.png")).unwrap();
    let asked = [Task::ObjectDetection, Task::Caption];
    let options = [greedy(), RunOptions::default()];
    let answers = asked.iter().flat_map(|task| {
        options
            .iter()
            .map(|options| model.run_with(&features, task, options).unwrap().token_ids)
    });
    answers.collect()
}

/// Asserts that [`answers`] equal `reference`, locations within `bins` (thousandths of the image): rounding decides close
/// calls between two locations.
fn assert_alike(model: &Florence2, reference: &[Vec<u32>], bins: u32, what: &str) {
    let locations = ["<loc_0>", "<loc_999>"].map(|token| model.tokenizer().token_to_id(token).unwrap());
    let is_location = |id: &u32| (locations[0]..=locations[1]).contains(id);
    let answers = answers(model);
    for (answer, wanted) in answers.iter().zip(reference) {
        let alike = |(one, other): (&u32, &u32)| {
            one == other || is_location(one) && is_location(other) && one.abs_diff(*other) <= bins
        };
        let all = answer.len() == wanted.len() && answer.iter().zip(wanted).all(alike);
        assert!(all, "{what}: {answer:?} is not {wanted:?}");
    }
}
