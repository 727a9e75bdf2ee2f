//! Weights that are not finite: the error names the first graph with such an output.

use std::path::Path;

use florence2::{Error, Florence2, Task};
use florence2_export::{Checkpoint, ExportOptions, GraphFile, Target, export_graph_bytes};
use safetensors::SafeTensors;

use super::{Deployment, FP32, MERGED, SPLIT, checkpoint, greedy, path, scene};

/// NaN in 16 bits.
const NAN: [u8; 2] = 0x7e00_u16.to_le_bytes();

/// Returns the demo checkpoint with NaN in a value of a tensor.
fn damaged(tensor: &str, index: usize) -> Checkpoint {
    let folder = checkpoint("demo");
    let read = |name: &str| std::fs::read(Path::new(&folder).join(name)).unwrap();
    let mut weights = read("model.safetensors");
    let place = {
        let tensors = SafeTensors::deserialize(&weights).unwrap();
        let data = tensors.tensor(tensor).unwrap().data();
        data.as_ptr() as usize - weights.as_ptr() as usize + NAN.len() * index
    };
    weights[place..][..NAN.len()].copy_from_slice(&NAN);
    Checkpoint::from_bytes(read("config.json"), weights)
        .unwrap()
        .with_file("preprocessor_config.json", read("preprocessor_config.json"))
}

fn model(checkpoint: &Checkpoint, graphs: &[GraphFile], options: &ExportOptions) -> Florence2 {
    let mut deployment = Deployment::new(&[], FP32);
    for &graph in graphs {
        let bytes = export_graph_bytes(checkpoint, graph, options).unwrap();
        deployment.files.insert(path(graph, FP32), bytes.into());
    }
    deployment.load()
}

fn plain() -> ExportOptions {
    ExportOptions::default()
}

fn step() -> ExportOptions {
    ExportOptions::default().with_target(Target::Cpu)
}

/// Returns the graph that the error names.
fn cause(model: &Florence2) -> Option<String> {
    match model.run_with(&scene("ring.png"), &Task::Caption, &greedy()) {
        Ok(_) => None,
        Err(Error::NotFinite { graph, .. }) => Some(graph),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn nan_names_the_graph_that_made_it() {
    // The tokenizer's `</s>`, with which prompts end and the decoder starts.
    const END: usize = 2;
    const D_MODEL: usize = 128;
    for (tensor, index, graphs) in [
        (
            "model.multi_modal_projector.image_proj_norm.bias",
            5,
            ["vision_encoder"; 3],
        ),
        (
            "model.language_model.shared.weight",
            END * D_MODEL,
            ["embed_tokens", "embed_tokens", "text_encoder"],
        ),
        (
            "model.language_model.encoder.layernorm_embedding.bias",
            5,
            ["encoder_model", "encoder_model", "text_encoder"],
        ),
        (
            // The text encoder of the fused layout projects what the decoder attends to.
            "model.language_model.decoder.layers.1.encoder_attn.v_proj.weight",
            5,
            ["decoder_model_merged", "decoder_model", "text_encoder"],
        ),
        (
            "model.language_model.decoder.layers.1.fc1.bias",
            5,
            ["decoder_model_merged", "decoder_model", "decoder_step"],
        ),
    ] {
        let checkpoint = damaged(tensor, index);
        let models = [
            model(&checkpoint, &MERGED, &plain()),
            model(&checkpoint, &SPLIT, &plain()),
            model(&checkpoint, &GraphFile::FUSED, &step()),
        ];
        for (model, graph) in models.iter().zip(graphs) {
            assert_eq!(cause(model).as_deref(), Some(graph), "{tensor}");
        }
    }
}

/// Operators of our own propagate NaN, as ONNX Runtime's do.
#[test]
fn nan_in_any_attention_is_an_error() {
    let folder = checkpoint("demo");
    let weights = std::fs::read(Path::new(&folder).join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&weights).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    names.retain(|name| name.contains("attn.") && name.ends_with("weight"));
    assert!(names.len() > 40, "{names:?}");
    for name in names.iter().step_by(4) {
        let model = model(&damaged(name, 7), &GraphFile::FUSED, &step());
        assert!(cause(&model).is_some(), "{name}");
    }
}
