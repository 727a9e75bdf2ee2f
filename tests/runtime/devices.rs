//! Devices: which can be used, the errors of those that cannot, and the placement of the graphs' nodes.
//!
//! The ignored tests need an ONNX Runtime with a provider other than the CPU's.

use florence2::bundle::ModelPart;
use florence2::generation::GenerationOptions;
use florence2::runtime::{
    Device, DeviceKind, DeviceProblem, Devices, GraphSource, ProviderOption, SessionOptions, build_session,
};

use crate::common::golden::{Answers, exported};
use crate::common::graphs::SPLIT;
use crate::common::{fixture, runtime};
use florence2::{Error, Florence2, LoadOptions, RunOptions, Task, load_image};
use florence2_export::GraphFile;
use tempfile::TempDir;

fn options(devices: &str) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.devices = devices.parse().unwrap();
    options
}

fn load(folder: &TempDir, session: SessionOptions) -> Result<Florence2, Error> {
    runtime();
    Florence2::from_pretrained(folder.path(), LoadOptions::default().with_session(session))
}

/// Returns the devices of each graph's nodes, as `vision_encoder cpu`.
fn placed(model: &Florence2) -> Vec<String> {
    let name = |provider: &str| {
        let kind = DeviceKind::ALL.iter().find(|kind| kind.provider() == provider);
        kind.map_or_else(|| provider.to_owned(), |kind| kind.name().to_owned())
    };
    let placements = model.placements().into_iter();
    placements
        .map(|placement| {
            assert!(
                placement.providers.iter().all(|nodes| nodes.nodes > 0),
                "{placement:?}"
            );
            let providers: Vec<String> = placement
                .providers
                .iter()
                .map(|nodes| name(&nodes.provider))
                .collect();
            format!("{} {}", placement.graph, providers.join("+"))
        })
        .collect()
}

/// Returns the devices that the library in use was built without.
fn absent() -> Vec<Device> {
    runtime();
    let kinds = DeviceKind::ALL
        .iter()
        .filter(|kind| !kind.is_in_library().unwrap());
    kinds.map(|&kind| Device::new(kind)).collect()
}

#[test]
fn the_cpu_can_always_be_used() {
    runtime();
    assert!(DeviceKind::Cpu.is_in_library().unwrap());
    Device::CPU.usable().unwrap();
    let auto = Devices::AUTO.resolve().unwrap();
    assert_eq!(auto.len(), 1);
    auto[0].usable().unwrap();
}

#[test]
fn devices_that_are_not_in_the_library_are_errors_that_say_what_to_install() {
    let absent = absent();
    assert!(!absent.is_empty(), "no library has them all");
    for device in absent {
        let graph = fixture("tiny.onnx");
        let options = options(&device.to_string());
        let by_itself = device.usable().unwrap_err();
        let by_session = build_session(&GraphSource::File(graph.clone()), &options).unwrap_err();
        for error in [by_itself, by_session] {
            let Error::DeviceUnusable {
                device: named,
                problem: DeviceProblem::NotInLibrary { library },
            } = &error
            else {
                panic!("{error:?}")
            };
            assert_eq!((*named, library.is_empty()), (device, false));
            let message = error.to_string();
            assert!(
                message.contains(&format!("device {device} cannot be used")),
                "{message}"
            );
            assert!(message.contains(device.kind().needs()), "{message}");
        }
    }
}

/// Even if another device supports all nodes.
#[test]
fn each_named_device_must_be_usable() {
    let device = absent()[0];
    let error = load(&exported("base-like", &SPLIT), options(&format!("{device},cpu"))).unwrap_err();
    assert!(matches!(error, Error::DeviceUnusable { .. }), "{error:?}");
    let error = load(
        &exported("base-like", &SPLIT),
        options(&format!("vision={device}")),
    )
    .unwrap_err();
    assert!(matches!(error, Error::DeviceUnusable { .. }), "{error:?}");
}

#[test]
fn on_the_cpu_all_nodes_are_there() {
    let model = load(&exported("base-like", &SPLIT), options("cpu")).unwrap();
    assert_eq!(
        placed(&model),
        [
            "vision_encoder cpu",
            "embed_tokens cpu",
            "encoder_model cpu",
            "decoder_model cpu",
            "decoder_with_past_model cpu"
        ]
    );
    let model = load(&exported("base-like", &GraphFile::FUSED), options("auto")).unwrap();
    let placements = model.placements();
    assert_eq!(
        placements
            .iter()
            .map(|placement| placement.graph.as_str())
            .collect::<Vec<_>>(),
        ["vision_encoder", "text_encoder", "decoder_step"]
    );
    for placement in placements {
        assert!(placement.is_known());
        assert_eq!(placement.copies(), 0);
    }
    assert!(model.placements()[2].nodes_on(DeviceKind::Cpu) > 10);
}

/// Whatever the device: whether it is in the library is not checked before.
#[test]
fn a_decoder_that_writes_in_place_stays_on_the_cpu() {
    let error = load(
        &exported("base-like", &GraphFile::FUSED),
        options("decoder=openvino"),
    )
    .unwrap_err();
    assert!(
        matches!(error, Error::InvalidOption { name: "device", .. }),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(
        message.contains("decoder=cpu") && message.contains("target plain"),
        "{message}"
    );
}

#[test]
fn a_model_in_both_layouts_runs_in_the_one_for_the_device() {
    let both = exported("base-like", &GraphFile::FUSED);
    let plain = exported("base-like", &SPLIT);
    for graph in std::fs::read_dir(plain.path().join("onnx")).unwrap() {
        let graph = graph.unwrap();
        if graph.file_name() != "vision_encoder.onnx" {
            std::fs::copy(graph.path(), both.path().join("onnx").join(graph.file_name())).unwrap();
        }
    }
    let model = load(&both, options("cpu")).unwrap();
    assert_eq!(model.placements().len(), 3);
    let device = absent()[0];
    let error = load(&both, options(&format!("decoder={device}"))).unwrap_err();
    assert!(matches!(error, Error::DeviceUnusable { .. }), "{error:?}");
}

#[test]
fn empty_lists_of_devices_are_rejected() {
    let error = Devices::new(Vec::new()).unwrap_err();
    assert!(
        matches!(error, Error::InvalidOption { name: "device", .. }),
        "{error:?}"
    );
}

/// The CPU is permitted if it is listed.
#[test]
fn without_fallback_the_cpu_must_be_listed() {
    runtime();
    let mut options = options("cpu");
    options.cpu_fallback = false;
    build_session(&GraphSource::File(fixture("tiny.onnx")), &options).unwrap();
}

/// Token ids of the golden questions, under beam search.
fn answers(model: &Florence2) -> Vec<(Task, Vec<u32>)> {
    let options = RunOptions::default().with_generation(GenerationOptions::default().with_max_new_tokens(30));
    let mut answers = Vec::new();
    for golden in &Answers::read("base-like").images {
        let image = load_image(golden.path()).unwrap();
        let features = model.encode_image(&image).unwrap();
        for prompt in golden.prompts.iter().filter(|prompt| prompt.beams.is_some()) {
            let task = prompt.task();
            let tokens = model.run_with(&features, &task, &options).unwrap().token_ids;
            answers.push((task, tokens));
        }
    }
    assert!(answers.len() > 10, "{}", answers.len());
    answers
}

/// ```sh
/// pip install --no-deps --target DIR onnxruntime-openvino
/// ORT_DYLIB_PATH=$(ls DIR/onnxruntime/capi/libonnxruntime.so.*) cargo test --test runtime -- --ignored openvino
/// ```
mod openvino {
    use super::*;

    fn on_openvino(folder: &TempDir, devices: &str) -> Florence2 {
        load(folder, options(devices)).unwrap()
    }

    #[test]
    #[ignore = "needs an ONNX Runtime with OpenVINO"]
    fn openvino_gives_the_cpus_tokens_in_the_plain_layout() {
        let folder = exported("base-like", &SPLIT);
        let on_cpu = on_openvino(&folder, "cpu");
        assert!(placed(&on_cpu).iter().all(|placed| placed.ends_with(" cpu")));
        let on_openvino = on_openvino(&folder, "openvino");
        let placed = placed(&on_openvino);
        assert_eq!(placed.len(), 5);
        assert!(
            placed.iter().all(|placed| placed.contains(" openvino")),
            "{placed:?}"
        );
        assert_eq!(answers(&on_openvino), answers(&on_cpu));
    }

    /// OpenVINO supports only a part of the text encoder: its attention is an operator of ONNX Runtime.
    #[test]
    #[ignore = "needs an ONNX Runtime with OpenVINO"]
    fn openvino_gives_the_cpus_tokens_for_parts_of_a_model() {
        let folder = exported("base-like", &GraphFile::FUSED);
        let on_cpu = on_openvino(&folder, "cpu");
        let mixed = on_openvino(&folder, "openvino,decoder=cpu");
        let placed = placed(&mixed);
        assert_eq!(placed[1..], ["text_encoder openvino+cpu", "decoder_step cpu"]);
        let text_encoder = mixed.placements()[1];
        let on_cpu_provider = &text_encoder.providers[1];
        assert!(
            on_cpu_provider.operators["MultiHeadAttention"] > 0,
            "{text_encoder:?}"
        );
        assert_eq!(answers(&mixed), answers(&on_cpu));
    }

    #[test]
    #[ignore = "needs an ONNX Runtime with OpenVINO"]
    fn openvino_can_be_the_only_device() {
        runtime();
        let mut options = options("openvino");
        options.cpu_fallback = false;
        load(&exported("base-like", &SPLIT), options.clone()).unwrap();
        // No device supports the text encoder's attention.
        options.devices = options.devices.with_part(ModelPart::Decoder, Device::CPU);
        let error = load(&exported("base-like", &GraphFile::FUSED), options).unwrap_err();
        assert!(matches!(error, Error::Ort { .. }), "{error:?}");
    }

    #[test]
    #[ignore = "needs an ONNX Runtime with OpenVINO"]
    fn openvino_gets_the_options_given() {
        runtime();
        Device::new(DeviceKind::OpenVino).usable().unwrap();
        let graph = fixture("tiny.onnx");
        let built = |option: &str| {
            let mut options = options("openvino");
            options.provider_options = vec![option.parse::<ProviderOption>().unwrap()];
            build_session(&GraphSource::File(graph.clone()), &options).map(drop)
        };
        built("openvino.device_type=CPU").unwrap();
        for (wrong, named) in [
            ("openvino.device_type=GPU.7", "GPU"),
            ("openvino.no_such_option=1", "no_such_option"),
        ] {
            // The option is the cause: the device can be used.
            let error = built(wrong).unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::InvalidOption {
                        name: "provider option",
                        ..
                    }
                ),
                "{wrong}: {error:?}"
            );
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}

/// ```sh
/// pip install --no-deps --target DIR onnxruntime-gpu
/// ORT_DYLIB_PATH=$(ls DIR/onnxruntime/capi/libonnxruntime.so.*) cargo test --test runtime -- --ignored cuda
/// ```
#[test]
#[ignore = "needs an ONNX Runtime with CUDA, on a machine without"]
fn cuda_that_does_not_load_says_which_library_is_missing() {
    runtime();
    for kind in [DeviceKind::Cuda, DeviceKind::TensorRt] {
        assert!(kind.is_in_library().unwrap());
        let error =
            build_session(&GraphSource::File(fixture("tiny.onnx")), &options(kind.name())).unwrap_err();
        let Error::DeviceUnusable {
            problem: DeviceProblem::NotLoaded { message },
            ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert!(message.contains("libcublas"), "{message}");
    }
    assert_eq!(Devices::AUTO.resolve().unwrap(), [Device::CPU]);
}

/// ```sh
/// pip install --no-deps --target DIR onnxruntime-webgpu
/// ORT_DYLIB_PATH=$(ls DIR/onnxruntime/capi/libonnxruntime.so.*) cargo test --test runtime -- --ignored webgpu
/// ```
#[test]
#[ignore = "needs an ONNX Runtime with WebGPU, on a machine without a GPU"]
fn webgpu_without_a_gpu_is_rejected() {
    runtime();
    let error = load(&exported("base-like", &SPLIT), options("webgpu,cpu")).unwrap_err();
    let Error::DeviceUnusable {
        problem: DeviceProblem::Refused { message },
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(message.starts_with("Failed to get a WebGPU adapter"), "{message}");
}
