//! Parsing of answers: transformers' results, deviations from them, scores, and text that no model would generate.

mod answers;
mod hostile;
mod native;
mod scores;

use florence2::ImageSize;

const SIZE: ImageSize = ImageSize::new(640, 480);
