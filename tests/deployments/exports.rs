//! Deployments as other exporters make them: integers of 32 bits, no attention masks, a batch size of 1, tensors and files of
//! other names, ONNX Runtime's own format, decoders without caches.

use std::fs;

use florence2::bundle::DeploymentNames;
use florence2::ort::environment::Environment;
use florence2::ort::session::Session;
use florence2::runtime::RuntimeOptions;
use florence2::{Error, Florence2, RunOptions, Task, ort};
use florence2_export::GraphFile;
use florence2_layout::onnx::{
    AttributeProto, AttributeType, DataType, DimensionValue, GraphProto, ModelProto, NodeProto, TensorProto,
};
use image::imageops::FilterType;
use prost::Message;

use super::common::own_process::{in_own_process, library};
use super::{Deployment, FP32, MERGED, SPLIT, answers, exported, options, path, scene};

/// Returns the deployment of `graphs`, each changed by `edit`.
fn edited(graphs: &[GraphFile], edit: impl Fn(GraphFile, &mut GraphProto)) -> Deployment {
    graphs
        .iter()
        .fold(Deployment::new(graphs, FP32), |deployment, &graph| {
            deployment.edited(&path(graph, FP32), |bytes| {
                let mut model = ModelProto::decode(bytes).unwrap();
                edit(graph, model.graph.as_mut().unwrap());
                model.encode_to_vec()
            })
        })
}

fn reference(graphs: &[GraphFile]) -> Vec<Vec<u32>> {
    answers(&Deployment::new(graphs, FP32).load())
}

fn node(operator: &str, input: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        name: format!("made/{output}"),
        input: input.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        i: Some(value),
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

/// Renames a value in a graph and its branches.
fn rename(graph: &mut GraphProto, from: &str, to: &str) {
    let swap = |name: &mut String| {
        if name == from {
            *name = to.into();
        }
    };
    graph.input.iter_mut().for_each(|value| swap(&mut value.name));
    graph.output.iter_mut().for_each(|value| swap(&mut value.name));
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(swap);
        let branches = node
            .attribute
            .iter_mut()
            .filter_map(|attribute| attribute.g.as_mut());
        branches.for_each(|branch| rename(branch, from, to));
    }
}

const MASKS: [&str; 2] = ["attention_mask", "encoder_attention_mask"];

/// Gives inputs of integers another type, with a conversion.
fn with_inputs_of(graph: &mut GraphProto, data_type: DataType) {
    for name in ["input_ids", MASKS[0], MASKS[1]] {
        if !graph.input.iter().any(|input| input.name == name) {
            continue;
        }
        let inner = format!("{name}_64");
        rename(graph, name, &inner);
        let input = graph.input.iter_mut().find(|input| input.name == inner).unwrap();
        input.name = name.into();
        let tensor = input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
        tensor.elem_type = data_type as i32;
        let cast = node(
            "Cast",
            &[name],
            &inner,
            vec![integer("to", DataType::Int64 as i64)],
        );
        graph.node.insert(0, cast);
    }
}

#[test]
fn integers_of_32_bits() {
    for graphs in [&MERGED[..], &SPLIT] {
        let deployment = edited(graphs, |_, graph| with_inputs_of(graph, DataType::Int32));
        assert_eq!(answers(&deployment.load()), reference(graphs));
    }
}

#[test]
fn boolean_masks() {
    let deployment = edited(&MERGED, |file, graph| {
        if file != GraphFile::EmbedTokens {
            with_inputs_of(graph, DataType::Bool);
        }
    });
    assert_eq!(answers(&deployment.load()), reference(&MERGED));
}

/// Replaces a mask by ones of the shape of the first axes of `like`.
fn without_mask(graph: &mut GraphProto, mask: &str, like: &str, axes: [i64; 2]) {
    graph.input.retain(|input| input.name != mask);
    let tensor = |name: &str, dims: Vec<i64>, int64_data: Vec<i64>| TensorProto {
        name: name.into(),
        dims,
        data_type: DataType::Int64 as i32,
        int64_data,
        ..TensorProto::default()
    };
    graph
        .initializer
        .push(tensor("made/axes", vec![2], axes.to_vec()));
    let one = AttributeProto {
        name: "value".into(),
        t: Some(tensor("", vec![1], vec![1])),
        r#type: AttributeType::Tensor as i32,
        ..AttributeProto::default()
    };
    let nodes = [
        node("Shape", &[like], "made/shape", vec![]),
        node("Gather", &["made/shape", "made/axes"], "made/rows", vec![]),
        node("ConstantOfShape", &["made/rows"], mask, vec![one]),
    ];
    graph.node.splice(0..0, nodes);
}

/// Without masks, prompts of different lengths are not padded to one batch.
#[test]
fn graphs_without_masks() {
    let deployment = edited(&SPLIT, |file, graph| match file {
        GraphFile::EncoderModel => without_mask(graph, "attention_mask", "inputs_embeds", [0, 1]),
        GraphFile::DecoderModel => {
            without_mask(graph, "encoder_attention_mask", "encoder_hidden_states", [0, 1]);
        }
        GraphFile::DecoderWithPastModel => {
            without_mask(
                graph,
                "encoder_attention_mask",
                "past_key_values.0.encoder.key",
                [0, 2],
            );
        }
        _ => {}
    });
    let answers = [&deployment, &Deployment::new(&SPLIT, FP32)].map(|deployment| {
        let model = deployment.load();
        let features = model.encode_image(&scene("ring.png")).unwrap();
        let tasks = [
            Task::Caption,
            Task::CaptionToPhraseGrounding("an orange ring beside a blue square".into()),
        ];
        let requests: Vec<_> = tasks.iter().map(|task| (&features, task)).collect();
        let batch = model.run_batch(requests, &RunOptions::default()).unwrap();
        let batch = batch.into_iter().map(|output| output.token_ids);
        batch.chain(super::answers(&model)).collect::<Vec<_>>()
    });
    assert_eq!(answers[0], answers[1]);
}

/// As exports for NPUs: a batch size of 1 in every graph.
#[test]
fn a_batch_size_of_one() {
    for graphs in [&MERGED[..], &SPLIT] {
        let deployment = edited(graphs, |_, graph| {
            for value in graph.input.iter_mut().chain(&mut graph.output) {
                let tensor = value.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
                tensor.shape.as_mut().unwrap().dim[0].value = Some(DimensionValue::Size(1));
            }
        });
        assert_eq!(answers(&deployment.load()), reference(graphs));
    }
}

/// The only input or output of a graph is taken, whatever its name.
#[test]
fn the_only_input_or_output_has_any_name() {
    let deployment = edited(&MERGED, |file, graph| match file {
        GraphFile::VisionEncoder => {
            rename(graph, "pixel_values", "input");
            rename(graph, "image_features", "output_0");
        }
        GraphFile::EmbedTokens => {
            rename(graph, "input_ids", "ids");
            rename(graph, "inputs_embeds", "embeddings");
        }
        GraphFile::EncoderModel => rename(graph, "last_hidden_state", "output"),
        _ => {}
    });
    let model = deployment.load();
    assert_eq!(answers(&model), reference(&MERGED));
}

/// Renames the decoder's tensors, with the caches of all layers.
fn rename_decoder(graph: &mut GraphProto) {
    for layer in 0..8 {
        for attention in ["decoder", "encoder"] {
            for kv in ["key", "value"] {
                let name = format!("{layer}.{attention}.{kv}");
                rename(
                    graph,
                    &format!("past_key_values.{name}"),
                    &format!("{attention}_{kv}_in_{layer}"),
                );
                rename(
                    graph,
                    &format!("present.{name}"),
                    &format!("{attention}_{kv}_out_{layer}"),
                );
            }
        }
    }
    rename(graph, "logits", "scores");
    rename(graph, "inputs_embeds", "hidden");
    rename(graph, "encoder_attention_mask", "mask");
}

const DECODER_NAMES: &str = r#"{
    "inputs": {
        "inputs_embeds": "hidden",
        "encoder_attention_mask": "mask",
        "past_key_values.{layer}.decoder.key": "decoder_key_in_{layer}",
        "past_key_values.{layer}.decoder.value": "decoder_value_in_{layer}",
        "past_key_values.{layer}.encoder.key": "encoder_key_in_{layer}",
        "past_key_values.{layer}.encoder.value": "encoder_value_in_{layer}"
    },
    "outputs": {
        "logits": "scores",
        "present.{layer}.decoder.key": "decoder_key_out_{layer}",
        "present.{layer}.decoder.value": "decoder_value_out_{layer}",
        "present.{layer}.encoder.key": "encoder_key_out_{layer}",
        "present.{layer}.encoder.value": "encoder_value_out_{layer}"
    }
}"#;

/// Names of tensors come from `florence2.json`, or from the application.
#[test]
fn a_table_names_tensors() {
    for graphs in [&MERGED[..], &SPLIT] {
        let mut deployment = edited(graphs, |file, graph| {
            if file.name().starts_with("decoder") {
                rename_decoder(graph);
            }
        });
        let error = deployment.error();
        assert!(
            matches!(&error, Error::InvalidGraph { reason, .. } if reason.contains("present.0.decoder.key")),
            "{error}"
        );
        let decoders = graphs.iter().filter(|graph| graph.name().starts_with("decoder"));
        let entries: Vec<String> = decoders
            .map(|graph| format!("\"{}\": {DECODER_NAMES}", graph.name()))
            .collect();
        let json = format!("{{{}}}", entries.join(","));
        let names: DeploymentNames = serde_json::from_str(&json).unwrap();
        let model = deployment.load_with(options().with_names(names)).unwrap();
        assert_eq!(answers(&model), reference(graphs));
        for device_caches in [false, true] {
            let mut options = options();
            options.session.device_caches = Some(device_caches);
            deployment
                .files
                .insert("florence2.json".into(), json.clone().into_bytes().into());
            assert_eq!(
                answers(&deployment.load_with(options).unwrap()),
                reference(graphs),
                "device caches {device_caches}"
            );
        }
    }
}

/// Moves the graphs to other files; `name` is the new path.
fn moved(graphs: &[GraphFile], name: impl Fn(GraphFile) -> String) -> Deployment {
    let mut deployment = Deployment::new(graphs, FP32);
    for &graph in graphs {
        let bytes = deployment.files.remove(&path(graph, FP32)).unwrap();
        deployment.files.insert(name(graph), bytes);
    }
    deployment
}

#[test]
fn names_of_optimum_and_usls() {
    let reference = reference(&SPLIT);
    let optimum = moved(&SPLIT, |graph| {
        let name = match graph {
            GraphFile::VisionEncoder => "vision_encoder_model",
            GraphFile::EmbedTokens => "embed_tokens_model",
            GraphFile::EncoderModel => "language_model_encoder",
            graph => graph.name(),
        };
        format!("onnx/{name}.onnx")
    });
    assert_eq!(answers(&optimum.load()), reference);
    let usls = moved(&SPLIT, |graph| {
        let name = match graph {
            GraphFile::EncoderModel => "encoder",
            GraphFile::DecoderModel => "decoder",
            GraphFile::DecoderWithPastModel => "decoder-with-past",
            graph => graph.name(),
        };
        format!("base-ft-{}-dyn.onnx", name.replace('_', "-"))
    });
    assert_eq!(answers(&usls.load()), reference);
}

/// Files that no table knows are listed, and a table names them.
#[test]
fn a_table_names_files() {
    let reference = reference(&SPLIT);
    for (name, names) in [
        (
            (|graph| format!("fp32/{}.onnx", graph.name())) as fn(GraphFile) -> String,
            "fp32/",
        ),
        (
            |graph| format!("onnx/{}.ONNX", graph.name().to_uppercase()),
            "onnx/",
        ),
    ] {
        let mut deployment = moved(&SPLIT, name);
        let error = deployment.error();
        let Error::IncompleteModel { missing, found, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((missing.len(), found.len()), (4, 5), "{error}");
        let message = error.to_string();
        assert!(
            message.contains(&name(GraphFile::EncoderModel)) && message.contains("florence2.json"),
            "{message}"
        );
        let entries = SPLIT.map(|graph| (graph.name(), serde_json::json!({ "files": [name(graph)] })));
        let json = serde_json::Value::Object(
            entries
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
        );
        deployment
            .files
            .insert("florence2.json".into(), json.to_string().into_bytes().into());
        let model = deployment.load();
        assert_eq!(answers(&model), reference, "{names}");
    }
}

#[test]
fn invalid_tables_are_named() {
    for (json, reason) in [
        ("{", "florence2.json"),
        (r#"{"vision": {}}"#, "florence2.json"),
        (
            r#"{"vision_encoder": {"files": ["../vision.onnx"]}}"#,
            "vision_encoder",
        ),
        (
            r#"{"vision_encoder": {"files": ["/tmp/vision.onnx"]}}"#,
            "vision_encoder",
        ),
        (
            r#"{"vision_encoder": {"files": ["absent.onnx"]}, "embed_tokens": {}}"#,
            "",
        ),
    ] {
        let mut deployment = Deployment::new(&MERGED, FP32);
        deployment
            .files
            .insert("florence2.json".into(), json.as_bytes().to_vec().into());
        if reason.is_empty() {
            deployment.load();
        } else {
            let error = deployment.error();
            assert!(error.to_string().contains(reason), "{json}: {error}");
        }
    }
}

/// Returns a graph in ONNX Runtime's own format.
fn in_ort_format(graph: GraphFile, environment: &Environment) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("graph.ort");
    let builder = Session::builder(environment).unwrap();
    let mut builder = builder
        .with_config_entry("session.save_model_format", "ORT")
        .unwrap()
        .with_optimized_model_path(&file)
        .unwrap();
    builder.commit_from_memory(&exported(graph, FP32)).unwrap();
    fs::read(&file).unwrap()
}

#[test]
fn graphs_in_the_format_of_onnx_runtime() {
    in_own_process(module_path!(), "graphs_in_ort_files", &[]);
}

/// An environment of its own saves the graphs.
#[test]
#[ignore = "run by graphs_in_the_format_of_onnx_runtime"]
fn graphs_in_ort_files() {
    ort::init_from(library()).unwrap();
    let environment = ort::init().build().unwrap();
    let options = options().with_runtime(RuntimeOptions::default().with_environment(environment.clone()));
    let load = |deployment: &Deployment| Florence2::load(deployment.source(), options.clone()).unwrap();
    let reference = answers(&load(&Deployment::new(&SPLIT, FP32)));
    let mut deployment = Deployment::new(&[], FP32);
    for graph in SPLIT {
        let bytes = in_ort_format(graph, &environment);
        deployment
            .files
            .insert(format!("onnx/{}.ort", graph.name()), bytes.into());
    }
    assert_eq!(answers(&load(&deployment)), reference, "in memory");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("onnx")).unwrap();
    for (file, bytes) in &deployment.files {
        fs::write(folder.path().join(file), bytes).unwrap();
    }
    for extension in ["ort", "onnx"] {
        for graph in SPLIT {
            let file = |extension: &str| folder.path().join(format!("onnx/{}.{extension}", graph.name()));
            fs::rename(file("ort"), file(extension)).unwrap();
        }
        let model = Florence2::from_pretrained(folder.path(), options.clone()).unwrap();
        assert_eq!(answers(&model), reference, "as .{extension} in a folder");
    }
}

/// Images keep their size if the model does not resize; its graph takes one size.
#[test]
fn images_that_are_not_resized_have_the_models_size() {
    let deployment = Deployment::new(&MERGED, FP32).edited_json("preprocessor_config.json", |config| {
        config["do_resize"] = false.into();
        config["do_center_crop"] = false.into();
    });
    let model = deployment.load();
    let error = model.run(
        &scene("ring.png").resize_exact(100, 80, FilterType::Nearest),
        &Task::Caption,
    );
    let error = error.unwrap_err();
    assert!(error.is_input(), "{error:?}");
    let message = error.to_string();
    for part in ["100x80", "192x192", "do_resize"] {
        assert!(message.contains(part), "{message}");
    }
    let image = scene("ring.png").resize_exact(192, 192, FilterType::Nearest);
    model.run(&image, &Task::Caption).unwrap();
}

#[test]
fn decoders_without_caches_are_named() {
    let logits_only = |graph: &mut GraphProto| graph.output.retain(|output| output.name == "logits");
    // Alone, as exports without caches are.
    let alone = edited(&SPLIT[..4], |file, graph| {
        if file == GraphFile::DecoderModel {
            logits_only(graph);
        }
    });
    let merged = edited(&MERGED, |file, graph| {
        if file == GraphFile::DecoderModelMerged {
            logits_only(graph);
        }
    });
    for deployment in [alone, merged] {
        let error = deployment.error();
        assert!(
            matches!(&error, Error::InvalidGraph { reason, .. } if reason.contains("use_cache=False")),
            "{error}"
        );
    }
}
