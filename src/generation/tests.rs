//! Tests of the searches over made-up logits: see `tests/reference/make_searches.py`, which makes the golden results.

mod fake_decoder;
mod golden;
mod hooks;
mod sampling;
mod settings;

use serde_json::Value;

use self::fake_decoder::{FakeDecoder, FakeModel};
use super::{GenerationConfig, Hooks, Sequence, generate};

fn fixture(text: &str) -> (Vec<FakeModel>, Vec<Value>) {
    let mut fixture: Value = serde_json::from_str(text).unwrap();
    let models = serde_json::from_value(fixture["models"].take()).unwrap();
    let cases = serde_json::from_value(fixture["cases"].take()).unwrap();
    (models, cases)
}

/// Settings as `generation_config.json` has them; the fixtures' decoders start with token 2.
fn config(settings: Value) -> GenerationConfig {
    GenerationConfig::from_json(Some(&settings), None).unwrap()
}

fn run(models: &[FakeModel], config: &GenerationConfig) -> Vec<Vec<Sequence>> {
    let mut decoder = FakeDecoder::new(models);
    generate(&mut decoder, config, Hooks::default()).unwrap()
}
