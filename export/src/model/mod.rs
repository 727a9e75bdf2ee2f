//! The graphs of the model.

mod axes;
mod bart;
mod davit;
mod projector;

use florence2_layout::graphs::{GraphFile, IMAGE_FEATURES, PIXEL_VALUES};
use florence2_layout::image_size::ImageSize;
use florence2_layout::onnx::DataType;

use crate::calibration::observer;
use crate::checkpoint::Weights;
use crate::checkpoint::paths::{PROJECTOR, VISION_TOWER};
use crate::config::{Grid, ModelConfig};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::lowering::Lowering;
use crate::smoothing::{self, Smoothing};
use crate::target::Target;
use crate::weight_dtypes::WeightDtypes;
use bart::DecoderKind;

/// The settings of an export that determine its graphs.
pub(crate) struct Recipe<'r> {
    pub(crate) target: Target,
    pub(crate) config: &'r ModelConfig,
    pub(crate) image_size: ImageSize,
    pub(crate) dtypes: WeightDtypes<'r>,
    pub(crate) smoothing: Smoothing,
    /// Whether norms whose results are inputs of quantized layers are observed.
    pub(crate) observers: bool,
    /// Whether inputs and outputs are 16-bit floats too.
    pub(crate) float16_io: bool,
}

impl<'a> Recipe<'a> {
    /// The graph `file` without nodes.
    fn graph(&self, file: GraphFile) -> Graph<'a> {
        Graph::new(Lowering {
            operators: self.target.spec().operators,
            dtypes: self.dtypes.clone(),
            float16_io: self.float16_io,
            few_rows: file == GraphFile::DecoderStep,
            input_factors: self.smoothing.inputs.clone(),
        })
    }
}

/// Builds one graph of the target. Weights are checked, not read.
///
/// # Errors
/// Errors of the configuration and of weights.
pub(crate) fn build<'a>(file: GraphFile, recipe: &Recipe<'a>, weights: &Weights<'a>) -> Result<Graph<'a>> {
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
        _ => Err(Error::NotInTarget { graph: file.name() }),
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
    let side = Grid::from(image_size);
    let [height, width] = [side.height.into(), side.width.into()];
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
