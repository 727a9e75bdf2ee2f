//! Grids of image tokens, from the pixels to the last stage.

use florence2_layout::image_size::ImageSize;

use super::{ImageFeatureSource, VisionConfig};
use crate::error::{Error, Result};

/// Largest side of an image, in pixels.
const LARGEST_SIDE: usize = 1 << 20;
/// The maximum number of tokens of an image: far above the positions of a text encoder, and a position table of this
/// size still fits into memory.
const LARGEST_GRID: usize = 1 << 16;

/// Rows and columns of pixels, or of a stage's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Grid {
    pub(crate) fn tokens(self) -> usize {
        self.height * self.width
    }
}

impl From<ImageSize> for Grid {
    fn from(size: ImageSize) -> Self {
        Grid {
            height: size.height as usize,
            width: size.width as usize,
        }
    }
}

impl VisionConfig {
    /// Returns the grid after the convolution of `stage`, whose input has the grid `input`.
    pub(crate) fn stage_grid(&self, stage: usize, input: Grid) -> Grid {
        let after = |size: usize| {
            (size + 2 * self.patch_padding[stage]).saturating_sub(self.patch_size[stage])
                / self.patch_stride[stage]
                + 1
        };
        Grid {
            height: after(input.height),
            width: after(input.width),
        }
    }

    /// Returns the grid of the last stage's tokens.
    ///
    /// # Errors
    /// [`Error::ImageSize`] if the strides do not divide the size, or the grid has more tokens along an axis than the
    /// model has positions for.
    pub(crate) fn grid(&self, image: ImageSize) -> Result<Grid> {
        let invalid = |reason| Err(Error::ImageSize { size: image, reason });
        let stride = self.total_stride();
        let mut grid = Grid::from(image);
        let fits = |side: usize| (1..=LARGEST_SIDE).contains(&side) && side.is_multiple_of(stride);
        if !fits(grid.height) || !fits(grid.width) {
            return invalid(format!(
                "height and width must be multiples of {stride}, the model's stride"
            ));
        }
        for stage in 0..self.embed_dim.len() {
            let (kernel, padding) = (self.patch_size[stage], self.patch_padding[stage]);
            if grid.height.min(grid.width) + 2 * padding < kernel {
                return invalid(format!(
                    "stage {stage}'s convolution, {kernel} wide, does not fit in it"
                ));
            }
            grid = self.stage_grid(stage, grid);
        }
        let positions = self.max_position_embeddings;
        if grid.height > positions || grid.width > positions {
            return invalid(format!(
                "the model has learned {positions} positions along an axis, for at most {} pixels",
                positions * stride
            ));
        }
        if grid.tokens() > LARGEST_GRID {
            return invalid(format!(
                "{} tokens; at most {LARGEST_GRID} are possible",
                grid.tokens()
            ));
        }
        Ok(grid)
    }

    /// Checks that image features and the `<s>` and `</s>` of a prompt fit into the text encoder's `positions`.
    ///
    /// # Errors
    /// [`Error::ImageSize`] if they do not.
    pub(crate) fn check_positions(&self, image: ImageSize, positions: usize) -> Result<()> {
        let features = self.feature_tokens(self.grid(image)?);
        if features + 2 < positions {
            return Ok(());
        }
        let reason = format!(
            "{features} image tokens leave none of the text encoder's {positions} positions for a prompt; \
             take a smaller size"
        );
        Err(Error::ImageSize { size: image, reason })
    }

    /// Returns the number of image features of one image.
    pub(crate) fn feature_tokens(&self, grid: Grid) -> usize {
        let tokens = |source: &ImageFeatureSource| match source {
            ImageFeatureSource::SpatialAvgPool => 1,
            ImageFeatureSource::TemporalAvgPool | ImageFeatureSource::LastFrame => grid.tokens(),
        };
        self.image_feature_source.iter().map(tokens).sum()
    }
}
