//! Graphs of several forms in one deployment.

use florence2::{Bundle, PerPart};
use florence2_export::{Dtype, GraphFile};

use super::{Deployment, FP16_IO, FP32, Form, MERGED, SPLIT, answers, assert_alike, form, options};

fn reference() -> Vec<Vec<u32>> {
    answers(&Deployment::new(&MERGED, FP32).load())
}

/// Mixes that transformers.js users choose. 16-bit floats change nothing here; 4 bits change tokens, but the boxes stay.
#[test]
fn each_part_in_the_dtype_asked_for() {
    let forms = [FP32, form(Dtype::Fp16), form(Dtype::Q4), form(Dtype::Int8)];
    let deployment = forms
        .into_iter()
        .fold(Deployment::new(&[], FP32), |deployment, form| {
            MERGED
                .iter()
                .fold(deployment, |deployment, &graph| deployment.with(graph, form))
        });
    let taken = |dtypes: &str| {
        let bundle = Bundle::open_with(
            deployment.source(),
            dtypes.parse::<PerPart<Dtype>>().unwrap(),
            None,
        )
        .unwrap();
        MERGED.map(|graph| bundle.layout.files[&graph].clone())
    };
    assert_eq!(
        taken("vision=fp16,decoder=q4"),
        [
            "onnx/vision_encoder_fp16.onnx",
            "onnx/embed_tokens.onnx",
            "onnx/encoder_model.onnx",
            "onnx/decoder_model_merged_q4.onnx"
        ]
    );
    let reference = reference();
    let load = |dtypes: &str| {
        let options = options().with_dtype(dtypes.parse().unwrap());
        deployment.load_with(options).unwrap()
    };
    for (dtypes, bins) in [
        ("vision=fp16", 10),
        ("fp16,decoder=fp32", 10),
        ("vision=int8,text=fp16", 25),
    ] {
        assert_alike(&load(dtypes), &reference, bins, dtypes);
    }
    let with_4_bits = answers(&load("vision=fp16,decoder=q4"));
    assert!(
        with_4_bits.iter().all(|answer| answer.len() > 8),
        "{with_4_bits:?}"
    );
}

/// Each graph in turn has 16-bit float inputs and outputs, the others 32-bit ones.
#[test]
fn graphs_of_either_float_type_work_with_each_other() {
    let reference = reference();
    for graph in MERGED {
        let mixed = Deployment::new(&MERGED, FP32).with_as(graph, FP16_IO, FP32);
        assert_alike(
            &mixed.load(),
            &reference,
            10,
            &format!("{} in 16-bit floats", graph.name()),
        );
        let mixed = Deployment::new(&MERGED, FP16_IO).with_as(graph, FP32, FP16_IO);
        assert_alike(
            &mixed.load(),
            &reference,
            10,
            &format!("{} in 32-bit floats", graph.name()),
        );
    }
}

/// The first decoder's caches are the second's inputs, whatever their types.
#[test]
fn split_decoders_of_different_caches() {
    let reference = reference();
    let split = |first: Form, next: Form| {
        Deployment::new(&SPLIT[..3], FP32)
            .with_as(GraphFile::DecoderModel, first, FP32)
            .with_as(GraphFile::DecoderWithPastModel, next, FP32)
    };
    for (first, next) in [(FP16_IO, FP32), (FP32, FP16_IO), (FP16_IO, form(Dtype::Fp16))] {
        assert_alike(&split(first, next).load(), &reference, 10, "split decoders");
    }
}
