//! The size of an image.

use serde::{Deserialize, Serialize};

/// An image's size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageSize {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl ImageSize {
    /// The size of the images that the published models were trained on.
    pub const PUBLISHED: ImageSize = ImageSize::new(768, 768);

    /// Returns a size of `width` × `height` pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }
}
