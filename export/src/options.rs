//! Options of an export.

use florence2_layout::dtypes::Dtype;
use florence2_layout::graphs::GraphFile;
use florence2_layout::setters;

use crate::calibration::ActivationRanges;
use crate::target::Target;

/// Options of an export.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExportOptions {
    /// The kind of runtime that the graphs are for.
    pub target: Target,
    /// The dtype of the weights.
    pub dtype: Dtype,
    /// Patterns of the paths of modules whose weights stay in float32 in any dtype; in float16 exports, their arithmetic as
    /// well, and modules without weights can be named too. A pattern matches consecutive components of a path, with `*` for
    /// any characters of a component: `vision_tower.blocks.3` for a stage, `fc2` for the second layer of each MLP.
    pub keep_fp32: Vec<String>,
    /// Whether inputs, outputs and KV caches of float16 graphs are float16. Otherwise they are float32, as in most
    /// deployments, and cast inside the graph; the caches of [`Target::Cuda`] are float16 in any case.
    pub float16_io: bool,
    /// Largest activations on sample images, recorded from graphs with [`observers`](Self::observers). The export
    /// uses them for SmoothQuant: it rescales the channels of quantized layers' inputs, which loses less accuracy.
    /// Only for [`Target::Cpu`].
    pub activation_ranges: Option<ActivationRanges>,
    /// Whether to add the outputs that [`ActivationRanges`] are recorded from. Only for [`Target::Cpu`], best in
    /// [`Dtype::Fp32`].
    pub observers: bool,
    /// Side of the vision encoder's square images in pixels; `None` for the size in the checkpoint's
    /// `preprocessor_config.json`, or 768 without one.
    pub image_size: Option<u32>,
    /// The graphs to write; `None` for all graphs of the target.
    pub graphs: Option<Vec<GraphFile>>,
    /// A graph with more bytes of weights than this keeps its large weights in a file of external data (`.onnx_data`), which ONNX
    /// Runtime maps instead of reading: loading takes half the time and memory.
    pub external_data_threshold: u64,
    /// The model's name in the graphs' metadata; `None` for the name of the published model with the same dimensions.
    pub model_name: Option<String>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        ExportOptions {
            target: Target::default(),
            dtype: Dtype::default(),
            keep_fp32: Vec::new(),
            float16_io: false,
            activation_ranges: None,
            observers: false,
            image_size: None,
            graphs: None,
            external_data_threshold: 32 << 20,
            model_name: None,
        }
    }
}

setters! { ExportOptions {
    with_target(target: Target);
    with_dtype(dtype: Dtype);
    with_keep_fp32(keep_fp32: impl IntoIterator<Item = impl Into<String>>) = keep_fp32.into_iter().map(Into::into).collect();
    with_float16_io(float16_io: bool);
    with_activation_ranges(activation_ranges: ActivationRanges) = Some(activation_ranges);
    with_observers(observers: bool);
    with_image_size(image_size: u32) = Some(image_size);
    with_graphs(graphs: impl Into<Vec<GraphFile>>) = Some(graphs.into());
    with_external_data_threshold(external_data_threshold: u64);
    with_model_name(model_name: impl Into<String>) = Some(model_name.into());
}}

impl ExportOptions {}
