//! The `cpu` target's text side: the size of the embedding matrix, and models that are refused. The graphs' results are
//! checked by `tests/reference/check_export.py`.

use florence2_export::{Checkpoint, Dtype, Error, ExportOptions, GraphFile, Target, export_graph_bytes};
use half::f16;
use safetensors::tensor::{Dtype as StoredDtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::Value;

const VOCABULARY: usize = 1626;
const WIDTH: usize = 32;

/// A fixture with the first `vocabulary` tokens only, its weights stored as `dtype`.
fn checkpoint(vocabulary: usize, dtype: StoredDtype) -> Checkpoint {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/checkpoints/base-like"
    );
    let read = |name: &str| std::fs::read(format!("{folder}/{name}")).unwrap();
    let mut config: Value = serde_json::from_slice(&read("config.json")).unwrap();
    assert_eq!(config["text_config"]["vocab_size"], VOCABULARY);
    assert_eq!(config["text_config"]["d_model"], WIDTH);
    config["text_config"]["vocab_size"] = vocabulary.into();
    let stored = read("model.safetensors");
    let stored = SafeTensors::deserialize(&stored).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = stored
        .iter()
        .map(|(name, tensor)| {
            let mut shape = tensor.shape().to_vec();
            let tokens = shape.iter_mut().find(|size| **size == VOCABULARY);
            tokens.into_iter().for_each(|size| *size = vocabulary);
            let values = tensor.data().chunks_exact(4).take(shape.iter().product());
            let values = values.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
            let bytes = values.flat_map(|value| match dtype {
                StoredDtype::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
                _ => value.to_le_bytes().to_vec(),
            });
            (name.to_owned(), shape, bytes.collect())
        })
        .collect();
    let view = |(name, shape, bytes)| (name, TensorView::new(dtype, shape, bytes).unwrap());
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| view((name, shape.clone(), bytes.as_slice())));
    Checkpoint::from_bytes(config.to_string(), serialize(views, None).unwrap()).unwrap()
}

/// The number of bytes that each token of the vocabulary adds to a graph's file.
fn bytes_of_a_token(file: GraphFile, dtype: Dtype, stored: StoredDtype) -> usize {
    let options = ExportOptions::default()
        .with_target(Target::Cpu)
        .with_dtype(dtype)
        .with_image_size(192);
    let bytes = |vocabulary| {
        export_graph_bytes(&checkpoint(vocabulary, stored), file, &options)
            .unwrap()
            .len()
    };
    let (fewer, tokens) = (VOCABULARY - 500, 500);
    let more = bytes(VOCABULARY) - bytes(fewer);
    // Sizes have the same number of digits either way.
    assert!(more.abs_diff(more / tokens * tokens) < 16, "{more}");
    more / tokens
}

#[test]
fn the_embedding_matrix_is_in_each_graph_once() {
    use GraphFile::{DecoderStep, TextEncoder};
    // A block of 128 bytes, of which the fixture's width fills a quarter, and its scale.
    let block = 128 + 4;
    for (file, dtype, stored, expected) in [
        (TextEncoder, Dtype::Fp32, StoredDtype::F32, 4 * WIDTH),
        (TextEncoder, Dtype::Fp32, StoredDtype::F16, 2 * WIDTH),
        (TextEncoder, Dtype::Int8, StoredDtype::F32, block),
        (TextEncoder, Dtype::Q4, StoredDtype::F16, block),
        (DecoderStep, Dtype::Fp32, StoredDtype::F32, 4 * WIDTH),
        (DecoderStep, Dtype::Fp32, StoredDtype::F16, 4 * WIDTH),
        (DecoderStep, Dtype::Int8, StoredDtype::F32, block),
        (DecoderStep, Dtype::Q4, StoredDtype::F16, block),
    ] {
        assert_eq!(
            bytes_of_a_token(file, dtype, stored),
            expected,
            "{file:?} {dtype:?} {stored:?}"
        );
    }
}

#[test]
fn unsupported_head_sizes_are_an_error_with_a_remedy() {
    let model = crate::common::native();
    let checkpoint =
        Checkpoint::from_bytes(model.config_bytes(), model.safetensors(StoredDtype::F32)).unwrap();
    let options = ExportOptions::default()
        .with_target(Target::Cpu)
        .with_image_size(crate::common::IMAGE_SIZE);
    let error = export_graph_bytes(&checkpoint, GraphFile::DecoderStep, &options).unwrap_err();
    assert!(error.to_string().contains("target plain"), "{error}");
    assert!(matches!(
        error,
        Error::Config {
            key: "text_config.decoder_attention_heads",
            ..
        }
    ));
}
