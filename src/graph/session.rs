//! One loaded graph: a session that is locked only while it runs, and its signature.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use florence2_layout::graphs::{Attention, GraphFile, KeyValue, PRECISION, past, present};
use ort::session::{IoBinding, RunOptions, Session, SessionInputValue};
use ort::value::DynValue;

use super::optimizers::load_around_optimizers;
use crate::bundle::{Bundle, GraphBytes};
use crate::error::{Error, Result};
use crate::metrics::timed;
use crate::runtime::{
    Device, GraphSignature, GraphSource, SessionOptions, TensorSpec, build_session, byte_products_saturate,
    run_options,
};

/// One loaded graph.
pub(crate) struct Graph {
    session: Mutex<Session>,
    signature: GraphSignature,
    run_options: Option<RunOptions>,
}

impl Graph {
    pub(crate) fn load(bundle: &Bundle, file: GraphFile, options: &SessionOptions) -> Result<Self> {
        let bytes = bundle.layout.graph(&bundle.source, file)?;
        let mut options = options.clone();
        if file != GraphFile::VisionEncoder {
            options = options.with_changing_shapes();
            // Only the vision encoder has them; the others are to load beside it.
            options.own_operators = false;
        }
        let source = match &bytes {
            GraphBytes::File(path) => GraphSource::File(path),
            GraphBytes::Memory(bytes) => GraphSource::Bytes {
                name: file.name(),
                bytes,
            },
        };
        let session =
            load_around_optimizers(file.name(), &options, |options| build_session(source, options))?;
        let signature = GraphSignature::of(&session, file.name())?;
        warn_of_saturation(&signature, &options);
        Ok(Self {
            session: Mutex::new(session),
            signature,
            run_options: run_options(&options)?,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.signature.graph
    }

    /// Whether the graph's metadata say `true` to this key.
    pub(crate) fn claims(&self, key: &str) -> bool {
        self.signature
            .metadata
            .get(key)
            .is_some_and(|value| value == "true")
    }

    pub(crate) fn has_input(&self, name: &str) -> bool {
        self.signature.has_input(name)
    }

    pub(crate) fn input(&self, name: &str) -> Result<&TensorSpec> {
        self.signature.input(name)
    }

    pub(crate) fn output(&self, name: &str) -> Result<&TensorSpec> {
        self.signature.output(name)
    }

    /// The number of layers whose self-attention caches the graph gives.
    pub(crate) fn layers_of_caches(&self) -> usize {
        let has_layer = |&layer: &usize| {
            let key = present(layer, Attention::Decoder, KeyValue::Key);
            self.signature.has_output(&key)
        };
        (0..).take_while(has_layer).count()
    }

    /// Runs the graph; `inputs` are bound by name. Adds the time within the runtime to `runtime`.
    pub(crate) fn run(
        &self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        runtime: &mut f64,
    ) -> Result<Outputs<'_>> {
        let mut session = self.lock();
        let outputs = timed(runtime, || match &self.run_options {
            Some(options) => session.run_with_options(inputs, options),
            None => session.run(inputs),
        });
        let outputs = outputs.map_err(Error::ort(self.running()))?;
        let values = outputs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Ok(Outputs { graph: self, values })
    }

    /// Tensors that are bound once, for many runs.
    pub(crate) fn binding(&self) -> Result<IoBinding> {
        self.lock()
            .create_binding()
            .map_err(Error::ort(format!("binding tensors to {}", self.name())))
    }

    /// Runs the graph on bound tensors. Adds the time within the runtime to `runtime`.
    pub(crate) fn run_bound(&self, binding: &IoBinding, runtime: &mut f64) -> Result<()> {
        let mut session = self.lock();
        let outputs = timed(runtime, || session.run_binding(binding));
        outputs.map(drop).map_err(Error::ort(self.running()))
    }

    fn lock(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> String {
        format!("running {}", self.name())
    }

    pub(crate) fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::InvalidGraph {
            graph: self.name().into(),
            reason: reason.into(),
        }
    }
}

/// The precisions in which bytes are multiplied by signed ones.
const SIGNED_BYTES: [&str; 3] = ["int8", "quantized", "int4"];

/// Says so where a graph of bytes may give wrong sums on this processor.
fn warn_of_saturation(signature: &GraphSignature, options: &SessionOptions) {
    let precision = signature.metadata.get(PRECISION).map_or("fp32", String::as_str);
    let on_cpu = options.devices.iter().all(|&device| device == Device::Cpu);
    if SIGNED_BYTES.contains(&precision) && on_cpu && byte_products_saturate() {
        tracing::warn!(
            graph = signature.graph,
            precision,
            "this processor has no VNNI: ONNX Runtime's sums of products of bytes can saturate; use fp32 graphs"
        );
    }
}

/// A run's outputs, by name.
pub(crate) struct Outputs<'g> {
    graph: &'g Graph,
    values: BTreeMap<String, DynValue>,
}

impl Outputs<'_> {
    pub(crate) fn take(&mut self, name: &str) -> Result<DynValue> {
        self.values
            .remove(name)
            .ok_or_else(|| self.graph.invalid(format!("it gave no {name}")))
    }
}

/// One cache's tensors: `past` goes in, `present` comes out.
pub(crate) struct CacheNames {
    pub(crate) past: String,
    pub(crate) present: String,
}

impl CacheNames {
    /// Those of all layers: key and value of the first, key and value of the second, ...
    pub(crate) fn of(layers: usize, attention: Attention) -> Vec<Self> {
        (0..layers)
            .flat_map(|layer| [(layer, KeyValue::Key), (layer, KeyValue::Value)])
            .map(|(layer, kv)| Self {
                past: past(layer, attention, kv),
                present: present(layer, attention, kv),
            })
            .collect()
    }
}
