//! Parsing of answers: transformers' results, the deviations from them, scores, and text that no model would write.

mod answers;
mod hostile;
mod native;
mod scores;

use florence2::ImageSize;

const SIZE: ImageSize = ImageSize::new(640, 480);
