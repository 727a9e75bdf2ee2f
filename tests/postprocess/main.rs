//! Reading answers: as transformers does, what differs, scores, and text that no model would write.

mod answers;
mod hostile;
mod native;
mod scores;

use florence2::postprocess::{ParseOptions, RawAnswer, parse};
use florence2::{ImageSize, OutputKind, Parsed};

const SIZE: ImageSize = ImageSize::new(640, 480);

fn read(kind: OutputKind, text: &str, strict: bool) -> Parsed {
    parse(
        kind,
        &RawAnswer::from_text(text),
        SIZE,
        &ParseOptions::default().with_strict(strict),
    )
}
