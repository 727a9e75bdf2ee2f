//! The best logits, chosen in the device's memory: the others do not cross the bus unless a search asks for them.

use std::cell::OnceCell;
use std::fmt;

use ndarray::{Array2, ArrayView2, Axis, Ix3};
use ort::editor::{Model, Node, ONNX_DOMAIN};
use ort::operator::Attribute;
use ort::value::{DynValue, TensorElementType};

use super::side_graph::SideGraph;
use super::tensor::{self, FloatType};
use crate::error::{Error, Result};
use crate::generation::{BestLogits, BestRow};
use crate::runtime::{DeviceMemory, SessionOptions, small_graph};

/// How many logits of a row are chosen, if it has as many: twice the beams and what processors may ban should be among
/// them. 64 are 768 bytes, where a vocabulary of 51289 has 200 KB.
const BEST: usize = 64;

const LOGITS: &str = "logits";
const COUNT: &str = "count";
const VALUES: &str = "values";
const TOKENS: &str = "tokens";
const LOG_SUM_EXP: &str = "log_sum_exp";
/// What ONNX calls float32.
const ONNX_FLOAT: i64 = 1;

/// Two graphs that run where the decoder runs: one chooses the best of logits, `[.., vocabulary]`, the other gives all of
/// them, in the processor's memory and float32 both.
pub(super) struct Chooser {
    choose: SideGraph,
    give: SideGraph,
}

/// The logits of a step, of which the best were chosen.
pub(super) struct ChosenLogits<'m> {
    chooser: &'m Chooser,
    /// In the device's memory: `[rows, vocabulary]` or `[rows, tokens, vocabulary]`.
    logits: DynValue,
    vocabulary: usize,
    /// `[rows, best]`
    tokens: Array2<i64>,
    /// `[rows, best]`
    values: Array2<f32>,
    /// `[rows, 1]`
    log_sum_exp: Array2<f32>,
    /// `[rows, vocabulary]`, once they were asked for.
    all: OnceCell<Array2<f32>>,
}

impl Chooser {
    /// For logits of so many axes and this float type. `None` if the decoder's devices refuse the graphs, which is told.
    pub(super) fn new(axes: usize, float: FloatType, options: &SessionOptions) -> Option<Self> {
        let made = || -> Result<Self> {
            Ok(Self {
                choose: SideGraph::new("choosing logits", choosing(axes, float.element()), options)?,
                give: SideGraph::new("giving logits", giving(axes, float.element()), options)?,
            })
        };
        made()
            .inspect_err(|error| {
                tracing::warn!(%error, "all scores of each step are copied to the processor's memory");
            })
            .ok()
    }

    /// All logits after the last token of each row. Adds the time within the runtime to `runtime`.
    pub(super) fn all(&self, logits: &DynValue, runtime: &mut f64) -> Result<Array2<f32>> {
        let [all] = fetched(&self.give, &[(LOGITS, logits)], [VALUES], runtime)?;
        last_of_rows(&all)
    }

    /// Chooses the best logits after the last token of each row. Adds the time within the runtime to `runtime`.
    pub(super) fn choose(&self, logits: DynValue, runtime: &mut f64) -> Result<ChosenLogits<'_>> {
        let vocabulary = tensor::shape(&logits).last().copied().unwrap_or(0);
        let count = tensor::indices(&[BEST.min(vocabulary)])?;
        let inputs: [(&str, &DynValue); 2] = [(LOGITS, &logits), (COUNT, &count)];
        let [values, tokens, log_sum_exp] =
            fetched(&self.choose, &inputs, [VALUES, TOKENS, LOG_SUM_EXP], runtime)?;
        Ok(ChosenLogits {
            chooser: self,
            vocabulary,
            tokens: last_of_rows(&tokens)?,
            values: last_of_rows(&values)?,
            log_sum_exp: last_of_rows(&log_sum_exp)?,
            all: OnceCell::new(),
            logits,
        })
    }
}

/// What a graph gives of these inputs, in the processor's memory.
fn fetched<const N: usize>(
    graph: &SideGraph,
    inputs: &[(&str, &DynValue)],
    outputs: [&str; N],
    runtime: &mut f64,
) -> Result<[DynValue; N]> {
    let values = graph.run(inputs, &outputs, DeviceMemory::CPU, runtime)?;
    values
        .try_into()
        .map_err(|values: Vec<DynValue>| Error::InvalidGraph {
            graph: "choosing logits".into(),
            reason: format!("it gave {} of {N} outputs", values.len()),
        })
}

/// Of `[rows, size]` or `[rows, tokens, size]`, what belongs to each row's last token.
fn last_of_rows<T>(value: &DynValue) -> Result<Array2<T>>
where
    T: ort::value::PrimitiveTensorElementType + Clone,
{
    let array = value
        .try_extract_array::<T>()
        .map_err(Error::ort("reading chosen logits"))?;
    let array = match array.ndim() {
        2 => array.insert_axis(Axis(1)),
        _ => array,
    };
    let array = array.into_dimensionality::<Ix3>().ok();
    let last = array.and_then(|array| Some(array.index_axis_move(Axis(1), array.dim().1.checked_sub(1)?)));
    last.map(|last| last.to_owned())
        .ok_or_else(|| Error::InvalidGraph {
            graph: "decoder".into(),
            reason: format!("its logits are of shape {:?}", tensor::shape(value)),
        })
}

impl BestLogits for ChosenLogits<'_> {
    fn rows(&self) -> usize {
        self.values.nrows()
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn row(&self, row: usize) -> Option<BestRow<'_>> {
        if row >= self.rows() {
            return None;
        }
        Some(BestRow {
            tokens: self.tokens.row(row).to_slice()?,
            logits: self.values.row(row).to_slice()?,
            log_sum_exp: self.log_sum_exp.get((row, 0)).copied()?,
        })
    }

    fn all(&self) -> Result<ArrayView2<'_, f32>> {
        if let Some(all) = self.all.get() {
            return Ok(all.view());
        }
        tracing::debug!("the best scores of a step are not enough: all are fetched");
        let all = self.chooser.all(&self.logits, &mut 0.0)?;
        Ok(self.all.get_or_init(|| all).view())
    }
}

impl fmt::Debug for ChosenLogits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChosenLogits")
            .field("tokens", &self.tokens)
            .field("values", &self.values)
            .finish_non_exhaustive()
    }
}

/// The best `count` logits with their tokens, and `ln Σ exp(x - max)` of all.
fn choosing(axes: usize, element: TensorElementType) -> ort::Result<Model> {
    let reduced = |operator: &str, input: &str, output: &str| {
        let attributes = [
            Attribute::new("axes", vec![-1_i64])?,
            Attribute::new("keepdims", 1_i64)?,
        ];
        Node::new(operator, ONNX_DOMAIN, output, [input], [output], attributes)
    };
    let nodes = [
        cast(LOGITS, "scores"),
        Node::new(
            "TopK",
            ONNX_DOMAIN,
            VALUES,
            ["scores", COUNT],
            [VALUES, TOKENS],
            [],
        ),
        reduced("ReduceMax", "scores", "max"),
        small_graph::node("Sub", &["scores", "max"], "below"),
        reduced("ReduceLogSumExp", "below", LOG_SUM_EXP),
    ];
    let outputs = [
        outlet(VALUES, axes, TensorElementType::Float32),
        outlet(TOKENS, axes, TensorElementType::Int64),
        outlet(LOG_SUM_EXP, axes, TensorElementType::Float32),
    ];
    let count = small_graph::outlet(COUNT, TensorElementType::Int64, [1]);
    small_graph::model([outlet(LOGITS, axes, element), count], outputs, nodes)
}

/// All logits.
fn giving(axes: usize, element: TensorElementType) -> ort::Result<Model> {
    let all = outlet(VALUES, axes, TensorElementType::Float32);
    small_graph::model([outlet(LOGITS, axes, element)], [all], [cast(LOGITS, VALUES)])
}

fn cast(input: &str, output: &str) -> ort::Result<Node> {
    let attributes = [Attribute::new("to", ONNX_FLOAT)?];
    Node::new("Cast", ONNX_DOMAIN, output, [input], [output], attributes)
}

fn outlet(name: &str, axes: usize, element: TensorElementType) -> ort::value::Outlet {
    match axes {
        2 => small_graph::outlet(name, element, [-1; 2]),
        _ => small_graph::outlet(name, element, [-1; 3]),
    }
}
