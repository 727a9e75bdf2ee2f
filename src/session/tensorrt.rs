//! Shape profiles of TensorRT: the ranges of input shapes that an engine is built for, once.
//!
//! Without a profile TensorRT builds an engine for the shapes of the first run, and another, which takes minutes, whenever
//! an input is smaller or larger than all before. With one, it builds the engine at loading, finds it in its cache the next
//! time, and rejects other shapes: hence the [limits](ShapeLimits) are generous.
//!
//! ONNX Runtime's provider wants a range for each input that has a free axis, and for no other: with an unknown name,
//! it considers its cached engine to be of another profile and rebuilds it at each loading. It also wants ranges for
//! the tensors between the parts of a graph that TensorRT supports in part; the names of those tensors are not known
//! here, so such a graph is [loaded without a profile](load_with_profile). `decoder_model_merged` has no profile
//! either: in its first step, the caches have no tokens, and whether TensorRT supports its `If` depends on the
//! version (up to 10.6, both branches had to return the same shapes). If `decoder_model` and
//! `decoder_with_past_model` exist, they are used on TensorRT instead.
//!
//! Written by the provider's documentation and source; untested on hardware.

use std::fmt;

use florence2_layout::graphs::{
    ATTENTION_MASK, Attention, ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, GraphFile, INPUT_IDS,
    INPUTS_EMBEDS, PIXEL_VALUES, attention_of_past,
};

use super::checks::TextSizes;
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::preprocess::ImageProcessor;
use crate::runtime::{
    CheckedGraph, DeviceKind, Devices, Dimension, GraphSignature, ProviderOption, SessionOptions, TensorSpec,
};

/// The smallest size of an axis, the size that the engine is optimised for, and the largest size.
type Range = [usize; 3];

/// Inputs of a batch: the default of [`RunOptions::max_batch`](crate::RunOptions::max_batch).
const MAX_INPUTS: usize = 8;
/// Rows of a step: the inputs of a batch by 4 beams, or fewer inputs by more.
const MAX_ROWS: usize = 32;
/// The beams of one input that checkpoints ask for.
const USUAL_ROWS: usize = 3;
/// Tokens of an image and its prompt, where the model has positions for more: the engine keeps memory for the most.
const MAX_TOKENS: usize = 1024;
/// The tokens of an image of 768×768 pixels, and a task's sentence of 12.
const USUAL_ENCODER_TOKENS: usize = 577 + 12;
/// The decoder's start token and the forced first token.
const USUAL_FIRST_TOKENS: usize = 2;
/// Half of a caption.
const USUAL_PAST_TOKENS: usize = 16;
/// Positions of the published models, if `config.json` has none.
const MAX_POSITIONS: usize = 1024;

/// The sizes that the ranges depend on.
#[derive(Debug, Clone, Copy)]
struct ShapeLimits {
    /// Height and width of the vision encoder's input, in pixels.
    image: Option<ImageSize>,
    /// The maximum number of tokens that encoder and decoder have positions for.
    positions: usize,
}

impl ShapeLimits {
    fn of(bundle: &Bundle) -> Self {
        let processor = match &bundle.preprocessor_config {
            // An invalid one is an error of loading.
            Some(config) => ImageProcessor::from_config(config).ok(),
            None => Some(ImageProcessor::default()),
        };
        Self {
            image: processor.and_then(|processor| processor.crop_size.or(processor.size)),
            positions: TextSizes::of(bundle).max_positions.unwrap_or(MAX_POSITIONS),
        }
    }

    /// Returns the range of a free axis of a graph's input; `None` if it is not known.
    fn range(self, file: GraphFile, input: &TensorSpec, axis: usize) -> Option<Range> {
        use GraphFile::{DecoderModel, DecoderWithPastModel, EmbedTokens, EncoderModel, VisionEncoder};
        let (name, axes) = (input.name.as_str(), input.dims.len());
        let past = attention_of_past(name).filter(|_| axes == 4);
        let is_encoder_side = matches!(
            (name, axes),
            (ATTENTION_MASK | ENCODER_ATTENTION_MASK, 2) | (ENCODER_HIDDEN_STATES, 3)
        );
        let is_embeds = (name, axes) == (INPUTS_EMBEDS, 3);
        let most = self.positions.min(MAX_TOKENS);
        let tokens = |usual: usize| [1, usual.min(most), most];
        let pixels = |side: u32| usize::try_from(side).ok().map(|side| [side; 3]);
        Some(match (file, axis) {
            (VisionEncoder, 0) if (name, axes) == (PIXEL_VALUES, 4) => [1; 3],
            (VisionEncoder, 2) if (name, axes) == (PIXEL_VALUES, 4) => pixels(self.image?.height)?,
            (VisionEncoder, 3) if (name, axes) == (PIXEL_VALUES, 4) => pixels(self.image?.width)?,
            (EmbedTokens, 0) if (name, axes) == (INPUT_IDS, 2) => [1, USUAL_ROWS, MAX_ROWS],
            (EmbedTokens, 1) if (name, axes) == (INPUT_IDS, 2) => tokens(1),
            (EncoderModel | DecoderModel, 0) if is_embeds || is_encoder_side => [1, 1, MAX_INPUTS],
            (EncoderModel, 1) if is_embeds || is_encoder_side => tokens(USUAL_ENCODER_TOKENS),
            (DecoderModel, 1) if is_embeds => tokens(USUAL_FIRST_TOKENS),
            (DecoderWithPastModel, 0) if is_embeds || is_encoder_side || past.is_some() => {
                [1, USUAL_ROWS, MAX_ROWS]
            }
            (DecoderWithPastModel, 1) if is_embeds => [1; 3],
            (DecoderModel | DecoderWithPastModel, 1) if is_encoder_side => tokens(USUAL_ENCODER_TOKENS),
            (DecoderWithPastModel, 2) => match past? {
                Attention::Encoder => tokens(USUAL_ENCODER_TOKENS),
                Attention::Decoder => [1, USUAL_PAST_TOKENS.min(self.positions), self.positions],
            },
            _ => return None,
        })
    }
}

/// The shapes that a graph is built for, in the provider's syntax: `input_ids:1x12,attention_mask:1x589`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShapeProfile {
    kind: DeviceKind,
    /// The provider's options for the smallest, the usual and the largest shapes.
    options: [&'static str; 3],
    /// The options' values.
    shapes: [String; 3],
}

impl ShapeProfile {
    /// Returns the profile to load a graph with; `None` if no device takes one, the user has given one, the graph has no
    /// free axis, or the range of one is not known.
    pub(super) fn of(
        graph: &CheckedGraph,
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
        // A malformed graph is an error of loading.
        let signature = GraphSignature::read(graph).ok();
        let shapes = signature.and_then(|signature| shapes(&signature, file, ShapeLimits::of(bundle)));
        if shapes.is_none() {
            tracing::info!(
                graph = file.name(),
                "{kind} builds an engine for the input shapes of the first run, and again for larger and smaller ones"
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

/// A hint for a failed run.
impl fmt::Display for ShapeProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, largest] = &self.shapes;
        let ([smallest_option, ..], kind) = (self.options, self.kind);
        write!(
            f,
            "{kind} takes inputs up to {largest}; for larger ones lower the batch or the beams, or set \
             {kind}.{smallest_option} and the related options, or {kind}.{smallest_option}=none to build by the inputs' shapes"
        )
    }
}

/// Returns the first of the devices that takes shape profiles, and its options for them.
fn wanting(devices: &Devices) -> Result<Option<(DeviceKind, [&'static str; 3])>> {
    let devices = devices.resolve()?;
    let mut kinds = devices.into_iter().map(|device| device.kind());
    Ok(kinds.find_map(|kind| Some((kind, kind.spec().shapes?))))
}

/// Returns whether one of the devices takes shape profiles.
pub(crate) fn takes_profiles(devices: &Devices) -> Result<bool> {
    Ok(wanting(devices)?.is_some())
}

/// Returns the smallest, the usual and the largest shapes of the inputs that have a free axis; `None` if there is no such
/// input, or the range of one is not known.
fn shapes(signature: &GraphSignature, file: GraphFile, limits: ShapeLimits) -> Option<[String; 3]> {
    let is_free = |dimension: &Dimension| !matches!(dimension, Dimension::Fixed(_));
    let mut inputs: Vec<(&str, Vec<Range>)> = Vec::new();
    for input in &signature.inputs {
        if input.dims.iter().any(is_free) {
            let ranges = input
                .dims
                .iter()
                .enumerate()
                .map(|(axis, dimension)| match dimension {
                    Dimension::Fixed(size) => Some([*size; 3]),
                    _ => limits.range(file, input, axis),
                });
            inputs.push((&input.name, ranges.collect::<Option<_>>()?));
        }
    }
    let shapes = [0, 1, 2].map(|bound| {
        let shapes = inputs.iter().map(|(name, ranges)| {
            let sizes: Vec<String> = ranges.iter().map(|range| range[bound].to_string()).collect();
            format!("{name}:{}", sizes.join("x"))
        });
        shapes.collect::<Vec<_>>().join(",")
    });
    (!inputs.is_empty()).then_some(shapes)
}

/// Loads a graph with a profile; if that fails, without. (TensorRT may support the graph in part, so that its parts have
/// inputs that the profile does not name, or the device may lack the memory for the largest shapes.) Returns the profile if
/// it is in force.
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
                error = &error as &dyn std::error::Error,
                "{} builds an engine for the input shapes of the first run, and again for larger and smaller ones, because \
                 it failed with a shape profile",
                profile.kind
            );
            Ok((loaded, None))
        }
        loaded => Ok((loaded?, Some(profile))),
    }
}

#[cfg(test)]
mod tests;
