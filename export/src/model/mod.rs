//! The model, written down as graphs.

mod bart;
mod davit;
mod projector;

use florence2_layout::graphs::{GraphFile, IMAGE_FEATURES, PIXEL_VALUES};

use crate::calibration::observer;
use crate::checkpoint::Weights;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::image_size::ImageSize;
use crate::lowering::Lowering;
use crate::precisions::Precisions;
use crate::smoothing::{self, Smoothing};
use crate::target::Target;
use bart::DecoderKind;
pub(crate) use bart::{DECODER, ENCODER};
use florence2_layout::onnx::DataType;

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

impl<'a> Recipe<'a> {
    /// The graph `file` without nodes.
    fn graph(&self, file: GraphFile) -> Graph<'a> {
        Graph::new(Lowering {
            operators: self.target.spec().operators,
            precisions: self.precisions.clone(),
            float16_io: self.float16_io,
            few_rows: file == GraphFile::DecoderStep,
            input_factors: self.smoothing.inputs.clone(),
        })
    }
}

/// Builds one graph of the target. Weights are checked, not read.
///
/// # Errors
/// [`Error::NotInTarget`] if the target has no such graph; errors of the configuration and of weights.
pub(crate) fn build<'a>(file: GraphFile, recipe: &Recipe<'a>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    if !recipe.target.graphs().contains(&file) {
        return Err(Error::NotInTarget { graph: file.name() });
    }
    let (config, text) = (recipe.config, &recipe.config.text_config);
    let graph = recipe.graph(file);
    let mut graph = match file {
        GraphFile::VisionEncoder => vision_encoder(graph, recipe, weights),
        GraphFile::EmbedTokens => bart::embed_tokens(graph, text, weights),
        GraphFile::EncoderModel => bart::encoder(graph, text, weights),
        GraphFile::DecoderModel => bart::decoder(graph, config, weights, DecoderKind::First),
        GraphFile::DecoderModelMerged => bart::decoder(graph, config, weights, DecoderKind::Merged),
        GraphFile::DecoderWithPastModel => bart::decoder(graph, config, weights, DecoderKind::WithPast),
        GraphFile::TextEncoder => bart::text_encoder(graph, text, weights),
        GraphFile::DecoderStep => bart::decoder_step(graph, config, weights),
    }?;
    if recipe.observers {
        smoothing::norms(config).for_each(|norm| graph.observe_norm(&norm, &observer(&norm)));
    }
    Ok(graph)
}

/// Pixels to image features: DaViT, then the projection to the text side's width.
fn vision_encoder<'a>(mut graph: Graph<'a>, recipe: &Recipe<'a>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let (vision, image_size) = (&recipe.config.vision_config, recipe.image_size);
    let grid = vision.grid(image_size)?;
    let [height, width] = [image_size.height.into(), image_size.width.into()];
    let dims = [axes::BATCH.into(), vision.in_channels.into(), height, width];
    let pixels = graph.input(PIXEL_VALUES, DataType::Float, &dims);
    let tower = weights.at(VISION_TOWER);
    let tokens = davit::davit(&mut graph, vision, &tower, image_size, &pixels)?;
    let features = projector::projector(&mut graph, vision, &weights.at(PROJECTOR), grid, &tokens)?;
    let tokens = vision.feature_tokens(grid).into();
    let dims = [axes::BATCH.into(), tokens, vision.projection_dim.into()];
    graph.output(IMAGE_FEATURES, &features, &dims);
    Ok(graph)
}
