use super::*;
use crate::runtime::ElementType;

const LIMITS: ShapeLimits = ShapeLimits {
    image: Some(ImageSize::new(768, 640)),
    positions: 4096,
};

/// A graph with these inputs, free axes by their names.
fn signature(inputs: &[(&str, &[&str])]) -> GraphSignature {
    let dimension = |text: &&str| match text.parse() {
        Ok(size) => Dimension::Fixed(size),
        Err(_) => Dimension::Symbolic((*text).to_owned()),
    };
    let inputs = inputs.iter().map(|(name, dims)| TensorSpec {
        name: (*name).to_owned(),
        dtype: ElementType::Float32,
        dims: dims.iter().map(dimension).collect(),
    });
    GraphSignature {
        graph: "graph".into(),
        inputs: inputs.collect(),
        outputs: Vec::new(),
        producer: None,
        metadata: Default::default(),
    }
}

fn options(devices: &str, given: &[&str]) -> SessionOptions {
    SessionOptions {
        devices: devices.parse().unwrap(),
        provider_options: given.iter().map(|option| option.parse().unwrap()).collect(),
        ..Default::default()
    }
}

#[test]
fn free_axes_get_ranges_and_fixed_ones_their_size() {
    let graph = signature(&[("pixel_values", &["batch", "3", "height", "width"])]);
    let size = "pixel_values:1x3x640x768".to_owned();
    assert_eq!(
        shapes(&graph, GraphFile::VisionEncoder, LIMITS),
        Some([size.clone(), size.clone(), size])
    );
    let decoder = signature(&[
        ("encoder_attention_mask", &["rows", "encoder_sequence"]),
        ("inputs_embeds", &["rows", "sequence", "768"]),
        ("past_key_values.0.decoder.key", &["rows", "12", "past", "64"]),
        ("past_key_values.0.encoder.key", &["1", "12", "577", "64"]),
    ]);
    let [min, usual, max] = shapes(&decoder, GraphFile::DecoderWithPastModel, LIMITS).unwrap();
    assert_eq!(
        min,
        "encoder_attention_mask:1x1,inputs_embeds:1x1x768,past_key_values.0.decoder.key:1x12x1x64"
    );
    assert_eq!(
        usual,
        "encoder_attention_mask:3x589,inputs_embeds:3x1x768,past_key_values.0.decoder.key:3x12x16x64"
    );
    assert_eq!(
        max,
        "encoder_attention_mask:32x1024,inputs_embeds:32x1x768,past_key_values.0.decoder.key:32x12x4096x64"
    );
}

#[test]
fn what_is_not_known_leaves_the_graph_without() {
    let pixels: (&str, &[&str]) = ("pixel_values", &["batch", "3", "height", "width"]);
    let vision = |inputs: &[(&str, &[&str])], limits| {
        shapes(&signature(inputs), GraphFile::VisionEncoder, limits).is_some()
    };
    assert!(vision(&[pixels], LIMITS));
    assert!(vision(&[pixels, ("other", &["2"])], LIMITS));
    assert!(!vision(&[pixels, ("other", &["any"])], LIMITS));
    assert!(!vision(&[("pixel_values", &["batch", "3"])], LIMITS));
    assert!(!vision(
        &[("pixel_values", &["batch", "channels", "768", "768"])],
        LIMITS
    ));
    assert!(!vision(&[("pixel_values", &["1", "3", "768", "768"])], LIMITS));
    let no_size = ShapeLimits {
        image: None,
        ..LIMITS
    };
    assert!(!vision(&[pixels], no_size));
}

/// The merged decoder's inputs have other axes in its first run than in later ones; other graphs have no such inputs.
#[test]
fn ranges_are_known_for_inputs_of_a_graph() {
    let known = |file, name: &str, dims: &[&str]| {
        let graph = signature(&[(name, dims)]);
        shapes(&graph, file, LIMITS).is_some()
    };
    let cache = ["rows", "12", "past", "64"];
    assert!(known(GraphFile::EmbedTokens, "input_ids", &["a", "b"]));
    assert!(!known(GraphFile::VisionEncoder, "input_ids", &["a", "b"]));
    assert!(!known(
        GraphFile::DecoderWithPastModel,
        "use_cache_branch",
        &["a"]
    ));
    let (self_attention, cross_attention) = (
        "past_key_values.11.decoder.value",
        "past_key_values.0.encoder.key",
    );
    assert!(known(GraphFile::DecoderWithPastModel, self_attention, &cache));
    assert!(known(GraphFile::DecoderWithPastModel, cross_attention, &cache));
    assert!(!known(GraphFile::DecoderModel, self_attention, &cache));
    assert!(!known(
        GraphFile::DecoderWithPastModel,
        "present.0.decoder.key",
        &cache
    ));
    for (name, dims) in [
        ("inputs_embeds", &["a", "b", "768"][..]),
        ("encoder_attention_mask", &["a", "b"]),
        ("encoder_hidden_states", &["a", "b", "768"]),
    ] {
        assert!(!known(GraphFile::DecoderModelMerged, name, dims));
    }
}

#[test]
fn short_models_have_short_ranges() {
    let short = ShapeLimits {
        positions: 100,
        ..LIMITS
    };
    for (file, input, dims) in [
        (
            GraphFile::EncoderModel,
            "attention_mask",
            &["batch", "sequence"][..],
        ),
        (GraphFile::EmbedTokens, "input_ids", &["batch", "sequence"]),
        (
            GraphFile::DecoderWithPastModel,
            "past_key_values.0.decoder.key",
            &["batch", "12", "past", "64"],
        ),
    ] {
        let axis = dims.len() / 2;
        let input = &signature(&[(input, dims)]).inputs[0];
        let [_, usual, max] = short.range(file, input, axis).unwrap();
        assert!(usual <= 100 && max == 100, "{input}");
    }
}

#[test]
fn a_graph_that_fails_with_its_profile_is_loaded_without() {
    let profile = || ShapeProfile {
        kind: DeviceKind::TensorRt,
        options: DeviceKind::TensorRt.spec().shapes.unwrap(),
        shapes: ["a:1", "a:2", "a:3"].map(str::to_owned),
    };
    let ours = ["min", "opt", "max"].iter().zip(1..);
    let ours: Vec<ProviderOption> = ours
        .map(|(name, size)| {
            format!("tensorrt.trt_profile_{name}_shapes=a:{size}")
                .parse()
                .unwrap()
        })
        .collect();
    let given = options("tensorrt", &["tensorrt.trt_fp16_enable=1"]);
    let load = |options: &SessionOptions| Ok(options.provider_options.clone());
    let (loaded, kept) = load_with_profile("graph", Some(profile()), &given, load).unwrap();
    assert_eq!(loaded, [&given.provider_options[..], &ours].concat());
    assert_eq!(kept, Some(profile()));
    let (loaded, kept) = load_with_profile("graph", None, &given, load).unwrap();
    assert_eq!((loaded, kept), (given.provider_options.clone(), None));

    let unusable = |_: &SessionOptions| -> Result<()> {
        Err(Error::InvalidOption {
            name: "provider option",
            reason: "refused".into(),
        })
    };
    assert!(load_with_profile("graph", Some(profile()), &given, unusable).is_err());
    let text = profile().to_string();
    assert!(
        text.contains("up to a:3") && text.contains("tensorrt.trt_profile_min_shapes=none"),
        "{text}"
    );
}

#[cfg(feature = "fetch-runtime")]
mod exported {
    use std::collections::BTreeMap;
    use std::path::Path;

    use florence2_export::{Checkpoint, ExportOptions, Target, export};

    use super::*;
    use crate::bundle::BundleSource;
    use crate::runtime::GraphSource;
    use crate::runtime::{self, RuntimeOptions};

    /// As when TensorRT takes a part of the graph only.
    #[test]
    fn a_refused_profile_is_left_out() {
        runtime::init_or_fetch(&RuntimeOptions::default(), &|_| {}).unwrap();
        let profile = ShapeProfile {
            kind: DeviceKind::TensorRt,
            options: DeviceKind::TensorRt.spec().shapes.unwrap(),
            shapes: ["a:1", "a:2", "a:3"].map(str::to_owned),
        };
        let refusing = |of: fn(usize) -> bool| {
            move |options: &SessionOptions| match options.provider_options.len() {
                options if of(options) => Err(Error::Ort {
                    context: "loading a graph".into(),
                    source: ort::Error::new(format!("{options} options")).into(),
                }),
                options => Ok(options),
            }
        };
        let given = options("tensorrt", &["tensorrt.trt_fp16_enable=1"]);
        let load = |load| load_with_profile("graph", Some(profile.clone()), &given, load);
        assert_eq!(load(refusing(|options| options > 1)).unwrap(), (1, None));
        let error = load(refusing(|_| true)).unwrap_err();
        assert!(
            matches!(&error, Error::Ort { source, .. } if source.to_string() == "1 options"),
            "{error:?}"
        );
    }

    /// The demo model's graphs of the `plain` layout.
    fn exported() -> (tempfile::TempDir, Bundle) {
        runtime::init_or_fetch(&RuntimeOptions::default(), &|_| {}).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/checkpoint");
        let options = ExportOptions::default().with_target(Target::Plain);
        export(&Checkpoint::open(checkpoint).unwrap(), folder.path(), &options).unwrap();
        let bundle = Bundle::open(BundleSource::Folder(folder.path().to_owned())).unwrap();
        (folder, bundle)
    }

    /// `a:1x2,b:3`, read.
    fn read(shapes: &str) -> BTreeMap<&str, Vec<usize>> {
        let inputs = shapes.split(',').map(|input| input.split_once(':').unwrap());
        let sizes = |shape: &str| shape.split('x').map(|size| size.parse().unwrap()).collect();
        inputs.map(|(name, shape)| (name, sizes(shape))).collect()
    }

    /// Each input of free size is named, and no other; the sizes are in order, fixed axes have theirs, and axes that the
    /// graph calls by one name, which TensorRT takes to be of one size, the same ranges.
    #[test]
    fn the_demo_models_graphs_are_described_whole() {
        let (folder, bundle) = exported();
        let mut described = Vec::new();
        for (&file, path) in &bundle.layout.files {
            let path = folder.path().join(path);
            let graph = &CheckedGraph::new(GraphSource::File(path.clone())).unwrap();
            let options = options("tensorrt,cuda", &[]);
            let Some(profile) = ShapeProfile::of(graph, file, &bundle, &options).unwrap() else {
                continue;
            };
            described.push(file);
            let [min, usual, max] = [0, 1, 2].map(|of| read(&profile.shapes[of]));
            let signature = GraphSignature::read(graph).unwrap();
            let is_free = |dimension: &Dimension| !matches!(dimension, Dimension::Fixed(_));
            let free: Vec<&TensorSpec> = signature
                .inputs
                .iter()
                .filter(|input| input.dims.iter().any(is_free))
                .collect();
            assert_eq!(free.len(), min.len(), "{file:?}");
            let mut by_name = BTreeMap::new();
            for input in free {
                let name = input.name.as_str();
                for (axis, dimension) in input.dims.iter().enumerate() {
                    let range = [&min, &usual, &max].map(|shapes| shapes[name][axis]);
                    assert!(0 < range[0] && range.is_sorted(), "{file:?} {input}: {range:?}");
                    match dimension {
                        Dimension::Fixed(size) => assert_eq!(range, [*size; 3]),
                        Dimension::Symbolic(called) => {
                            let same = by_name.entry(called).or_insert(range);
                            assert_eq!(*same, range, "{file:?} {called}");
                        }
                        Dimension::Unknown => panic!("{file:?} {input}"),
                    }
                }
                assert_eq!(min[name].len(), input.dims.len());
            }
        }
        assert_eq!(
            described,
            [
                GraphFile::VisionEncoder,
                GraphFile::EmbedTokens,
                GraphFile::EncoderModel,
                GraphFile::DecoderModel,
                GraphFile::DecoderWithPastModel
            ]
        );
    }

    #[test]
    fn a_profile_is_for_tensorrt_and_where_the_user_gives_none() {
        let (folder, bundle) = exported();
        let path = folder.path().join(&bundle.layout.files[&GraphFile::EmbedTokens]);
        let of = |options: &SessionOptions| {
            let graph = &CheckedGraph::new(GraphSource::File(path.clone())).unwrap();
            ShapeProfile::of(graph, GraphFile::EmbedTokens, &bundle, options).unwrap()
        };
        for (devices, given) in [
            ("tensorrt", "tensorrt.trt_fp16_enable=1"),
            ("cuda,tensorrt:1", "cuda.trt_profile_min_shapes=x:1"),
        ] {
            assert!(of(&options(devices, &[given])).is_some(), "{devices} {given}");
        }
        for (devices, given) in [
            ("cuda", "cuda.use_tf32=1"),
            ("cpu", "tensorrt.trt_fp16_enable=1"),
            ("tensorrt", "tensorrt.trt_profile_min_shapes=none"),
            ("tensorrt", "tensorrt.trt_profile_max_shapes=input_ids:64x64"),
        ] {
            assert_eq!(of(&options(devices, &[given])), None, "{devices} {given}");
        }
        // As bytes, too.
        let bytes = std::fs::read(&path).unwrap();
        let graph = &CheckedGraph::new(GraphSource::memory("embed_tokens", bytes)).unwrap();
        let by_bytes =
            ShapeProfile::of(graph, GraphFile::EmbedTokens, &bundle, &options("tensorrt", &[])).unwrap();
        assert_eq!(by_bytes, of(&options("tensorrt", &[])));
        assert!(by_bytes.unwrap().shapes[1].starts_with("input_ids:3x1"));
    }
}
