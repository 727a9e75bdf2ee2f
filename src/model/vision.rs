//! Pixels to image features.

use std::sync::Arc;

use florence2_layout::graphs::{GraphFile, IMAGE_FEATURES, ModelPart, PIXEL_VALUES};
use ndarray::{Array3, ArrayView4};

use super::fingerprint::VisionIdentity;
use crate::bundle::Bundle;
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::metrics::Stopwatch;
use crate::repair::{Repair, repair};
use crate::runtime::{Placement, SessionOptions};
use crate::session::{Graph, TextSizes, tensor};

/// An optimizer to disable: it fuses an addition and the following layer normalization into one operator, which takes
/// several times as long as the two on the CPU (ONNX Runtime 1.32: 22 ms instead of 5, for three of them).
const SLOW_OPTIMIZER: &str = "SkipLayerNormFusion";

/// DaViT and the projector.
pub(crate) struct VisionEncoder {
    graph: Graph,
    repair: Option<Repair>,
    identity: Arc<VisionIdentity>,
    d_model: Option<usize>,
}

impl VisionEncoder {
    /// Loads the graph, repaired for images of size `repair_for` if necessary; `None` loads it without repair.
    pub(crate) fn load(
        bundle: &Bundle,
        options: &SessionOptions,
        repair_for: Option<ImageSize>,
    ) -> Result<Self> {
        let mut options = options.clone();
        if options.is_cpu(ModelPart::Vision)? {
            options = options.without_optimizer(SLOW_OPTIMIZER);
        }
        let graph = bundle.graph(GraphFile::VisionEncoder)?;
        let original = graph.source().clone();
        let (graph, repair) = match repair_for {
            Some(size) => repair(graph, size)?,
            None => (graph, None),
        };
        if let Some(repair) = &repair {
            let model = bundle.source.name();
            tracing::warn!(model, "{repair}: repaired in memory, the file stays as it is");
        }
        let graph = Graph::load_checked(&graph, bundle, GraphFile::VisionEncoder, &options)?;
        graph.float_input(PIXEL_VALUES)?;
        graph.float_output(IMAGE_FEATURES)?;
        let d_model = TextSizes::of(bundle).d_model;
        graph.check_size(graph.output(IMAGE_FEATURES)?, 2, d_model, TextSizes::D_MODEL)?;
        Ok(Self {
            d_model: d_model.or(graph.output(IMAGE_FEATURES)?.fixed(2)),
            identity: Arc::new(VisionIdentity::new(original, repair.is_some())),
            graph,
            repair,
        })
    }

    /// Returns the identity of graph and weights.
    pub(super) fn identity(&self) -> &Arc<VisionIdentity> {
        &self.identity
    }

    /// Returns the number of values of each image token, if it is known before a run.
    pub(super) fn d_model(&self) -> Option<usize> {
        self.d_model
    }

    /// Returns the repair of the graph, if it needed one.
    pub(crate) fn repair(&self) -> Option<&Repair> {
        self.repair.as_ref()
    }

    /// Returns where the graph's nodes run.
    pub(crate) fn placement(&self) -> &Placement {
        self.graph.placement()
    }

    /// Returns the graph's input size in pixels, if it is fixed.
    pub(crate) fn image_size(&self) -> Option<ImageSize> {
        let spec = self.graph.input(PIXEL_VALUES).ok()?;
        let side = |axis| spec.fixed(axis).and_then(|side| u32::try_from(side).ok());
        Some(ImageSize::new(side(3)?, side(2)?))
    }

    /// Adds the image size to the error of a run: a graph that was traced at one size may fail at others.
    fn with_image_size(&self, error: Error, pixel_values: &ArrayView4<'_, f32>) -> Error {
        let (.., height, width) = pixel_values.dim();
        match error {
            Error::Ort { context, source } if self.image_size().is_none() => Error::Ort {
                context: format!(
                    "{context} on {width}x{height} pixels (resize images to the size that the graph was exported for; if that is \
                     the model's, export the checkpoint again)"
                ),
                source,
            },
            error => error,
        }
    }

    /// Returns the image features, `[batch, image tokens, d_model]`, of pixels, `[batch, 3, height, width]`. `clock` counts the
    /// time within ONNX Runtime.
    pub(crate) fn run(
        &self,
        pixel_values: ArrayView4<'_, f32>,
        cancel: Option<&CancelToken>,
        clock: &Stopwatch,
    ) -> Result<Array3<f32>> {
        let (.., height, width) = pixel_values.dim();
        let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
        let size = ImageSize::new(side(width), side(height));
        if let Some(wanted) = self.image_size().filter(|&wanted| wanted != size) {
            return Err(Error::ImageSize {
                width: size.width,
                height: size.height,
                wanted_width: wanted.width,
                wanted_height: wanted.height,
            });
        }
        let pixels = tensor::float_input(pixel_values, self.graph.float_input(PIXEL_VALUES)?)?;
        let inputs = vec![(PIXEL_VALUES, pixels)];
        let outputs = match cancel {
            Some(cancel) => self.graph.run_until_cancelled(inputs, clock, cancel),
            None => self.graph.run(inputs, clock),
        };
        let mut outputs = outputs.map_err(|error| self.with_image_size(error, &pixel_values))?;
        outputs.take_finite(IMAGE_FEATURES)
    }
}
