//! Pixels to image features.

use florence2_layout::graphs::{GraphFile, IMAGE_FEATURES, ModelPart, PIXEL_VALUES};
use ndarray::{Array3, ArrayView4};

use super::checks::TextSizes;
use super::session::Graph;
use super::tensor;
use crate::bundle::Bundle;
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::repair::{Repair, repair};
use crate::runtime::{Placement, SessionOptions};

/// Makes one operator of an addition and the layer normalisation of its result. On the processor it takes several times
/// as long as the two by themselves (seen with ONNX Runtime 1.32: 22 ms instead of 5, for three of them).
const SLOW_OPTIMIZER: &str = "SkipLayerNormFusion";

/// DaViT and the projector.
pub(crate) struct VisionEncoder {
    graph: Graph,
    repair: Option<Repair>,
}

impl VisionEncoder {
    /// Loads the graph, repaired where it needs to be for images of `repair_for`; `None` leaves it as it is.
    pub(crate) fn load(
        bundle: &Bundle,
        options: &SessionOptions,
        repair_for: Option<ImageSize>,
    ) -> Result<Self> {
        let mut options = options.clone();
        if options.devices.of(ModelPart::Vision).is_cpu()? {
            options = options.without_optimizer(SLOW_OPTIMIZER);
        }
        let source = bundle.layout.graph(&bundle.source, GraphFile::VisionEncoder)?;
        let (source, repair) = match repair_for {
            Some(size) => repair(source, size)?,
            None => (source, None),
        };
        if let Some(repair) = &repair {
            let model = bundle.source.name();
            tracing::warn!(model, "{repair}: repaired in memory, the file stays as it is");
        }
        let graph = Graph::load_from(&source, bundle, GraphFile::VisionEncoder, &options)?;
        graph.float_input(PIXEL_VALUES)?;
        graph.float_output(IMAGE_FEATURES)?;
        let d_model = TextSizes::of(bundle).d_model;
        graph.check_size(graph.output(IMAGE_FEATURES)?, 2, d_model, TextSizes::D_MODEL)?;
        Ok(Self { graph, repair })
    }

    /// Returns the repair of the graph, if it needed one.
    pub(crate) fn repair(&self) -> Option<&Repair> {
        self.repair.as_ref()
    }

    /// Where the graph's nodes run.
    pub(crate) fn placement(&self) -> &Placement {
        self.graph.placement()
    }

    /// The only input size that the graph takes, if it is fixed.
    pub(crate) fn image_size(&self) -> Option<ImageSize> {
        let spec = self.graph.input(PIXEL_VALUES).ok()?;
        let side = |axis| spec.fixed(axis).and_then(|side| u32::try_from(side).ok());
        Some(ImageSize::new(side(3)?, side(2)?))
    }

    /// A failed run, with the image size: a graph that was traced at one size may fail at others.
    fn with_image_size(&self, error: Error, pixel_values: &ArrayView4<'_, f32>) -> Error {
        let (.., height, width) = pixel_values.dim();
        match error {
            Error::Ort { context, source } if self.image_size().is_none() => Error::Ort {
                context: format!(
                    "{context} on {width}x{height} pixels (if the graph was exported by tracing another image size, export \
                     the checkpoint again)"
                ),
                source,
            },
            error => error,
        }
    }

    /// `[batch, 3, height, width]` to `[batch, image tokens, d_model]`; adds the time within the runtime to `runtime`.
    pub(crate) fn run(
        &self,
        pixel_values: ArrayView4<'_, f32>,
        cancel: Option<&CancelToken>,
        runtime: &mut f64,
    ) -> Result<Array3<f32>> {
        let pixels = tensor::float_input(pixel_values, self.graph.float_input(PIXEL_VALUES)?)?;
        let inputs = vec![(PIXEL_VALUES, pixels)];
        let outputs = match cancel {
            Some(cancel) => self.graph.run_until_cancelled(inputs, cancel, runtime),
            None => self.graph.run(inputs, runtime),
        };
        let mut outputs = outputs.map_err(|error| self.with_image_size(error, &pixel_values))?;
        let features = outputs.take(IMAGE_FEATURES)?;
        let features: Array3<f32> = tensor::to_f32(&features, self.graph.name(), IMAGE_FEATURES)?;
        self.graph.check_finite(&features, IMAGE_FEATURES)?;
        Ok(features)
    }
}
