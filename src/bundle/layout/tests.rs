use super::*;
use crate::per_part::PerPart;

fn found(files: &[String], dtypes: &str) -> GraphLayout {
    let files = files
        .iter()
        .map(|file| (format!("onnx/{file}"), vec![].into()))
        .collect();
    let source = BundleSource::Memory {
        name: "test".into(),
        files,
    };
    match dtypes {
        "" => GraphLayout::find(&source),
        dtypes => GraphLayout::find_with(
            &source,
            dtypes.parse::<PerPart<Dtype>>().unwrap().into(),
            DeploymentNames::default(),
        ),
    }
}

fn layout(graphs: &[GraphFile]) -> GraphLayout {
    let files: Vec<String> = graphs.iter().map(|graph| graph.file_name(Dtype::Fp32)).collect();
    found(&files, "")
}

#[test]
fn layouts_are_recognised() {
    assert_eq!(layout(&GraphFile::PLAIN).kind(), Some(LayoutKind::Plain));
    assert_eq!(layout(&GraphFile::FUSED).kind(), Some(LayoutKind::Fused));
    assert_eq!(layout(&GraphFile::ALL).kind(), Some(LayoutKind::Fused));
    assert_eq!(layout(&[]).kind(), None);
    let half = layout(&[GraphFile::VisionEncoder, GraphFile::DecoderStep]);
    assert_eq!(half.kind(), None);
    assert_eq!(half.missing(), ["text_encoder.onnx"]);
}

#[test]
fn types_are_taken_by_preference_or_as_wanted() {
    let mut files = Vec::new();
    for graph in GraphFile::FUSED {
        files.extend([Dtype::Q4F16, Dtype::Q4, Dtype::Int8].map(|dtype| graph.file_name(dtype)));
    }
    files.push(GraphFile::VisionEncoder.file_name(Dtype::Fp32));
    let by_preference = found(&files, "");
    assert_eq!(
        by_preference.files[&GraphFile::VisionEncoder],
        "onnx/vision_encoder.onnx"
    );
    assert_eq!(
        by_preference.files[&GraphFile::DecoderStep],
        "onnx/decoder_step_int8.onnx"
    );
    let wanted = found(&files, "int8,decoder=q4");
    assert_eq!(wanted.kind(), Some(LayoutKind::Fused));
    assert_eq!(
        wanted.files[&GraphFile::VisionEncoder],
        "onnx/vision_encoder_int8.onnx"
    );
    assert_eq!(wanted.files[&GraphFile::DecoderStep], "onnx/decoder_step_q4.onnx");
    let of_either_sign = found(&files, "q8");
    assert_eq!(
        of_either_sign.files[&GraphFile::DecoderStep],
        "onnx/decoder_step_int8.onnx"
    );
    let absent = found(&files, "decoder=fp16");
    assert_eq!(absent.missing(), ["decoder_step_fp16.onnx"]);
}

#[test]
fn float16_comes_first_where_it_suits() {
    let files: Vec<String> = GraphFile::FUSED
        .iter()
        .flat_map(|graph| [Dtype::Fp32, Dtype::Fp16].map(|dtype| format!("onnx/{}", graph.file_name(dtype))))
        .collect();
    let source = BundleSource::Memory {
        name: "test".into(),
        files: files.iter().map(|path| (path.clone(), vec![].into())).collect(),
    };
    for (dtypes, file) in [
        ("", "onnx/decoder_step_fp16.onnx"),
        ("fp32", "onnx/decoder_step.onnx"),
        ("decoder=fp32", "onnx/decoder_step.onnx"),
    ] {
        let dtypes: DtypePreference = match dtypes {
            "" => DtypePreference::default(),
            dtypes => dtypes.parse::<PerPart<Dtype>>().unwrap().into(),
        };
        let layout = GraphLayout::find_with(
            &source,
            dtypes.with_float16_first(true),
            DeploymentNames::default(),
        );
        assert_eq!(layout.files[&GraphFile::DecoderStep], file);
    }
}

#[test]
fn dtypes_of_other_graphs_are_offered() {
    let files = GraphFile::FUSED.map(|graph| graph.file_name(Dtype::Q4));
    assert!(found(&files, "int8").excludes_dtypes());
    assert!(!found(&files, "").excludes_dtypes());
    assert!(!layout(&[]).excludes_dtypes());
}

/// Files in memory, as paths.
fn of_paths(paths: &[String]) -> GraphLayout {
    let files = paths.iter().map(|path| (path.clone(), vec![].into())).collect();
    let name = "test".into();
    GraphLayout::find(&BundleSource::Memory { name, files })
}

#[test]
fn names_of_older_exports_are_read() {
    let names = ["vision-encoder", "embed-tokens", "encoder", "decoder-merged"];
    let base = names.map(|name| format!("base-{name}.onnx"));
    let layout = of_paths(&base);
    assert_eq!(
        (layout.kind(), layout.decoders().next()),
        (Some(LayoutKind::Plain), Some(DecoderGraphs::Merged))
    );
    assert_eq!(layout.prefix, "base-");
    assert_eq!(layout.files[&GraphFile::EncoderModel], "base-encoder.onnx");
    let in_folder = of_paths(&base.clone().map(|name| format!("onnx/{name}")));
    assert_eq!(in_folder.kind(), Some(LayoutKind::Plain));
    assert_eq!(
        of_paths(&base[..3]).missing()[0],
        "base-decoder_model_merged.onnx (or base-decoder_model.onnx and base-decoder_with_past_model.onnx)"
    );
}

#[test]
fn models_that_lie_together_are_not_mixed() {
    let names = ["vision-encoder-f16", "embed-tokens", "encoder", "decoder-merged"];
    let mut files: Vec<String> = names.iter().map(|name| format!("large-{name}.onnx")).collect();
    files.extend(names[1..].iter().map(|name| format!("base-{name}.onnx")));
    assert_eq!(of_paths(&files).prefix, "large-");
    files.push("base-vision-encoder.onnx".into());
    assert_eq!(of_paths(&files).prefix, "base-");
    files.extend(GraphFile::FUSED.map(|graph| graph.file_name(Dtype::Int8)));
    assert_eq!(of_paths(&files).prefix, "");
}

#[test]
fn of_one_name_the_file_in_the_graphs_folder_is_taken() {
    let files = [
        "vision_encoder.onnx",
        "onnx/vision_encoder.onnx",
        "other/vision_encoder.onnx",
    ];
    let layout = of_paths(&files.map(str::to_owned));
    assert_eq!(
        layout.files[&GraphFile::VisionEncoder],
        "onnx/vision_encoder.onnx"
    );
}

#[test]
fn decoder_combinations() {
    use GraphFile::{DecoderModel, DecoderModelMerged, DecoderWithPastModel};
    assert_eq!(
        layout(&GraphFile::PLAIN).decoders().next(),
        Some(DecoderGraphs::Merged)
    );
    assert_eq!(layout(&GraphFile::PLAIN).decoders().count(), 2);
    assert_eq!(
        layout(&[DecoderModelMerged]).decoders().next(),
        Some(DecoderGraphs::Merged)
    );
    assert_eq!(
        layout(&[DecoderModel, DecoderWithPastModel]).decoders().next(),
        Some(DecoderGraphs::Split)
    );
    assert_eq!(layout(&[DecoderModel]).decoders().next(), None);
}

#[test]
fn what_is_missing_is_named() {
    assert!(layout(&GraphFile::PLAIN).missing().is_empty());
    let missing = layout(&[GraphFile::VisionEncoder, GraphFile::DecoderModel])
        .missing()
        .join("\n");
    for name in [
        "embed_tokens.onnx",
        "encoder_model.onnx",
        "decoder_model_merged.onnx",
        "decoder_with_past_model.onnx",
    ] {
        assert!(missing.contains(name), "{missing}");
    }
    assert!(!missing.contains("vision_encoder"), "{missing}");
}
