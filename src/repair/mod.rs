//! Repairs of published graphs that do not compute what the model that they were exported from computes.
//!
//! The known fault: channel attention scales its scores by `N ** -0.5`, `N` being the number of tokens of the stage. An
//! export by tracing writes that number into the graph as it was for the traced image. `onnx-community/Florence-2-base-ft`
//! was traced with 224×224 pixels and runs on 768×768: its image features and captions differ from transformers'.
//! [`channel_attention`] finds such scales, whatever the graph's names and dtype, and replaces them by those of the model's
//! own image size.
//!
//! A repaired graph is in memory, without its weights: they stay in the files (or the memory) they are in.

mod channel_attention;
mod constants;
mod deployment;
mod factor;
mod frozen_positions;
mod scores;
mod stage;

use std::fmt;

use florence2_layout::graphs::{GraphFile, PIXEL_VALUES};
use florence2_layout::onnx::{DimensionValue, GraphProto, ModelProto};

pub use self::deployment::repair_deployment;
pub(crate) use self::frozen_positions::check_positions;

use self::channel_attention::FrozenScale;
use crate::bundle::Bundle;
use crate::error::Result;
use crate::geometry::ImageSize;
use crate::preprocess::ImageProcessor;
use crate::runtime::{CheckedGraph, ModelFile};

/// A change to a graph that would have given wrong answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// The repaired graph.
    pub graph: GraphFile,
    /// The number of channel attentions whose scale was changed.
    pub attentions: usize,
    /// The square image size for which the stored scales of the channel attentions are right; `None` if no square size has
    /// them.
    pub frozen_at: Option<ImageSize>,
    /// The model's image size, for which the scales are right after the repair.
    pub image_size: ImageSize,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |size: ImageSize| format!("{}x{} pixels", size.width, size.height);
        let frozen_at = self
            .frozen_at
            .map_or_else(|| "another image size".to_owned(), size);
        write!(
            f,
            "{}: {} channel attentions have the scale of {frozen_at}, frozen when the graph was exported; the model takes {}, \
             for which image features and answers are wrong",
            self.graph.name(),
            self.attentions,
            size(self.image_size),
        )
    }
}

impl Bundle {
    /// Returns the repair that the vision encoder needs and that loading applies
    /// ([`LoadOptions::repair`](crate::LoadOptions::repair)); `None` if the graph needs no repair or cannot be read.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`](crate::Error::InvalidSetting) if the image processor's configuration is invalid.
    pub fn needed_repair(&self) -> Result<Option<Repair>> {
        let (Some(size), Ok(graph)) = (
            self.image_size()?,
            self.layout.graph(&self.source, GraphFile::VisionEncoder),
        ) else {
            return Ok(None);
        };
        let file = ModelFile::read(&graph).ok().flatten();
        Ok(file.and_then(|mut file| repair_model(&mut file.model, size)))
    }

    /// Returns the size of images after preprocessing; `None` if they keep their original size.
    pub(crate) fn image_size(&self) -> Result<Option<ImageSize>> {
        let config = self.preprocessor_config.as_ref();
        let processor = config
            .map(ImageProcessor::from_config)
            .transpose()?
            .unwrap_or_default();
        Ok(processor.crop_size.or(processor.size))
    }
}

/// Returns the vision encoder repaired for images of `size`, and the repair; the given graph if it needs none.
///
/// # Errors
/// As [`CheckedGraph::edited`].
pub(crate) fn repair(graph: CheckedGraph, size: ImageSize) -> Result<(CheckedGraph, Option<Repair>)> {
    graph.edited(|model| repair_model(model, size))
}

/// Returns the graph's input size; `None` if it is not fixed.
fn fixed_size(graph: &GraphProto) -> Option<ImageSize> {
    let is_weight = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let mut inputs = graph.input.iter().filter(|input| !is_weight(&input.name));
    let input = match (inputs.next()?, inputs.next()) {
        (only, None) => only,
        _ => graph.input.iter().find(|input| input.name == PIXEL_VALUES)?,
    };
    let tensor = input.r#type.as_ref()?.tensor_type.as_ref()?;
    let dims = &tensor.shape.as_ref()?.dim;
    let side = |axis: usize| match dims.get(axis)?.value {
        Some(DimensionValue::Size(size)) => u32::try_from(size).ok().filter(|&size| size > 0),
        _ => None,
    };
    Some(ImageSize::new(side(3)?, side(2)?))
}

/// Repairs the graph in place, for its fixed input size or else for `size`. Returns `None` if nothing was changed.
fn repair_model(model: &mut ModelProto, size: ImageSize) -> Option<Repair> {
    let graph = model.graph.as_mut()?;
    let size = fixed_size(graph).unwrap_or(size);
    let frozen = channel_attention::frozen_scales(graph, size);
    let frozen_at = frozen.first().and_then(FrozenScale::frozen_at);
    let attentions = frozen.len();
    frozen.into_iter().for_each(|scale| scale.apply(graph));
    (attentions > 0).then_some(Repair {
        graph: GraphFile::VisionEncoder,
        attentions,
        frozen_at,
        image_size: size,
    })
}
