//! Channel attentions whose scale is frozen at another image size than the model's.
//!
//! An attention is found by its `Softmax` and the product of query and key before it. It is one among channels if the
//! product sums over tokens: if the axis that it sums over is not the last one, a head's features, of the `Reshape` that
//! splits the projection into heads. Its scale is the product of all constant factors on query, key and scores; a factor
//! that is computed from the input's shape is right at every size, and its attention is left alone.

use florence2_layout::onnx::GraphProto;

use super::constants::Values;
use super::factor::Factor;
use super::scores::Scores;
use super::stage::Stage;
use crate::geometry::ImageSize;

/// Scales may differ by this factor from the right one: 16-bit floats round by a twentieth of it.
const TOLERANCE: f64 = 0.01;

/// A frozen scale and its location in the graph.
#[derive(Debug)]
pub(super) struct FrozenScale {
    factors: Vec<Factor>,
    /// The scale that the graph has.
    found: f64,
    /// The scale that it should have.
    wanted: f64,
    /// Pixels for a token of the attention's stage, along each axis.
    pixels_per_token: u64,
}

/// The scales in a vision encoder that are frozen at another image size than `size`, in the graph's order.
pub(super) fn frozen_scales(graph: &GraphProto, size: ImageSize) -> Vec<FrozenScale> {
    let values = Values::of(graph);
    let mut stage = Stage::of(size);
    let mut frozen = Vec::new();
    for (index, node) in graph.node.iter().enumerate() {
        if node.op_type.contains("Conv") {
            stage.enter(node, &values);
        } else if let Some(factors) = Scores::of(index, node, &values).and_then(Scores::channel_factors)
            && let Some(tokens) = stage.tokens()
        {
            let found = factors.iter().map(Factor::value).product();
            let wanted = (tokens as f64).powf(-0.5);
            let is_frozen = !factors.is_empty() && found > 0.0 && f64::abs(found / wanted - 1.0) > TOLERANCE;
            frozen.extend(is_frozen.then_some(FrozenScale {
                factors,
                found,
                wanted,
                pixels_per_token: stage.pixels_per_token(),
            }));
        }
    }
    frozen
}

impl FrozenScale {
    /// The size of the image that the scale is right for, if it is square.
    pub(super) fn frozen_at(&self) -> Option<ImageSize> {
        let side = self.found.recip();
        let tokens = side.round();
        let is_whole = (side - tokens).abs() < TOLERANCE * side;
        let pixels = (tokens as u64).checked_mul(self.pixels_per_token)?;
        let pixels = u32::try_from(pixels).ok().filter(|_| is_whole)?;
        Some(ImageSize::new(pixels, pixels))
    }

    /// Replaces the factors so that their product is `wanted`.
    pub(super) fn apply(self, graph: &mut GraphProto) {
        let share = (self.wanted / self.found).powf((self.factors.len() as f64).recip());
        self.factors
            .into_iter()
            .for_each(|factor| factor.multiply(share, graph));
    }
}

#[cfg(test)]
mod tests;
