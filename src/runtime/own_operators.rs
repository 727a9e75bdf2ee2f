//! Giving sessions the operators of our own.

use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, SessionBuilder};

use super::cpu_provider;
use super::environment::RuntimeInfo;
use crate::operators;

/// The smallest ONNX model: `y = Identity(x)`, of a float, as a [protocol buffer](https://protobuf.dev).
///
/// Of a [small graph](super::small_graph) no session would do: ONNX Runtime gives those no operators of an application's.
const IDENTITY: &[u8] = b"\x08\x08\
    \x3a\x2f\
        \x0a\x10\x0a\x01x\x12\x01y\x22\x08Identity\
        \x12\x01g\
        \x5a\x0b\x0a\x01x\x12\x06\x0a\x04\x08\x01\x12\x00\
        \x62\x0b\x0a\x01y\x12\x06\x0a\x04\x08\x01\x12\x00\
    \x42\x02\x10\x11";

/// Lets a session run our operators.
pub(super) fn add_operators(
    builder: SessionBuilder,
    environment: &Environment,
    runtime: &RuntimeInfo,
) -> ort::Result<SessionBuilder> {
    match operators::domain()? {
        None => Ok(builder),
        Some(domain) => {
            make_domain_known(environment, runtime)?;
            Ok(builder.with_operators(domain)?)
        }
    }
}

/// The first session with operators of ours enters their domain into a table of the process, which no lock protects: two
/// such sessions made at once would fail. So the first is one that does nothing, and all others wait for it.
fn make_domain_known(environment: &Environment, runtime: &RuntimeInfo) -> ort::Result<()> {
    static IS_KNOWN: Mutex<bool> = Mutex::new(false);
    let mut is_known = IS_KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_known && let Some(domain) = operators::domain()? {
        let mut builder = Session::builder(environment)?
            .with_auto_device(AutoDevicePolicy::PreferCPU)?
            .with_no_environment_execution_providers()?
            .with_intra_threads(1)?;
        cpu_provider::register(&mut builder, runtime)?;
        builder.with_operators(domain)?.commit_from_memory(IDENTITY)?;
        *is_known = true;
    }
    Ok(())
}
