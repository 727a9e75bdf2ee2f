//! Device top-k: the highest logits of a step are selected in the device's memory, and the others stay there unless a search
//! asks for them.

use std::cell::OnceCell;
use std::fmt;

use ndarray::{Array2, ArrayView2, Axis, Ix3};
use ort::editor::{Node, ONNX_DOMAIN};
use ort::operator::Attribute;
use ort::value::{DynValue, Outlet, PrimitiveTensorElementType, TensorElementType};

use crate::error::{Error, Result};
use crate::generation::{TopKLogits, TopKRow, invalid_decoder};
use crate::metrics::Stopwatch;
use crate::runtime::{DeviceMemory, SessionOptions, small_graph};
use crate::session::{FloatType, HelperGraph, tensor};

/// The maximum number of logits selected per row: enough for twice the beams and the tokens that logits processors
/// ban. 64 take 768 bytes; a whole row of 51289 takes 200 KB.
const K: usize = 64;
/// `TensorProto.DataType.FLOAT`.
const ONNX_FLOAT: i64 = 1;

/// Two helper graphs of a decoder: one selects the top k of logits, `[.., vocabulary]`, the other copies all of them to the
/// CPU's memory.
pub(super) struct DeviceTopK {
    select: HelperGraph,
    copy: HelperGraph,
}

/// The logits of a step in the device's memory, and the top k of them.
pub(super) struct DeviceLogits<'m> {
    graphs: &'m DeviceTopK,
    /// `[rows, vocabulary]` or `[rows, tokens, vocabulary]`.
    logits: DynValue,
    vocabulary: usize,
    /// `[rows, k]`
    tokens: Array2<i64>,
    /// `[rows, k]`
    values: Array2<f32>,
    /// `[rows, 1]`
    log_sum_exp: Array2<f32>,
    /// All logits, `[rows, vocabulary]`; copied to the CPU's memory on first use.
    all: OnceCell<Array2<f32>>,
    clock: Stopwatch,
}

impl DeviceTopK {
    /// Loads the graphs for logits of `axes` axes. Returns `None`, after a warning, if the device rejects them.
    pub(super) fn load(axes: usize, float: FloatType, options: &SessionOptions) -> Option<Self> {
        let load = || -> Result<Self> {
            Ok(Self {
                select: select_graph(axes, float.element(), options)?,
                copy: copy_graph(axes, float.element(), options)?,
            })
        };
        load()
            .inspect_err(|error| {
                let error = error as &dyn std::error::Error;
                tracing::warn!(error, "all logits of each step are copied to the CPU's memory");
            })
            .ok()
    }

    /// Selects the top k of the logits after the last token of each row.
    pub(super) fn select(&self, logits: DynValue, clock: &Stopwatch) -> Result<DeviceLogits<'_>> {
        let vocabulary = tensor::shape(&logits).last().copied().unwrap_or(0);
        let k = tensor::indices(&[K.min(vocabulary)])?;
        let outputs = self.select.run([&logits, &k], clock)?;
        let [values, tokens, log_sum_exp] = outputs.as_slice() else {
            return Err(invalid_decoder("top-k has not three outputs".into()));
        };
        Ok(DeviceLogits {
            graphs: self,
            vocabulary,
            tokens: last_tokens(tokens)?,
            values: last_tokens(values)?,
            log_sum_exp: last_tokens(log_sum_exp)?,
            all: OnceCell::new(),
            clock: clock.clone(),
            logits,
        })
    }
}

/// Returns the part of `[rows, size]` or `[rows, tokens, size]` that belongs to each row's last token.
fn last_tokens<T: PrimitiveTensorElementType + Clone>(value: &DynValue) -> Result<Array2<T>> {
    let array = value.try_extract_array::<T>();
    let array = array.map_err(Error::ort("reading top-k logits"))?;
    let array = if array.ndim() == 2 {
        array.insert_axis(Axis(1))
    } else {
        array
    };
    let array = array.into_dimensionality::<Ix3>().ok();
    let last = array.and_then(|array| Some(array.index_axis_move(Axis(1), array.dim().1.checked_sub(1)?)));
    last.map(|last| last.to_owned())
        .ok_or_else(|| invalid_decoder(format!("its logits are of shape {:?}", tensor::shape(value))))
}

impl TopKLogits for DeviceLogits<'_> {
    fn rows(&self) -> usize {
        self.values.nrows()
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn row(&self, row: usize) -> Option<TopKRow<'_>> {
        if row >= self.rows() {
            return None;
        }
        Some(TopKRow {
            tokens: self.tokens.row(row).to_slice()?,
            logits: self.values.row(row).to_slice()?,
            log_sum_exp: self.log_sum_exp.get((row, 0)).copied()?,
        })
    }

    fn all(&self) -> Result<ArrayView2<'_, f32>> {
        if let Some(all) = self.all.get() {
            return Ok(all.view());
        }
        tracing::debug!("the top-k logits of a step do not suffice: all are copied to the CPU's memory");
        let outputs = self.graphs.copy.run([&self.logits], &self.clock)?;
        let all = outputs.first().map(last_tokens::<f32>);
        let all = all.ok_or_else(|| invalid_decoder("no logits were copied".into()))??;
        Ok(self.all.get_or_init(|| all).view())
    }
}

impl fmt::Debug for DeviceLogits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceLogits")
            .field("tokens", &self.tokens)
            .field("values", &self.values)
            .finish_non_exhaustive()
    }
}

/// A graph of inputs `logits` and `k`, `[1]`, and outputs: the highest `k` logits, their tokens, and `ln Σ exp(x - max)` of
/// all logits.
fn select_graph(axes: usize, element: TensorElementType, options: &SessionOptions) -> Result<HelperGraph> {
    let reduce = |operator: &str, input: &str, output: &str| {
        let attributes = [
            Attribute::new("axes", vec![-1_i64])?,
            Attribute::new("keepdims", 1_i64)?,
        ];
        Node::new(operator, ONNX_DOMAIN, output, [input], [output], attributes)
    };
    let nodes = [
        cast("logits", "scores"),
        Node::new(
            "TopK",
            ONNX_DOMAIN,
            "values",
            ["scores", "k"],
            ["values", "tokens"],
            [],
        ),
        reduce("ReduceMax", "scores", "max"),
        small_graph::node("Sub", &["scores", "max"], "below"),
        reduce("ReduceLogSumExp", "below", "log_sum_exp"),
    ];
    let inputs = [
        outlet("logits", axes, element),
        small_graph::outlet("k", TensorElementType::Int64, [1]),
    ];
    let outputs = [
        outlet("values", axes, TensorElementType::Float32),
        outlet("tokens", axes, TensorElementType::Int64),
        outlet("log_sum_exp", axes, TensorElementType::Float32),
    ];
    HelperGraph::new("top-k", inputs, outputs, nodes, DeviceMemory::CPU, options)
}

fn copy_graph(axes: usize, element: TensorElementType, options: &SessionOptions) -> Result<HelperGraph> {
    let inputs = [outlet("logits", axes, element)];
    let outputs = [outlet("all", axes, TensorElementType::Float32)];
    let nodes = [cast("logits", "all")];
    HelperGraph::new("copy logits", inputs, outputs, nodes, DeviceMemory::CPU, options)
}

fn cast(input: &str, output: &str) -> ort::Result<Node> {
    let attributes = [Attribute::new("to", ONNX_FLOAT)?];
    Node::new("Cast", ONNX_DOMAIN, output, [input], [output], attributes)
}

fn outlet(name: &str, axes: usize, element: TensorElementType) -> Outlet {
    if axes == 2 {
        small_graph::outlet(name, element, [-1; 2])
    } else {
        small_graph::outlet(name, element, [-1; 3])
    }
}
