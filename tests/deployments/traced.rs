//! Vision encoders that were traced at another image size than they run at (`tests/reference/make_traced.py`): repaired
//! when they are loaded, from wherever their files are, their answers are transformers'.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use florence2::bundle::{Bytes, Dtype};
use florence2::generation::GenerationOptions;
use florence2::{
    Bundle, BundleSource, Florence2, ImageSize, LoadOptions, RunOptions, Task, load_image, repair_deployment,
};

use crate::common::golden::{Answers, ImageAnswers, exported, stages};
use crate::common::graphs::{MERGED, SPLIT};
use crate::common::{fixture, runtime};
use florence2_export::GraphFile;
use florence2_layout::onnx::{DataType, DimensionValue, GraphProto, ModelProto, NodeProto, TensorProto};
use prost::Message;
use tempfile::TempDir;

/// The forms in which the scale is frozen, and the one in which it is computed.
const FROZEN: [&str; 2] = ["original", "sdpa"];
const SOUND: &str = "eager";
const CHECKPOINT: &str = "base-like";
const GRAPH: &str = "onnx/vision_encoder.onnx";
const WEIGHTS: &str = "weights.bin";
/// The tolerance of image features, relative to the greatest value.
const TOLERANCE: f32 = 1e-4;

/// Returns a traced graph with its weights in `weights.bin`.
fn graph(form: &str) -> Vec<u8> {
    let packed = fs::read(fixture(&format!("traced/{form}.onnx.gz"))).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    bytes
}

fn weights() -> Vec<u8> {
    fs::read(fixture("traced/weights.bin")).unwrap()
}

/// Returns a traced graph with its weights inside.
fn inline_graph(form: &str) -> Vec<u8> {
    let (mut model, weights) = (ModelProto::decode(&graph(form)[..]).unwrap(), weights());
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        if tensor.external_data.is_empty() {
            continue;
        }
        let number = |key: &str| -> usize {
            let entry = tensor.external_data.iter().find(|entry| entry.key == key);
            entry.unwrap().value.parse().unwrap()
        };
        let (offset, length) = (number("offset"), number("length"));
        tensor.raw_data = Some(weights[offset..offset + length].to_vec().into());
        tensor.external_data.clear();
        tensor.data_location = None;
    }
    model.encode_to_vec()
}

/// Makes a deployment with a traced vision encoder, its weights inside it or beside it.
fn deployment(form: &str, is_inline: bool) -> TempDir {
    let folder = exported(CHECKPOINT, &MERGED);
    let graphs = folder.path().join("onnx");
    if is_inline {
        fs::write(folder.path().join(GRAPH), inline_graph(form)).unwrap();
    } else {
        fs::write(folder.path().join(GRAPH), graph(form)).unwrap();
        fs::write(graphs.join(WEIGHTS), weights()).unwrap();
    }
    folder
}

fn load(source: BundleSource) -> Florence2 {
    runtime();
    Florence2::load(source, LoadOptions::default()).unwrap()
}

fn load_folder(folder: &Path) -> Florence2 {
    load(BundleSource::Folder(folder.to_owned()))
}

fn features(model: &Florence2, answers: &ImageAnswers) -> florence2::ImageFeatures {
    let image = load_image(answers.path()).unwrap();
    model.encode_image(&image).unwrap()
}

/// Returns the error of the image features against transformers'.
fn error(model: &Florence2) -> f32 {
    let answers = Answers::read(CHECKPOINT);
    let stages = stages(CHECKPOINT);
    let errors = answers.images.iter().map(|image| {
        let reference = &stages[&format!("{}.image_features", image.stem())];
        reference.relative_error(features(model, image).view().iter())
    });
    errors.fold(0.0, f32::max)
}

/// Asserts that the model was repaired, and gives transformers' features and tokens.
fn check(model: &Florence2, what: &str) {
    let repair = model.repair().unwrap_or_else(|| panic!("{what}: no repair"));
    assert_eq!(repair.attentions, 5, "{what}");
    assert_eq!(repair.frozen_at, Some(ImageSize::new(64, 64)), "{what}");
    assert_eq!(repair.image_size, ImageSize::new(96, 96), "{what}");
    let worst = error(model);
    assert!(worst < TOLERANCE, "{what}: {worst:e}");

    let image = &Answers::read(CHECKPOINT).images[0];
    let features = features(model, image);
    for prompt in &image.prompts {
        let Some(answer) = &prompt.greedy else { continue };
        let generation = GenerationOptions::default()
            .with_num_beams(1)
            .with_max_new_tokens(answer.sequences[0].len() - 1);
        let options = RunOptions::default().with_generation(generation);
        let output = model.run_with(&features, &prompt.task(), &options).unwrap();
        assert_eq!(
            output.token_ids,
            answer.sequences[0][1..],
            "{what}: {:?}",
            prompt.task()
        );
    }
}

#[test]
fn frozen_scales_are_repaired_from_a_folder() {
    for form in FROZEN {
        for is_inline in [true, false] {
            let folder = deployment(form, is_inline);
            check(
                &load_folder(folder.path()),
                &format!("{form}, inline {is_inline}"),
            );
        }
    }
}

/// In a hub's cache a model's files are links to files named by their checksums.
#[cfg(unix)]
#[test]
fn frozen_scales_are_repaired_from_a_folder_of_links() {
    for is_inline in [true, false] {
        let files = deployment("original", is_inline);
        let cache = tempfile::tempdir().unwrap();
        let (blobs, snapshot) = (cache.path().join("blobs"), cache.path().join("snapshots/1234"));
        fs::create_dir_all(snapshot.join("onnx")).unwrap();
        fs::create_dir_all(&blobs).unwrap();
        for (number, file) in files_in(files.path()).into_iter().enumerate() {
            fs::rename(files.path().join(&file), blobs.join(number.to_string())).unwrap();
            let up = if file.starts_with("onnx") {
                "../../../blobs"
            } else {
                "../../blobs"
            };
            let target = Path::new(up).join(number.to_string());
            std::os::unix::fs::symlink(target, snapshot.join(&file)).unwrap();
        }
        check(&load_folder(&snapshot), &format!("links, inline {is_inline}"));
    }
}

#[test]
fn frozen_scales_are_repaired_from_memory() {
    for is_inline in [true, false] {
        let folder = deployment("sdpa", is_inline);
        let files: BTreeMap<String, Bytes> = files_in(folder.path())
            .into_iter()
            .map(|file| {
                let bytes = fs::read(folder.path().join(&file)).unwrap();
                (file.to_str().unwrap().to_owned(), bytes.into())
            })
            .collect();
        let source = BundleSource::Memory {
            name: "traced".into(),
            files,
        };
        check(&load(source), &format!("memory, inline {is_inline}"));
    }
}

#[test]
fn repairs_can_be_left_out() {
    let folder = deployment("original", true);
    runtime();
    let options = LoadOptions::default().with_repair(false);
    let model = Florence2::from_pretrained(folder.path(), options).unwrap();
    assert!(model.repair().is_none());
    let worst = error(&model);
    assert!(worst > 100.0 * TOLERANCE, "{worst:e}");
    // The needed repair is reported all the same.
    let bundle = Bundle::open(BundleSource::Folder(folder.path().into())).unwrap();
    let repair = bundle.needed_repair().unwrap().unwrap();
    assert!(repair.to_string().contains("64x64"), "{repair}");
}

/// A fixed input size takes precedence over the configuration.
#[test]
fn scales_that_are_right_for_a_fixed_input_size_are_left_alone() {
    let folder = deployment("original", true);
    let path = folder.path().join(GRAPH);
    let mut model = ModelProto::decode(&fs::read(&path).unwrap()[..]).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let input = graph.input.iter_mut().find(|input| input.name == "pixel_values");
    let tensor = input
        .unwrap()
        .r#type
        .as_mut()
        .unwrap()
        .tensor_type
        .as_mut()
        .unwrap();
    for axis in [2, 3] {
        tensor.shape.as_mut().unwrap().dim[axis].value = Some(DimensionValue::Size(64));
    }
    fs::write(&path, model.encode_to_vec()).unwrap();
    fs::remove_file(folder.path().join("preprocessor_config.json")).unwrap();
    let config = folder.path().join("processor_config.json");
    fs::remove_file(config).unwrap();
    let bundle = Bundle::open(BundleSource::Folder(folder.path().into())).unwrap();
    assert_eq!(bundle.needed_repair().unwrap(), None);
}

#[test]
fn computed_and_right_scales_are_left_alone() {
    let folder = deployment(SOUND, true);
    let model = load_folder(folder.path());
    assert!(model.repair().is_none());
    let worst = error(&model);
    assert!(worst < TOLERANCE, "{worst:e}");

    // At the size that it was traced at, a frozen scale is right.
    let folder = deployment("original", true);
    let config = folder.path().join("preprocessor_config.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["size"] = serde_json::json!({"height": 64, "width": 64});
    json["crop_size"] = json["size"].clone();
    fs::write(&config, json.to_string()).unwrap();
    assert!(load_folder(folder.path()).repair().is_none());

    let own = exported(CHECKPOINT, &MERGED);
    assert!(load_folder(own.path()).repair().is_none());
}

#[test]
fn a_repaired_copy_of_a_deployment_is_right_as_it_is() {
    for (form, is_inline) in [("original", true), ("sdpa", false)] {
        let folder = deployment(form, is_inline);
        let others = folder.path().join("onnx/vision_encoder_fp16.onnx");
        fs::write(&others, inline_graph(SOUND)).unwrap();
        let out = tempfile::tempdir().unwrap();
        let repaired = repair_deployment(folder.path(), out.path()).unwrap();
        let names: Vec<&str> = repaired.iter().map(|(file, _)| file.as_str()).collect();
        assert_eq!(names, [GRAPH]);

        let options = LoadOptions::default().with_repair(false);
        let model = Florence2::from_pretrained(out.path(), options).unwrap();
        let worst = error(&model);
        assert!(worst < TOLERANCE, "{form}: {worst:e}");

        let (before, after) = (files_in(folder.path()), files_in(out.path()));
        assert_eq!(before, after);
        for file in before.iter().filter(|file| *file != Path::new(GRAPH)) {
            let read = |folder: &TempDir| fs::read(folder.path().join(file)).unwrap();
            assert!(read(&folder) == read(&out), "{}", file.display());
        }
        assert_ne!(
            fs::read(folder.path().join(GRAPH)).unwrap(),
            fs::read(out.path().join(GRAPH)).unwrap()
        );
        for occupied in [out.path(), folder.path()] {
            let error = repair_deployment(folder.path(), occupied).unwrap_err();
            assert!(error.to_string().contains("not an empty folder"), "{error}");
        }
        let again = tempfile::tempdir().unwrap();
        assert!(repair_deployment(out.path(), again.path()).unwrap().is_empty());
        assert_eq!(files_in(again.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn weights_may_be_named_by_a_path_from_the_folder() {
    let folder = deployment("original", false);
    let path = folder.path().join(GRAPH);
    let mut model = ModelProto::decode(&graph("original")[..]).unwrap();
    let tensors = model.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    let entries = tensors.flat_map(|tensor| &mut tensor.external_data);
    let locations = entries.filter(|entry| entry.key == "location");
    locations.for_each(|entry| entry.value = "./data/weights.bin".into());
    fs::write(&path, model.encode_to_vec()).unwrap();
    let graphs = folder.path().join("onnx");
    fs::create_dir(graphs.join("data")).unwrap();
    fs::rename(graphs.join(WEIGHTS), graphs.join("data").join(WEIGHTS)).unwrap();
    check(&load_folder(folder.path()), "./data");

    let out = tempfile::tempdir().unwrap();
    repair_deployment(folder.path(), out.path()).unwrap();
    let options = LoadOptions::default().with_repair(false);
    let model = Florence2::from_pretrained(out.path(), options).unwrap();
    assert!(error(&model) < TOLERANCE);
}

/// ONNX Runtime rejects a location outside the graph's folder: a repair must not permit it.
#[test]
fn weights_outside_the_folder_are_not_reached_by_a_repair() {
    let folder = deployment("original", false);
    let mut model = ModelProto::decode(&graph("original")[..]).unwrap();
    let tensors = model.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    let entries = tensors.flat_map(|tensor| &mut tensor.external_data);
    entries
        .filter(|entry| entry.key == "location")
        .for_each(|entry| entry.value = "../weights.bin".into());
    fs::write(folder.path().join(GRAPH), model.encode_to_vec()).unwrap();
    fs::rename(
        folder.path().join("onnx/weights.bin"),
        folder.path().join(WEIGHTS),
    )
    .unwrap();
    runtime();
    let error = Florence2::from_pretrained(folder.path(), LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("not inside its folder"), "{error}");
}

/// Returns the files of a folder and of its `onnx`, sorted.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for inner in ["", "onnx"] {
        for entry in fs::read_dir(folder.join(inner)).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                files.push(Path::new(inner).join(entry.file_name()));
            }
        }
    }
    files.sort();
    files
}

/// Makes a deployment whose graph in this file is changed by `edit`.
fn edited(graphs: &[GraphFile], file: &str, edit: impl Fn(&mut GraphProto)) -> TempDir {
    let folder = exported(CHECKPOINT, graphs);
    let path = folder.path().join("onnx").join(file);
    let mut model = ModelProto::decode(&fs::read(&path).unwrap()[..]).unwrap();
    edit(model.graph.as_mut().unwrap());
    fs::write(&path, model.encode_to_vec()).unwrap();
    folder
}

/// Replaces the indices of lookups in tables, in branches too, by the value `frozen`.
fn freeze_lookups(nodes: &mut [NodeProto], tables: &[String], frozen: &mut usize) {
    for node in nodes {
        if node.input.first().is_some_and(|table| tables.contains(table)) {
            node.op_type = "Gather".into();
            node.attribute.clear();
            node.input.truncate(1);
            node.input.push("frozen".into());
            *frozen += 1;
        }
        let branches = node
            .attribute
            .iter_mut()
            .filter_map(|attribute| attribute.g.as_mut());
        branches.for_each(|branch| freeze_lookups(&mut branch.node, tables, frozen));
    }
}

/// Looks up the first row of the position table for every token.
fn freeze_positions(graph: &mut GraphProto) {
    let positions = 128 + 2;
    let tables = graph.initializer.iter();
    let tables = tables.filter(|tensor| tensor.dims.first() == Some(&positions));
    let tables: Vec<String> = tables.map(|tensor| tensor.name.clone()).collect();
    let mut frozen = 0;
    freeze_lookups(&mut graph.node, &tables, &mut frozen);
    assert!(frozen > 0, "no lookup in {tables:?}");
    graph.initializer.push(TensorProto {
        name: "frozen".into(),
        dims: vec![1],
        data_type: DataType::Int64 as i32,
        int64_data: vec![0],
        ..TensorProto::default()
    });
}

#[test]
fn frozen_positions_are_rejected() {
    runtime();
    for (graphs, file) in [
        (&SPLIT[..], "encoder_model.onnx"),
        (&SPLIT, "decoder_model.onnx"),
        (&SPLIT, "decoder_with_past_model.onnx"),
        (&MERGED, "decoder_model_merged.onnx"),
    ] {
        let folder = edited(graphs, file, freeze_positions);
        let error = Florence2::from_pretrained(folder.path(), LoadOptions::default()).unwrap_err();
        let (graph, message) = (file.trim_end_matches(".onnx"), error.to_string());
        assert!(
            message.contains(graph) && message.contains("positions"),
            "{message}"
        );
    }
}

/// Declares a batch size of 1, as exports for NPUs do.
fn fix_batch_size(graph: &mut GraphProto) {
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        let tensor = value.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
        tensor.shape.as_mut().unwrap().dim[0].value = Some(DimensionValue::Size(1));
    }
}

#[test]
fn graphs_of_one_row_answer_with_beams_and_in_batches() {
    let names = MERGED.map(|graph| graph.file_name(Dtype::Fp32));
    let [folder, static_folder] = [exported(CHECKPOINT, &MERGED), exported(CHECKPOINT, &MERGED)];
    for name in names.iter().filter(|name| !name.contains("vision")) {
        let path = static_folder.path().join("onnx").join(name);
        let mut model = ModelProto::decode(&fs::read(&path).unwrap()[..]).unwrap();
        fix_batch_size(model.graph.as_mut().unwrap());
        fs::write(&path, model.encode_to_vec()).unwrap();
    }
    let image = &Answers::read(CHECKPOINT).images[0];
    let answers = [&folder, &static_folder].map(|folder| {
        let model = load_folder(folder.path());
        let features = features(&model, image);
        let generation = GenerationOptions::default().with_max_new_tokens(12);
        let options = RunOptions::default().with_generation(generation);
        let tasks: Vec<Task> = image.prompts.iter().take(3).map(|prompt| prompt.task()).collect();
        let requests: Vec<_> = tasks.iter().map(|task| (&features, task)).collect();
        let mut outputs = model.run_batch(requests, &options).unwrap();
        // One request with its beams, by itself.
        outputs.push(model.run_with(&features, &tasks[0], &options).unwrap());
        let tokens = outputs.into_iter().map(|output| output.token_ids);
        tokens.collect::<Vec<_>>()
    });
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].len() == 4 && answers[0].iter().all(|tokens| tokens.len() > 2));

    runtime();
    let folder = edited(&MERGED, &names[2], |graph| {
        fix_batch_size(graph);
        for value in &mut graph.input {
            let tensor = value.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
            tensor.shape.as_mut().unwrap().dim[0].value = Some(DimensionValue::Size(4));
        }
    });
    let error = Florence2::from_pretrained(folder.path(), LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("batches of 4"), "{error}");
}
