//! Errors of a checkpoint name the tensor, setting or file, and precede any output.

use florence2_export::{Checkpoint, Error, ExportOptions, GraphFile, Report, export, export_graph_bytes};
use safetensors::Dtype;
use serde_json::json;

use crate::common::{IMAGE_SIZE, TinyModel, microsoft, native};

fn export_tiny(model: &TinyModel) -> Result<Report, Error> {
    let checkpoint = Checkpoint::from_bytes(model.config_bytes(), model.safetensors(Dtype::F32))?;
    export_at(&checkpoint, IMAGE_SIZE)
}

fn export_at(checkpoint: &Checkpoint, image_size: u32) -> Result<Report, Error> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let result = export(
        checkpoint,
        &out,
        &ExportOptions::default().with_image_size(image_size),
    );
    assert_eq!(
        out.exists(),
        result.is_ok(),
        "an export that fails its checks writes nothing"
    );
    result
}

#[test]
fn every_missing_tensor_is_named() {
    let model = native();
    for name in model.tensors.keys() {
        if name.ends_with("pos_idx_to_embed") {
            continue; // a constant that can be computed
        }
        let mut broken = model.clone();
        broken.tensors.remove(name);
        match export_tiny(&broken) {
            Err(Error::MissingTensor { name: named, shape }) => {
                assert_eq!(&named, name);
                assert_eq!(shape, model.tensors[name].shape);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn names_in_errors_are_those_of_the_checkpoint() {
    let mut model = microsoft();
    let name = "vision_tower.blocks.0.0.spatial_block.window_attn.fn.qkv.weight";
    model.tensors.remove(name).unwrap();
    match export_tiny(&model) {
        Err(Error::MissingTensor { name: named, .. }) => assert_eq!(named, name),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tensor_of_wrong_shape_is_named_with_both_shapes() {
    let mut model = native();
    let name = "model.language_model.decoder.layers.1.fc1.weight";
    model.add(name, &[14, 13]);
    match export_tiny(&model) {
        Err(Error::TensorShape {
            name: named,
            expected,
            found,
        }) => {
            assert_eq!(
                (named.as_str(), expected, found),
                (name, vec![14, 12], vec![14, 13])
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unused_tensor_is_reported_without_an_error() {
    let mut model = native();
    model.add("vision_tower_of_someone_else.weight", &[2]);
    let shared = model.tensors["model.language_model.shared.weight"].clone();
    for side in ["encoder", "decoder"] {
        model.tensors.insert(
            format!("model.language_model.{side}.embed_tokens.weight"),
            shared.clone(),
        );
    }
    let report = export_tiny(&model).unwrap();
    assert_eq!(report.unused_tensors, ["vision_tower_of_someone_else.weight"]);
}

#[test]
fn a_weight_under_two_names_is_an_error() {
    let mut model = native();
    model.add("vision_tower.convs.0.proj.bias", &[8]);
    assert!(matches!(export_tiny(&model), Err(Error::AmbiguousTensor { .. })));
}

#[test]
fn integer_weights_are_an_error() {
    let model = native();
    let checkpoint = Checkpoint::from_bytes(model.config_bytes(), model.safetensors(Dtype::I32)).unwrap();
    assert!(matches!(
        export_at(&checkpoint, IMAGE_SIZE),
        Err(Error::TensorType { .. })
    ));
}

#[test]
fn a_truncated_file_is_an_error_at_every_length() {
    let model = native();
    let bytes = model.safetensors(Dtype::F32);
    for length in (0..bytes.len()).step_by(997).chain([1, 7, 8, 9, bytes.len() - 1]) {
        let result = Checkpoint::from_bytes(model.config_bytes(), bytes[..length].to_vec());
        assert!(matches!(result, Err(Error::Safetensors { .. })), "{length} bytes");
    }
}

#[test]
fn errors_name_the_missing_file_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let lacks = |expected: &str| match Checkpoint::open(folder.path()).err() {
        Some(Error::NotACheckpoint { file, .. }) => assert_eq!(file, expected),
        other => panic!("{other:?}"),
    };
    lacks("config.json");
    let model = native();
    std::fs::write(folder.path().join("config.json"), model.config_bytes()).unwrap();
    lacks("model.safetensors");
    std::fs::write(folder.path().join("model.safetensors"), []).unwrap();
    assert!(matches!(
        Checkpoint::open(folder.path()),
        Err(Error::Safetensors { .. })
    ));
    std::fs::write(
        folder.path().join("model.safetensors"),
        model.safetensors(Dtype::F32),
    )
    .unwrap();
    Checkpoint::open(folder.path()).unwrap();
    std::fs::write(folder.path().join("config.json"), "{\"text_config\": 3").unwrap();
    assert!(matches!(Checkpoint::open(folder.path()), Err(Error::Json { .. })));
}

#[test]
fn shards_that_contradict_their_index_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let model = native();
    model.write_sharded(folder.path());
    let index = folder.path().join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    let moved = text.replace(
        "\"model.language_model.shared.weight\"",
        "\"model.language_model.shared.bias\"",
    );
    std::fs::write(&index, moved).unwrap();
    match Checkpoint::open(folder.path()).err() {
        Some(Error::ShardIndex { tensor, .. }) => assert_eq!(tensor, "model.language_model.shared.bias"),
        other => panic!("{other:?}"),
    }
    std::fs::write(&index, text).unwrap();
    std::fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).unwrap();
    assert!(matches!(Checkpoint::open(folder.path()), Err(Error::Read { .. })));
}

#[test]
fn image_sizes_must_fit_strides_and_positions() {
    let model = native();
    let checkpoint = Checkpoint::from_bytes(model.config_bytes(), model.safetensors(Dtype::F32)).unwrap();
    for size in [8, 16, 56] {
        assert_eq!(export_at(&checkpoint, size).unwrap().image_size.height, size);
    }
    // The model has a stride of 8 and 7 positions.
    for size in [0, 44, 64, u32::MAX] {
        assert!(
            matches!(export_at(&checkpoint, size), Err(Error::ImageSize { .. })),
            "{size}"
        );
    }
}

#[test]
fn image_tokens_must_leave_capacity_for_a_prompt() {
    let mut model = native();
    let positions = 52;
    model.config["text_config"]["max_position_embeddings"] = json!(positions);
    for (_, tensor) in model
        .tensors
        .iter_mut()
        .filter(|(name, _)| name.contains("embed_positions"))
    {
        let row = tensor.values.len() / tensor.shape[0];
        tensor.shape[0] = positions + 2;
        tensor.values.truncate(tensor.shape[0] * row);
    }
    let checkpoint = Checkpoint::from_bytes(model.config_bytes(), model.safetensors(Dtype::F32)).unwrap();
    export_at(&checkpoint, 48).unwrap();
    // 7 × 7 image features and their mean, `<s>` and `</s>`.
    let error = export_at(&checkpoint, 56).unwrap_err();
    assert!(error.to_string().contains("positions for a prompt"), "{error}");
}

#[test]
fn exporting_into_the_checkpoints_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    native().write(folder.path(), Dtype::F32);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let config = std::fs::read(folder.path().join("config.json")).unwrap();
    let same = folder.path().join(".");
    let error = export(&checkpoint, &same, &ExportOptions::default().with_image_size(16)).unwrap_err();
    assert!(matches!(error, Error::IntoCheckpoint { .. }), "{error}");
    assert!(!folder.path().join("onnx").exists());
    assert_eq!(std::fs::read(folder.path().join("config.json")).unwrap(), config);
}

#[test]
fn inconsistent_configurations_are_errors() {
    let cases = [
        ("text_config", "activation_function", json!("tanhshrink")),
        ("text_config", "decoder_attention_heads", json!(5)),
        ("text_config", "d_model", json!(0)),
        ("text_config", "vocab_size", json!(u32::MAX)),
        ("vision_config", "depths", json!([1])),
        ("vision_config", "embed_dim", json!([8, 1])),
        ("vision_config", "num_heads", json!([3, 3])),
        ("vision_config", "patch_stride", json!([4, 0])),
        ("vision_config", "patch_padding", json!([7, 1])),
        ("vision_config", "projection_dim", json!(16)),
        ("vision_config", "window_size", json!(0)),
        ("vision_config", "mlp_ratio", json!(-1.0)),
        ("vision_config", "image_feature_source", json!([])),
    ];
    for (section, key, value) in cases {
        let mut model = native();
        model.config[section][key] = value;
        assert!(matches!(export_tiny(&model), Err(Error::Config { .. })), "{key}");
    }
    let mut model = native();
    model.config["text_config"]
        .as_object_mut()
        .unwrap()
        .remove("encoder_layers");
    match export_tiny(&model) {
        Err(Error::Json { source, .. }) => assert!(source.to_string().contains("encoder_layers"), "{source}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_decoder_with_separate_embeddings_is_an_error() {
    let mut model = native();
    model.add("model.language_model.decoder.embed_tokens.weight", &[30, 12]);
    assert!(matches!(
        export_tiny(&model),
        Err(Error::SeparateEmbeddings { .. })
    ));
}

/// Returns the error for a folder with these files.
fn error_of(files: &[(&str, &[u8])]) -> Error {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    Checkpoint::open(folder.path()).err().unwrap()
}

#[test]
fn folders_that_are_no_checkpoint_are_named_for_what_they_are() {
    let config = native().config_bytes();
    let adapter = br#"{"base_model_name_or_path": "org/base", "peft_type": "LORA", "r": 8}"#;
    for files in [
        &[("adapter_config.json", &adapter[..])][..],
        &[("adapter_config.json", adapter), ("config.json", &config)],
    ] {
        match error_of(files) {
            Error::IsAdapter { method, base, .. } => assert_eq!((&*method, &*base), ("LORA", "org/base")),
            other => panic!("{other:?}"),
        }
    }
    for (name, format) in [
        ("tf_model.h5", "TensorFlow"),
        ("flax_model.msgpack", "Flax"),
        ("Florence-2-q8.gguf", "llama.cpp"),
    ] {
        let error = error_of(&[("config.json", &config), (name, b"")]).to_string();
        assert!(error.contains(name) && error.contains(format), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert!(matches!(Checkpoint::open(missing), Err(Error::NoFolder { .. })));
    let file = folder.path().join("model.safetensors");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Checkpoint::open(file), Err(Error::NotAFolder { .. })));
}

#[test]
fn a_git_lfs_pointer_is_named() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let config = native().config_bytes();
    for name in ["model.safetensors", "pytorch_model.bin", "tokenizer.json"] {
        match error_of(&[("config.json", &config), (name, pointer)]) {
            Error::LfsPointer { file } => assert_eq!(file, name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn another_architecture_is_named() {
    let files: [(&str, &[u8]); 2] = [
        ("config.json", br#"{"model_type": "blip-2", "text_config": {}}"#),
        ("model.safetensors", &native().safetensors(Dtype::F32)),
    ];
    match error_of(&files) {
        Error::Architecture { model_type } => assert_eq!(model_type, "blip-2"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn quantized_weights_are_named_with_their_method() {
    let mut model = native();
    model.add("model.language_model.encoder.layers.0.fc1.weight.absmax", &[4]);
    let open =
        |model: &TinyModel| Checkpoint::from_bytes(model.config_bytes(), model.safetensors(Dtype::I32));
    let method = |model: &TinyModel| match open(model).err() {
        Some(Error::Quantized { method }) => method,
        other => panic!("{other:?}"),
    };
    assert_eq!(method(&model), "bitsandbytes");
    model.config["quantization_config"] = json!({ "quant_method": "gptq", "bits": 4 });
    assert_eq!(method(&model), "gptq");
}

#[test]
fn an_adapter_within_the_weights_is_named() {
    let mut model = native();
    let name = "base_model.model.lm_head.lora_A.default.weight";
    model.add(name, &[2, 12]);
    match export_tiny(&model) {
        Err(Error::UnmergedAdapter { name: named }) => assert_eq!(named, name),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_of_wrappers_are_removed() {
    for model in [native(), microsoft()] {
        for wrapper in ["module.", "_orig_mod.", "base_model.model.", "module._orig_mod."] {
            let mut wrapped = model.clone();
            let tensors = std::mem::take(&mut wrapped.tensors).into_iter();
            wrapped.tensors = tensors
                .map(|(name, tensor)| (format!("{wrapper}{name}"), tensor))
                .collect();
            let graph = |model: &TinyModel| {
                let weights = model.safetensors(Dtype::F32);
                let checkpoint = Checkpoint::from_bytes(model.config_bytes(), weights).unwrap();
                let options = ExportOptions::default().with_image_size(IMAGE_SIZE);
                export_graph_bytes(&checkpoint, GraphFile::VisionEncoder, &options).unwrap()
            };
            assert!(graph(&wrapped) == graph(&model), "{wrapper}");
        }
    }
}
