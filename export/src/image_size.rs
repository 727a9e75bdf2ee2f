//! Sizes in pixels and in tokens.

use crate::config::{ImageFeatureSource, VisionConfig};
use crate::error::{Error, Result};

/// The size of the images that a vision encoder takes, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Florence-2 was trained on images of 768×768.
impl Default for ImageSize {
    fn default() -> Self {
        ImageSize::square(768)
    }
}

impl ImageSize {
    /// As high as wide.
    pub fn square(side: usize) -> Self {
        ImageSize {
            height: side,
            width: side,
        }
    }

    fn error(self, reason: String) -> Error {
        Error::ImageSize {
            height: self.height,
            width: self.width,
            reason,
        }
    }
}

/// Tokens of an image: far beyond what a text encoder has positions for, and still a table that fits in memory.
const LARGEST_GRID: usize = 1 << 16;

/// Tokens of a stage: rows and columns.
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

impl VisionConfig {
    /// The grid after the convolution of `stage`, from what goes into it.
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

    /// The grid of the image features.
    ///
    /// # Errors
    /// [`Error::ImageSize`] if the strides do not divide the size, or it has more tokens along an axis than the
    /// model has positions for.
    pub(crate) fn grid(&self, image: ImageSize) -> Result<Grid> {
        let stride = self.total_stride();
        let fits = |size: usize| size > 0 && size.is_multiple_of(stride) && size <= 1 << 20;
        if !fits(image.height) || !fits(image.width) {
            return Err(image.error(format!(
                "height and width must be multiples of {stride}, the model's stride"
            )));
        }
        let mut grid = Grid {
            height: image.height,
            width: image.width,
        };
        for stage in 0..self.embed_dim.len() {
            let (kernel, padding) = (self.patch_size[stage], self.patch_padding[stage]);
            if grid.height.min(grid.width) + 2 * padding < kernel {
                return Err(image.error(format!(
                    "stage {stage}'s convolution, {kernel} wide, does not fit in it"
                )));
            }
            grid = self.stage_grid(stage, grid);
        }
        let positions = self.max_position_embeddings;
        if grid.height > positions || grid.width > positions {
            return Err(image.error(format!(
                "the model has learned {positions} positions along an axis, for at most {} pixels",
                positions * stride
            )));
        }
        if grid.tokens() > LARGEST_GRID {
            return Err(image.error(format!(
                "{} tokens; at most {LARGEST_GRID} are possible",
                grid.tokens()
            )));
        }
        Ok(grid)
    }

    /// That image features and a prompt's `<s>` and `</s>` fit into the text encoder's positions.
    ///
    /// # Errors
    /// [`Error::ImageSize`] if they do not.
    pub(crate) fn check_positions(&self, image: ImageSize, positions: usize) -> Result<()> {
        let features = self.feature_tokens(self.grid(image)?);
        if features + 2 >= positions {
            return Err(image.error(format!(
                "{features} image tokens leave no room for a prompt among the text encoder's {positions} positions; \
                 take a smaller size"
            )));
        }
        Ok(())
    }

    /// Number of image features for one image.
    pub(crate) fn feature_tokens(&self, grid: Grid) -> usize {
        let tokens = |source: &ImageFeatureSource| match source {
            ImageFeatureSource::SpatialAvgPool => 1,
            ImageFeatureSource::TemporalAvgPool | ImageFeatureSource::LastFrame => grid.tokens(),
        };
        self.image_feature_source.iter().map(tokens).sum()
    }
}
