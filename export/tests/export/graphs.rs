//! The same weights give the same graphs, whatever their names, types and shards.

use florence2_export::{Checkpoint, ExportOptions, GraphFile, export, export_graph_bytes};
use safetensors::Dtype;

use crate::common::{IMAGE_SIZE, TinyModel, microsoft, native};

fn options() -> ExportOptions {
    ExportOptions::default().with_image_size(IMAGE_SIZE)
}

fn graphs(checkpoint: &Checkpoint) -> Vec<Vec<u8>> {
    let graph = |&file: &GraphFile| export_graph_bytes(checkpoint, file, &options()).unwrap();
    GraphFile::PLAIN.iter().map(graph).collect()
}

fn in_memory(model: &TinyModel, dtype: Dtype) -> Checkpoint {
    Checkpoint::from_bytes(model.config_bytes(), model.safetensors(dtype)).unwrap()
}

#[test]
fn microsoft_naming_gives_the_same_bytes() {
    let (theirs, ours) = (microsoft(), native());
    assert!(
        theirs
            .tensors
            .contains_key("vision_tower.blocks.1.1.channel_block.channel_attn.fn.qkv.weight")
    );
    assert!(theirs.tensors.keys().all(|name| !ours.tensors.contains_key(name)));
    assert_eq!(
        graphs(&in_memory(&theirs, Dtype::F32)),
        graphs(&in_memory(&ours, Dtype::F32))
    );
}

#[test]
fn half_precision_and_shards_give_the_same_bytes() {
    let model = native();
    let expected = graphs(&in_memory(&model, Dtype::F32));
    assert_eq!(graphs(&in_memory(&model, Dtype::F16)), expected, "f16");
    assert_eq!(graphs(&in_memory(&model, Dtype::BF16)), expected, "bf16");
    let folder = tempfile::tempdir().unwrap();
    model.write_sharded(folder.path());
    assert_eq!(
        graphs(&Checkpoint::open(folder.path()).unwrap()),
        expected,
        "shards"
    );
}

#[test]
fn every_weight_matters() {
    let model = native();
    let expected = graphs(&in_memory(&model, Dtype::F32));
    for name in model.tensors.keys() {
        let mut changed = model.clone();
        changed.tensors.get_mut(name).unwrap().values[0] += 0.5;
        assert_ne!(graphs(&in_memory(&changed, Dtype::F32)), expected, "{name}");
    }
}

#[test]
fn the_embedding_may_go_by_any_of_its_names() {
    let model = native();
    let expected = graphs(&in_memory(&model, Dtype::F32));
    let tables = [
        "lm_head",
        "model.language_model.encoder.embed_tokens",
        "model.language_model.decoder.embed_tokens",
    ];
    for name in tables.map(|name| format!("{name}.weight")) {
        let mut renamed = model.clone();
        let table = renamed
            .tensors
            .remove("model.language_model.shared.weight")
            .unwrap();
        renamed.tensors.insert(name.clone(), table);
        assert_eq!(graphs(&in_memory(&renamed, Dtype::F32)), expected, "{name}");
        // `state_dict()` lists a tied model's matrix under all names.
        let table = model.tensors["model.language_model.shared.weight"].clone();
        renamed
            .tensors
            .insert("model.language_model.shared.weight".into(), table);
        assert_eq!(
            graphs(&in_memory(&renamed, Dtype::F32)),
            expected,
            "shared and {name}"
        );
    }
}

fn occurrences(bytes: &[u8], text: &str) -> usize {
    bytes
        .windows(text.len())
        .filter(|window| *window == text.as_bytes())
        .count()
}

#[test]
fn an_output_projection_of_its_own_is_used() {
    let mut model = native();
    let tied = graphs(&in_memory(&model, Dtype::F32));
    model.add("lm_head.weight", &[30, 12]);
    let untied = graphs(&in_memory(&model, Dtype::F32));
    assert_eq!(tied[1], untied[1], "embed_tokens");
    assert_ne!(tied[3], untied[3], "decoder_model");
}

#[test]
fn a_bias_of_the_logits_is_added_unless_it_is_zero() {
    let mut model = native();
    let without = graphs(&in_memory(&model, Dtype::F32));
    model.add("final_logits_bias", &[1, 30]);
    let with = graphs(&in_memory(&model, Dtype::F32));
    assert_eq!(occurrences(&without[3], "final_logits_bias"), 0);
    assert!(occurrences(&with[3], "final_logits_bias") > 0);
    model
        .tensors
        .get_mut("final_logits_bias")
        .unwrap()
        .values
        .fill(0.0);
    assert_eq!(graphs(&in_memory(&model, Dtype::F32)), without);
}

#[test]
fn big_weights_go_to_a_file_of_their_own_and_files_repeat_exactly() {
    let model = native();
    let checkpoint = in_memory(&model, Dtype::F32);
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let options = options().with_external_data_threshold(10_000);
    let report = export(&checkpoint, &first, &options).unwrap();
    assert_eq!(report, export(&checkpoint, &second, &options).unwrap());
    assert!(report.unused_tensors.is_empty());
    for (file, bytes) in &report.files {
        let written = std::fs::read(first.join(file)).unwrap();
        assert_eq!(written.len() as u64, *bytes, "{file:?}");
        assert_eq!(written, std::fs::read(second.join(file)).unwrap(), "{file:?}");
    }
    let names: Vec<String> = report
        .files
        .iter()
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(names.contains(&"onnx/vision_encoder.onnx_data".to_owned()));
    assert!(!names.contains(&"onnx/embed_tokens.onnx_data".to_owned()));
    // transformers.js looks for such a file only where the configuration names it.
    let config = || -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(first.join("config.json")).unwrap()).unwrap()
    };
    let named = &config()["transformers.js_config"]["use_external_data_format"];
    assert_eq!(named["vision_encoder.onnx"], true);
    assert!(named.get("embed_tokens.onnx").is_none());
    // No temporary files are left.
    let written = std::fs::read_dir(first.join("onnx")).unwrap().count();
    assert_eq!(
        written,
        names.iter().filter(|name| name.starts_with("onnx/")).count()
    );
    // An export without external weights deletes the old file of weights.
    export(
        &checkpoint,
        &first,
        &options.with_external_data_threshold(1 << 30),
    )
    .unwrap();
    assert_eq!(std::fs::read_dir(first.join("onnx")).unwrap().count(), 6);
    assert!(config().get("transformers.js_config").is_none());
    let vision = std::fs::read(first.join("onnx/vision_encoder.onnx")).unwrap();
    assert_eq!(vision, graphs(&checkpoint)[0]);
}

#[test]
fn only_the_chosen_graphs_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let options = options().with_graphs([GraphFile::EmbedTokens]);
    export(&in_memory(&native(), Dtype::F32), folder.path(), &options).unwrap();
    let names: Vec<_> = std::fs::read_dir(folder.path().join("onnx")).unwrap().collect();
    assert_eq!(names.len(), 1);
    assert!(folder.path().join("onnx/embed_tokens.onnx").is_file());
}
