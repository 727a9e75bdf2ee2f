//! Registering this crate's custom operators with sessions.

use std::sync::{Mutex, PoisonError};

use florence2_layout::onnx::{
    DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, SessionBuilder};
use prost::Message;

use super::environment::RuntimeInfo;
use super::load;
use crate::operators;

/// Registers this crate's operators with a session.
pub(super) fn add_operators(
    builder: SessionBuilder,
    environment: &Environment,
    runtime: &RuntimeInfo,
) -> ort::Result<SessionBuilder> {
    match operators::domain()? {
        None => Ok(builder),
        Some(domain) => {
            register_domain(environment, runtime)?;
            Ok(builder.with_operators(domain)?)
        }
    }
}

/// Builds a first session with the custom operators, which registers their domain in a process-wide table. ONNX
/// Runtime does not lock that table, and two sessions that register at the same time fail: all other sessions wait
/// for this one.
fn register_domain(environment: &Environment, runtime: &RuntimeInfo) -> ort::Result<()> {
    static IS_REGISTERED: Mutex<bool> = Mutex::new(false);
    let mut is_registered = IS_REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_registered && let Some(domain) = operators::domain()? {
        let mut builder = Session::builder(environment)?
            .with_auto_device(AutoDevicePolicy::PreferCPU)?
            .with_no_environment_execution_providers()?
            .with_intra_threads(1)?;
        load::register_cpu_provider(&mut builder, runtime)?;
        builder
            .with_operators(domain)?
            .commit_from_memory(&smallest_model())?;
        *is_registered = true;
    }
    Ok(())
}

/// The bytes of a model `y = Identity(x)` of a constant `x`. A [small graph](super::small_graph) does not suffice:
/// ONNX Runtime does not register custom operators for those.
fn smallest_model() -> Vec<u8> {
    let x = TensorProto {
        name: "x".into(),
        data_type: DataType::Float as i32,
        raw_data: Some([0; 4].to_vec().into()),
        ..TensorProto::default()
    };
    let y = ValueInfoProto {
        name: "y".into(),
        ..ValueInfoProto::default()
    };
    let identity = NodeProto {
        op_type: "Identity".into(),
        input: vec!["x".into()],
        output: vec!["y".into()],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: "identity".into(),
        node: vec![identity],
        initializer: vec![x],
        output: vec![y],
        ..GraphProto::default()
    };
    let operators = OperatorSetIdProto {
        version: 17,
        ..OperatorSetIdProto::default()
    };
    let model = ModelProto {
        ir_version: 8,
        graph: Some(graph),
        opset_import: vec![operators],
        ..ModelProto::default()
    };
    model.encode_to_vec()
}
