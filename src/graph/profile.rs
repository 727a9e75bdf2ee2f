//! Shape profiles: for which sizes of its inputs a provider that builds engines (TensorRT) is to build a graph's, once.
//!
//! Without a profile TensorRT builds an engine for the sizes of the first run, and another, which takes minutes, whenever
//! an input is smaller or larger than all before. With one, it builds the engine at loading, finds it in its cache the next
//! time, and refuses other sizes: hence the [limits](ShapeLimits) are generous.
//!
//! ONNX Runtime's provider wants a range for each input that has an axis of free size, and for no other: with a name more
//! than it meets, it takes its cache for that of another profile and builds anew at each loading. It also wants ranges for
//! what runs between the parts of a graph of which TensorRT takes only parts; those have names of the graph's own, so
//! that such a graph is [loaded without](load_with_profile). `decoder_model_merged` has no profile either: its runs are of
//! two kinds, and the caches that it takes in the first have no tokens; whether TensorRT takes its `If` at all depends on
//! the version (up to 10.6, both branches had to give the same shapes). Where `decoder_model` and
//! `decoder_with_past_model` are beside it, the decoder is [those two](super::plain) on such a device.
//!
//! All this is by the provider's documentation and source, and the ranges by what the engine can ask for: none of it has run
//! on TensorRT yet.

use std::fmt;

use florence2_layout::axes::{Axis, input_axes};
use florence2_layout::graphs::GraphFile;

use super::checks::TextSizes;
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::preprocess::ImageProcessor;
use crate::runtime::{
    DeviceKind, Devices, Dimension, GraphSignature, GraphSource, ProviderOption, SessionOptions,
};

/// The sizes that an axis can have, and the one for which the engine is to be fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    min: usize,
    usual: usize,
    max: usize,
}

impl Range {
    fn only(size: usize) -> Self {
        Self::to(size, size, size)
    }

    /// `usual` is cut down to `max`.
    fn to(min: usize, usual: usize, max: usize) -> Self {
        let usual = usual.min(max);
        Self { min, usual, max }
    }
}

/// Inputs in a batch, as many as [`RunOptions::max_batch`](crate::RunOptions::max_batch) has by default.
const MAX_INPUTS: usize = 8;
/// Rows of a step: the inputs of a batch by 4 beams, or fewer inputs by more.
const MAX_ROWS: usize = 32;
/// The beams that checkpoints ask for, of one input.
const USUAL_ROWS: usize = 3;
/// Tokens of an image and its prompt, where the model has positions for more: the engine keeps memory for the most.
const MAX_TOKENS: usize = 1024;
/// The tokens of an image of 768×768 pixels, and a task's sentence of 12.
const USUAL_ENCODER_TOKENS: usize = 577 + 12;
/// The decoder's start token, and the one that is forced to follow.
const USUAL_FIRST_TOKENS: usize = 2;
/// Half of a caption.
const USUAL_PAST_TOKENS: usize = 16;
/// Positions of the published models, where `config.json` does not say.
const MAX_POSITIONS: usize = 1024;

/// What the ranges depend on.
#[derive(Debug, Clone, Copy)]
struct ShapeLimits {
    /// Of the pixels that the vision encoder gets.
    image: Option<ImageSize>,
    /// The most tokens that encoder and decoder have positions for.
    positions: usize,
}

impl ShapeLimits {
    fn of(bundle: &Bundle) -> Self {
        let processor = match &bundle.preprocessor_config {
            // What is wrong with it, loading says.
            Some(config) => ImageProcessor::from_config(config).ok(),
            None => Some(ImageProcessor::default()),
        };
        Self {
            image: processor.and_then(|processor| processor.crop_size.or(processor.size)),
            positions: TextSizes::of(bundle).max_positions.unwrap_or(MAX_POSITIONS),
        }
    }

    /// The sizes of an axis that a graph leaves free; `None` if they are not known.
    fn range(self, axis: Axis) -> Option<Range> {
        let tokens = self.positions.min(MAX_TOKENS);
        let pixels = |side: fn(ImageSize) -> u32| usize::try_from(side(self.image?)).ok();
        Some(match axis {
            Axis::Images => Range::only(1),
            Axis::Height => Range::only(pixels(|image| image.height)?),
            Axis::Width => Range::only(pixels(|image| image.width)?),
            Axis::Inputs => Range::to(1, 1, MAX_INPUTS),
            Axis::Rows => Range::to(1, USUAL_ROWS, MAX_ROWS),
            Axis::Tokens => Range::to(1, 1, tokens),
            Axis::EncoderTokens => Range::to(1, USUAL_ENCODER_TOKENS, tokens),
            Axis::FirstTokens => Range::to(1, USUAL_FIRST_TOKENS, tokens),
            Axis::NextTokens => Range::only(1),
            Axis::PastTokens => Range::to(1, USUAL_PAST_TOKENS, self.positions),
            Axis::Model => return None,
        })
    }
}

/// The shapes for which a graph is built, each as the provider reads it: `input_ids:1x12,attention_mask:1x589`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShapeProfile {
    kind: DeviceKind,
    /// The names of the provider's options for the smallest, the usual and the largest shapes.
    options: [&'static str; 3],
    /// Their values.
    shapes: [String; 3],
}

impl ShapeProfile {
    /// The profile with which a graph is to be loaded; `None` if none of the devices wants one, the user has given one,
    /// or the graph has no inputs of free size, or such whose sizes are not known.
    pub(super) fn of(
        graph: &GraphSource,
        file: GraphFile,
        bundle: &Bundle,
        options: &SessionOptions,
    ) -> Result<Option<Self>> {
        let Some((kind, names)) = wanting(&options.devices.for_all())? else {
            return Ok(None);
        };
        let is_given = |option: &ProviderOption| option.kind() == kind && names.contains(&option.name());
        if options.provider_options.iter().any(is_given) {
            return Ok(None);
        }
        // What is wrong with the graph, loading says.
        let signature = GraphSignature::read(graph).ok();
        let shapes = signature.and_then(|signature| shapes(&signature, file, ShapeLimits::of(bundle)));
        if shapes.is_none() {
            tracing::info!(
                graph = file.name(),
                "{kind} builds this graph for the sizes that it meets, and again for larger and smaller ones"
            );
        }
        Ok(shapes.map(|shapes| Self {
            kind,
            options: names,
            shapes,
        }))
    }

    fn provider_options(&self) -> Result<Vec<ProviderOption>> {
        let options = self.options.iter().zip(&self.shapes);
        options
            .map(|(&name, shapes)| ProviderOption::new(self.kind, name, shapes))
            .collect()
    }
}

/// What to know when a run fails.
impl fmt::Display for ShapeProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, largest] = &self.shapes;
        let ([smallest_option, ..], kind) = (self.options, self.kind);
        write!(
            f,
            "{kind} takes inputs up to {largest}; for larger ones lower the batch or the beams, or give \
             {kind}.{smallest_option} and its like, or {kind}.{smallest_option}=none to have it built for what it meets"
        )
    }
}

/// The first of the devices that can be given shapes, and its options for them.
fn wanting(devices: &Devices) -> Result<Option<(DeviceKind, [&'static str; 3])>> {
    let devices = devices.resolve()?;
    let mut kinds = devices.into_iter().map(|device| device.kind());
    Ok(kinds.find_map(|kind| Some((kind, kind.spec().shapes?))))
}

/// Whether one of the devices can be given shapes.
pub(super) fn wants_profiles(devices: &Devices) -> Result<bool> {
    Ok(wanting(devices)?.is_some())
}

/// The smallest, the usual and the largest shapes of the inputs that have an axis of free size; `None` if there is no such
/// input, or the sizes of one are not known.
fn shapes(signature: &GraphSignature, file: GraphFile, limits: ShapeLimits) -> Option<[String; 3]> {
    let is_free = |dimension: &Dimension| !matches!(dimension, Dimension::Fixed(_));
    let mut inputs = Vec::new();
    for input in &signature.inputs {
        if !input.dims.iter().any(is_free) {
            continue;
        }
        let axes = input_axes(file, &input.name).filter(|axes| axes.len() == input.dims.len())?;
        let dimensions = input.dims.iter().zip(axes);
        let ranges: Option<Vec<Range>> = dimensions
            .map(|(dimension, &axis)| match dimension {
                Dimension::Fixed(size) => Some(Range::only(*size)),
                _ => limits.range(axis),
            })
            .collect();
        inputs.push((input.name.as_str(), ranges?));
    }
    let written = |size: fn(&Range) -> usize| {
        let shapes = inputs.iter().map(|(name, ranges)| {
            let sizes: Vec<String> = ranges.iter().map(|range| size(range).to_string()).collect();
            format!("{name}:{}", sizes.join("x"))
        });
        shapes.collect::<Vec<_>>().join(",")
    };
    let shapes = [
        written(|range| range.min),
        written(|range| range.usual),
        written(|range| range.max),
    ];
    (!inputs.is_empty()).then_some(shapes)
}

/// Loads a graph with a profile; where that fails, without. (TensorRT may not take all of the graph, so that its parts have
/// inputs that the profile does not name, or the device may not have the memory for the largest shapes.) The profile is
/// given back if it is in force.
pub(super) fn load_with_profile<T>(
    graph: &str,
    profile: Option<ShapeProfile>,
    options: &SessionOptions,
    load: impl Fn(&SessionOptions) -> Result<T>,
) -> Result<(T, Option<ShapeProfile>)> {
    let Some(profile) = profile else {
        return Ok((load(options)?, None));
    };
    let mut with_profile = options.clone();
    with_profile.provider_options.extend(profile.provider_options()?);
    match load(&with_profile) {
        Err(error @ Error::Ort { .. }) => {
            let loaded = load(options)?;
            tracing::warn!(
                graph,
                "{} builds this graph for the sizes that it meets, and again for larger and smaller ones; for the largest \
                 that there can be, it failed: {error}",
                profile.kind
            );
            Ok((loaded, None))
        }
        loaded => Ok((loaded?, Some(profile))),
    }
}

#[cfg(test)]
mod tests;
