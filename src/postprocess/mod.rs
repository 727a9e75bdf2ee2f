//! Parsing of an answer's text into typed results.
//!
//! [`parse`] follows the `Florence2PostProcessor` and `Florence2Processor.post_process_generation` of
//! transformers 5.24.0 (`models/florence2/processing_florence2.py`), called "native" below. It never fails: text that
//! does not parse is ignored. `tests/reference/make_postprocess.py` makes the corpus of native results for its tests.
//!
//! # Deviations
//!
//! [`ParseOptions::strict`] switches off the first five.
//!
//! 1. *Coordinates keep their fraction.* A bin's centre is `(k + 0.5) · size / 1000` pixels; native truncates it to an
//!    integer, which loses up to a pixel. Truncated, both are equal: the arithmetic is the same, in f32.
//! 2. *Labels keep non-ASCII characters.* Native drops them from the labels of boxes, which garbles most languages.
//! 3. *No label or text contains `<s>`, `</s>` or `<pad>`.* Native leaves `<pad>` in plain text, and tokens that
//!    form when another is removed (`<<s>s>`).
//! 4. *OCR text may contain newlines.* Native drops all but the last line before a region.
//! 5. *[`ParseOptions::ocr_area_threshold`] compares the quadrilateral's area.* Native's formula omits the
//!    edge from the last corner to the first, so its result depends on the quadrilateral's position. Neither has a
//!    threshold by default.
//! 6. *Numbers saturate* (in `strict` mode too): native raises an exception if a `<loc_…>` does not fit 64 bits or has
//!    more than 4300 digits, and its cast of a coordinate to 32 bits is undefined if it does not fit. Location tokens
//!    have at most three digits; only text that spells one out has more.
//! 7. *Every instance can have a score*, see below: native lacks Microsoft's computation, and has only the key
//!    (`scores`) in its result.
//!
//! Native's other peculiarities are kept: bins of 1000 and more, inverted boxes, an outline without points (from a single
//! location), surplus locations before an OCR text, and a label with a newline, which discards its boxes.
//!
//! # Scores
//!
//! An instance's score is the geometric mean of its location tokens' probabilities, `exp(mean(log p))`, between
//! 0 and 1. For boxes this is `avg_loc_scores` of Microsoft's original `processing_florence2.py`, which takes
//! `transition_beam_score`: the mean over every token that overlaps the box's four locations. The original
//! scores nothing else; here the other kinds get the same over *their* locations: a grounding's four, an OCR
//! region's eight, all of an outline's.

mod boxes;
mod location;
mod ocr;
mod options;
mod polygons;
mod score;
mod text;

pub use options::{BANNED_GROUNDING_TOKENS, ParseOptions};
pub use score::TokenSpan;

use crate::geometry::ImageSize;
use crate::output::Parsed;
use crate::task::OutputKind;
use score::Scores;
use text::Cleaned;

/// A generated answer before parsing.
#[derive(Debug, Clone, Copy)]
pub struct RawAnswer<'a> {
    /// The text, special tokens kept.
    pub text: &'a str,
    /// The generated tokens, in order. Without them (`None`), instances have no score.
    pub tokens: Option<&'a [TokenSpan]>,
}

impl<'a> RawAnswer<'a> {
    /// Creates an answer without tokens.
    pub const fn from_text(text: &'a str) -> Self {
        Self { text, tokens: None }
    }
}

/// The input of the parsers.
struct Answer<'a> {
    /// The text without `<s>`, `</s>` and `<pad>`.
    text: &'a str,
    scores: Option<Scores>,
    size: ImageSize,
    options: &'a ParseOptions,
}

/// Parses `answer` as `kind`, with coordinates in pixels of an image of `size`.
///
/// ```
/// use florence2::postprocess::{ParseOptions, RawAnswer, parse};
/// use florence2::{ImageSize, OutputKind, Parsed};
///
/// let answer = RawAnswer::from_text("</s><s>car<loc_100><loc_200><loc_500><loc_750></s>");
/// let parsed = parse(
///     OutputKind::DescriptionWithBboxes,
///     &answer,
///     ImageSize::new(1000, 500),
///     &ParseOptions::default(),
/// );
/// let Parsed::Detections(detections) = parsed else { unreachable!() };
/// assert_eq!(detections[0].label, "car");
/// assert_eq!(detections[0].bbox.to_array(), [100.5, 100.25, 500.5, 375.25]);
/// ```
pub fn parse(kind: OutputKind, answer: &RawAnswer<'_>, size: ImageSize, options: &ParseOptions) -> Parsed {
    let cleaned = if options.strict {
        Cleaned::once(answer.text)
    } else {
        Cleaned::fully(answer.text)
    };
    let cleaned_answer = Answer {
        text: &cleaned.text,
        scores: answer.tokens.map(|tokens| Scores::new(tokens, &cleaned)),
        size,
        options,
    };
    match kind {
        OutputKind::PureText => Parsed::Text(text::plain(answer.text, options.strict)),
        OutputKind::Ocr => Parsed::OcrRegions(ocr::regions(&cleaned_answer)),
        OutputKind::DescriptionWithBboxes => Parsed::Detections(boxes::labelled(&cleaned_answer)),
        OutputKind::PhraseGrounding => Parsed::Detections(boxes::grounded(&cleaned_answer)),
        OutputKind::Bboxes => Parsed::Detections(boxes::unlabelled(&cleaned_answer)),
        OutputKind::Polygons => Parsed::Segmentations(polygons::unlabelled(&cleaned_answer)),
        // Native searches the text before special tokens are removed.
        OutputKind::DescriptionWithBboxesOrPolygons if answer.text.contains("<poly>") => {
            Parsed::OpenVocabulary {
                detections: Vec::new(),
                segmentations: polygons::labelled(&cleaned_answer),
            }
        }
        OutputKind::DescriptionWithBboxesOrPolygons => Parsed::OpenVocabulary {
            detections: boxes::labelled(&cleaned_answer),
            segmentations: Vec::new(),
        },
    }
}
