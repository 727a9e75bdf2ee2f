//! The model, written down as graphs.

mod bart;
mod davit;
mod layers;
mod projector;
mod step;

use florence2_layout::graphs::{GraphFile, IMAGE_FEATURES, PIXEL_VALUES, is_cache};

use crate::calibration::observer;
use crate::checkpoint::Weights;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, Value};
use crate::image_size::{Grid, ImageSize};
use crate::precision;
use crate::precisions::Precisions;
use crate::smoothing::{self, Smoothing};
use crate::target::{Operators, Target};
use bart::DecoderKind;
pub(crate) use bart::{DECODER, ENCODER};
use florence2_layout::onnx::DataType;
pub(crate) use projector::SPATIAL_AVERAGE;

/// Where the weights of the vision encoder's DaViT lie.
pub(crate) const VISION_TOWER: &str = "model.vision_tower";
/// Where those of the projection to the text side's width lie.
const PROJECTOR: &str = "model.multi_modal_projector";

/// Names of free sizes, shared by the graphs.
mod axes {
    pub(super) const BATCH: &str = "batch_size";
    pub(super) const DECODER_SEQUENCE: &str = "decoder_sequence_length";
    pub(super) const ENCODER_SEQUENCE: &str = "encoder_sequence_length";
    pub(super) const PAST_SEQUENCE: &str = "past_decoder_sequence_length";
    pub(super) const TOTAL_SEQUENCE: &str = "total_decoder_sequence_length";
    /// Rows of the encoder's outputs: as many as the decoder's, or one for all of them.
    pub(super) const ENCODER_BATCH: &str = "encoder_batch_size";
    pub(super) const PAST_ENCODER_BATCH: &str = "past_encoder_batch_size";
    pub(super) const PAST_ENCODER_SEQUENCE: &str = "past_encoder_sequence_length";
    pub(super) const PRESENT_ENCODER_BATCH: &str = "present_encoder_batch_size";
    pub(super) const PRESENT_ENCODER_SEQUENCE: &str = "present_encoder_sequence_length";
    /// Tokens of the prompt.
    pub(super) const TEXT_SEQUENCE: &str = "text_sequence_length";
    /// Tokens of the image features.
    pub(super) const IMAGE_SEQUENCE: &str = "image_sequence_length";
    /// Sequences that the decoder step extends.
    pub(super) const ROWS: &str = "rows";
    /// New tokens of each row.
    pub(super) const TOKENS: &str = "tokens";
    /// Images whose answers the rows are.
    pub(super) const IMAGES: &str = "images";
    /// Tokens that a row's self-attention caches have room for.
    pub(super) const CAPACITY: &str = "capacity";
}

/// What is built, beside the weights.
pub(crate) struct Recipe<'r> {
    pub(crate) target: Target,
    pub(crate) config: &'r ModelConfig,
    pub(crate) image_size: ImageSize,
    pub(crate) precisions: Precisions<'r>,
    pub(crate) smoothing: Smoothing,
    /// Whether the norms behind which layers are quantised are observed.
    pub(crate) observers: bool,
    /// Whether inputs and outputs are 16-bit floats too.
    pub(crate) float16_io: bool,
}

impl Recipe<'_> {
    fn operators(&self) -> Operators {
        self.target.spec().operators
    }

    /// The same in 32-bit floats: graphs are finished in these before they are rewritten.
    fn exact(&self) -> Self {
        Recipe {
            precisions: self.precisions.exact(),
            smoothing: self.smoothing.clone(),
            ..*self
        }
    }
}

/// Builds one graph of the target. Weights are checked, not read.
pub(crate) fn build<'a>(file: GraphFile, recipe: &Recipe<'_>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    match recipe.target {
        Target::Plain => {
            let graph = plain(file, recipe, weights)?;
            Ok(precision::rewrite(graph, &recipe.precisions, &|_| {
                recipe.float16_io
            }))
        }
        Target::Cuda => {
            let graph = step::build(file, &recipe.exact(), weights)?;
            // Caches go from graph to graph, and nobody else looks into them.
            Ok(precision::rewrite(graph, &recipe.precisions, &|name| {
                recipe.float16_io || is_cache(name)
            }))
        }
        Target::Cpu => {
            let mut graph = step::build(file, recipe, weights)?;
            if recipe.observers {
                smoothing::norms(recipe.config).for_each(|norm| graph.observe_norm(&norm, &observer(&norm)));
            }
            Ok(graph)
        }
    }
}

fn plain<'a>(file: GraphFile, recipe: &Recipe<'_>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let config = recipe.config;
    match file {
        GraphFile::VisionEncoder => davit_encoder(recipe, weights),
        GraphFile::EmbedTokens => bart::embed_tokens(config, weights),
        GraphFile::EncoderModel => bart::encoder(&config.text_config, weights),
        GraphFile::DecoderModel => bart::decoder(config, weights, DecoderKind::First),
        GraphFile::DecoderModelMerged => bart::decoder(config, weights, DecoderKind::Merged),
        GraphFile::DecoderWithPastModel => bart::decoder(config, weights, DecoderKind::WithPast),
        GraphFile::TextEncoder | GraphFile::DecoderStep => Err(Error::NotInTarget { graph: file.name() }),
    }
}

/// The vision encoder of targets without operators of our own.
fn davit_encoder<'a>(recipe: &Recipe<'_>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let (vision, image_size) = (&recipe.config.vision_config, recipe.image_size);
    vision_encoder(recipe.config, image_size, |graph, grid, pixels| {
        let tower = weights.at(VISION_TOWER);
        let tokens = davit::davit(graph, recipe.operators(), vision, &tower, image_size, pixels)?;
        projector::projector(graph, vision, &weights.at(PROJECTOR), grid, &tokens)
    })
}

/// The vision encoder of any target: `encode` makes image features of pixels, for a grid of as many image tokens.
fn vision_encoder<'a>(
    config: &ModelConfig,
    image_size: ImageSize,
    encode: impl FnOnce(&mut Graph<'a>, Grid, &Value) -> Result<Value>,
) -> Result<Graph<'a>> {
    let vision = &config.vision_config;
    let ImageSize { height, width } = image_size;
    let grid = vision.grid(image_size)?;
    let mut graph = Graph::default();
    let batch = Dim::from(axes::BATCH);
    let dims = [
        batch.clone(),
        vision.in_channels.into(),
        height.into(),
        width.into(),
    ];
    let pixels = graph.input(PIXEL_VALUES, DataType::Float, &dims);
    let features = encode(&mut graph, grid, &pixels)?;
    let dims = [
        batch,
        vision.feature_tokens(grid).into(),
        vision.projection_dim.into(),
    ];
    graph.output(IMAGE_FEATURES, &features, DataType::Float, &dims);
    Ok(graph)
}
