//! Merged weights against PEFT's, of the fixtures that `tests/reference/make_adapters.py` makes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use safetensors::SafeTensors;
use safetensors::tensor::{TensorView, serialize_to_file};
use tempfile::TempDir;

use super::*;

/// The fixtures have about as many elements of each weight.
const SAMPLES: usize = 128;
/// Of a weight's largest magnitude.
const TOLERANCE: f32 = 1e-6;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

fn base() -> Checkpoint {
    Checkpoint::open(fixture("checkpoints/base-like")).unwrap()
}

/// Returns a weight by its native name, also under the names that are tied to it.
fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let is_tied = EMBEDDINGS.contains(&name) || name == OUTPUT_PROJECTION;
    let name = match checkpoint.tensors.get(name) {
        None if is_tied => EMBEDDINGS[0],
        _ => name,
    };
    let mut shape = checkpoint.tensors[name].entry.shape.clone();
    if naming::is_transposed(name, &checkpoint.tensors[name].name) {
        shape.reverse();
    }
    checkpoint.weights().tensor(name, &shape).unwrap().values()
}

/// Checks that exactly the weights in a fixture differ from the base model's, and have its values.
fn check(checkpoint: &Checkpoint, adapter: &str) {
    let bytes = std::fs::read(fixture(&format!("adapters/{adapter}/merged.safetensors"))).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let base = base();
    let names: BTreeSet<&str> = base.tensors.keys().map(String::as_str).collect();
    let mut worst: f32 = 0.0;
    for name in names.into_iter().chain(EMBEDDINGS).chain([OUTPUT_PROJECTION]) {
        let merged = values(checkpoint, name);
        let Ok(samples) = expected.tensor(name) else {
            assert_eq!(merged, values(&base, name), "{name}");
            continue;
        };
        let samples = samples.data().as_chunks::<4>().0.iter();
        let samples = samples.map(|&bytes| f32::from_le_bytes(bytes));
        let found = merged.iter().step_by((merged.len() / SAMPLES).max(1));
        assert_eq!(samples.len(), found.len(), "{name}");
        let largest = merged
            .iter()
            .fold(0.0f32, |largest, value| largest.max(value.abs()));
        for (found, sample) in found.zip(samples) {
            let error = (found - sample).abs() / largest;
            assert!(error <= TOLERANCE, "{name}: {found} {sample}");
            worst = worst.max(error);
        }
    }
    println!("{adapter}: {} weights, worst error {worst:e}", expected.len());
}

#[test]
fn merged_weights_are_those_of_peft() {
    for adapter in ["notebook", "patterns", "embeddings"] {
        let merged = base()
            .with_adapter(fixture(&format!("adapters/{adapter}")))
            .unwrap();
        check(&merged, adapter);
    }
}

/// Writes an adapter with its tensors renamed.
fn renamed(adapter: &str, rename: impl Fn(&str) -> String) -> TempDir {
    let from = fixture(&format!("adapters/{adapter}"));
    let to = tempfile::tempdir().unwrap();
    std::fs::copy(from.join(ADAPTER_CONFIG), to.path().join(ADAPTER_CONFIG)).unwrap();
    let bytes = std::fs::read(from.join("adapter_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<(String, TensorView)> = tensors
        .tensors()
        .into_iter()
        .map(|(name, tensor)| (rename(&name), tensor))
        .collect();
    serialize_to_file(tensors, None, &to.path().join("adapter_model.safetensors")).unwrap();
    to
}

#[test]
fn modules_may_have_microsofts_names() {
    let microsoft = |name: &str| {
        let name = name.strip_prefix("base_model.model.").unwrap();
        let (module, rest) = match name.split_once(".lora_") {
            Some((module, rest)) => (module, format!("lora_{rest}")),
            None => (
                name.strip_suffix(".base_layer.weight").unwrap(),
                "base_layer.weight".into(),
            ),
        };
        let weight = naming::microsoft(&format!("{module}.weight")).unwrap();
        let module = weight.strip_suffix(".weight").unwrap().to_owned();
        format!("base_model.model.{module}.{rest}")
    };
    let adapter = renamed("notebook", microsoft);
    check(&base().with_adapter(adapter.path()).unwrap(), "notebook");
}

#[test]
fn names_of_older_versions_are_read() {
    let older = |name: &str| {
        name.replace("lm_head.weight", "lm_head.modules_to_save.default.weight")
            .replace(
                "image_projection.weight",
                "image_projection.modules_to_save.weight",
            )
    };
    let adapter = renamed("patterns", older);
    check(&base().with_adapter(adapter.path()).unwrap(), "patterns");
}

#[test]
fn adapters_of_other_models_and_kinds_are_errors() {
    let error = |adapter: &TempDir| base().with_adapter(adapter.path()).err().unwrap();
    let other = renamed("notebook", |name| {
        name.replace("encoder.layers.0", "encoder.layers.7")
    });
    assert!(matches!(error(&other), Error::AdapterModule { .. }));
    let swapped = renamed("notebook", |name| {
        let swapped = name.replace("lora_A", "lora_C").replace("lora_B", "lora_A");
        swapped.replace("lora_C", "lora_B")
    });
    assert!(matches!(error(&swapped), Error::AdapterShape { .. }));
    let incomplete = renamed("notebook", |name| name.replace("fc2.lora_A", "fc3.lora_A"));
    assert!(matches!(error(&incomplete), Error::AdapterModule { .. }));
    for (part, feature) in [
        ("lora_magnitude_vector", "lora_magnitude_vector"),
        ("lora_B.bias.weight.bias", "bias"),
    ] {
        let of_other_kind = renamed("notebook", |name| name.replace("lora_B.weight", part));
        match error(&of_other_kind) {
            Error::AdapterFeature { feature: named } => assert!(named.contains(feature), "{named}"),
            other => panic!("{other:?}"),
        }
    }
    let rank = renamed("notebook", str::to_owned);
    let config = std::fs::read_to_string(rank.path().join(ADAPTER_CONFIG)).unwrap();
    let changed = config.replace("\"r\": 4", "\"r\": 8");
    assert_ne!(config, changed);
    std::fs::write(rank.path().join(ADAPTER_CONFIG), changed).unwrap();
    assert!(matches!(error(&rank), Error::AdapterShape { .. }));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(error(&empty), Error::NotAnAdapter { .. }));
}
