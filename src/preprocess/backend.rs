//! The image libraries whose arithmetic is reproduced.

use super::filter::PILLOW_PRECISION_BITS;

/// The image library whose arithmetic prepares images. transformers has an image processor for each of the two, and they
/// differ in the last bits: in a photo, about 1 % of the resized 8-bit values differ by 1 or 2 levels, which sometimes
/// changes an answer.
///
/// The results are bit-equal to those of the versions below on x86-64 with AVX2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ImageBackend {
    /// Pillow 13.0: `CLIPImageProcessorPil` of transformers, which `AutoProcessor.from_pretrained(.., backend="pil")`
    /// loads, and plain `AutoProcessor.from_pretrained(..)` where torchvision is not installed.
    ///
    /// Pillow 12 differs by up to 2 levels for images whose height shrinks by more than twice as many pixels as their
    /// width (mostly portraits).
    #[default]
    Pillow,
    /// torchvision 0.29 with torch 2.15, on 8-bit values and a CPU: `CLIPImageProcessor` of transformers, which
    /// `AutoProcessor.from_pretrained(..)` loads where torchvision is installed.
    ///
    /// It supports the filters [`Nearest`](super::Resample::Nearest), [`Lanczos`](super::Resample::Lanczos),
    /// [`Bilinear`](super::Resample::Bilinear) and [`Bicubic`](super::Resample::Bicubic).
    Torchvision,
}

impl ImageBackend {
    /// Returns whether the vertical pass of a resize comes before the horizontal one.
    pub(super) fn vertical_first(self, from: (u32, u32), to: (u32, u32)) -> bool {
        let shrinks_by = |from: u32, to: u32| u64::from(from.saturating_sub(to));
        match self {
            Self::Pillow => shrinks_by(from.1, to.1) > 2 * shrinks_by(from.0, to.0),
            Self::Torchvision => false,
        }
    }

    /// Returns the number of fractional bits of an axis's fixed-point weights; `largest` is the largest weight.
    pub(super) fn precision_bits(self, largest: f64) -> u32 {
        let fits_16_bits =
            |bits: &u32| largest * f64::from(1_u32 << bits) + 0.5 < f64::from(1_u32 << (i16::BITS - 1));
        match self {
            Self::Pillow => PILLOW_PRECISION_BITS,
            Self::Torchvision => (1..=PILLOW_PRECISION_BITS).rev().find(fits_16_bits).unwrap_or(1),
        }
    }
}
