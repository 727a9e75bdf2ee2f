//! The vision encoder's stages, by the convolutions that embed patches.

use florence2_layout::onnx::NodeProto;

use super::constants::{Values, attribute, integers};
use crate::geometry::ImageSize;

/// The stage of the vision encoder that a node belongs to.
pub(super) struct Stage {
    /// The number of tokens along each axis; `None` if it is unknown.
    grid: Option<[u64; 2]>,
    pixels_per_token: u64,
    /// Whether there was a patch embedding.
    is_entered: bool,
}

impl Stage {
    pub(super) fn of(size: ImageSize) -> Self {
        Self {
            grid: Some([size.height.into(), size.width.into()]),
            pixels_per_token: 1,
            is_entered: false,
        }
    }

    /// Updates the stage after a convolution. One that embeds patches begins a stage; a depthwise one keeps the grid.
    pub(super) fn enter(&mut self, node: &NodeProto, values: &Values<'_>) {
        let group = attribute(node, "group").and_then(|group| group.i).unwrap_or(1);
        if group != 1 {
            return;
        }
        self.is_entered = true;
        self.grid = self.grid.and_then(|grid| output_grid(node, values, grid));
        let stride = integers(node, "strides").first().copied().unwrap_or(1);
        let stride = u64::try_from(stride).unwrap_or(1);
        self.pixels_per_token = self.pixels_per_token.saturating_mul(stride);
    }

    /// Returns the number of pixels per token along each axis.
    pub(super) fn pixels_per_token(&self) -> u64 {
        self.pixels_per_token
    }

    /// Returns the number of tokens; `None` before the first patch embedding, and if it is unknown.
    pub(super) fn tokens(&self) -> Option<u64> {
        let [height, width] = self.grid.filter(|_| self.is_entered)?;
        height.checked_mul(width).filter(|&tokens| tokens > 0)
    }
}

/// Returns the size of a convolution's output for `grid`; `None` if it is unknown.
fn output_grid(node: &NodeProto, values: &Values<'_>, grid: [u64; 2]) -> Option<[u64; 2]> {
    let kernel = match integers(node, "kernel_shape") {
        [] => values.tensor(node.input.get(1)?)?.dims.get(2..)?,
        kernel => kernel,
    };
    let (strides, pads) = (integers(node, "strides"), integers(node, "pads"));
    let side = |axis: usize| {
        let pad = |index: usize| pads.get(index).copied().unwrap_or(0);
        let padded = i64::try_from(grid[axis])
            .ok()?
            .checked_add(pad(axis))?
            .checked_add(pad(axis + 2))?;
        let steps = padded
            .checked_sub(*kernel.get(axis)?)?
            .checked_div(*strides.get(axis).unwrap_or(&1))?;
        u64::try_from(steps.checked_add(1)?).ok()
    };
    Some([side(0)?, side(1)?])
}
