//! Florence-2's added tokens.
//!
//! Microsoft's processor appends them to BART's vocabulary in this order; in the published checkpoints they are ids 50265 to
//! 51288. Ids are always read from a checkpoint's tokenizer.

/// Number of location bins along each axis: `<loc_0>` to `<loc_999>`.
pub const LOCATION_BINS: u32 = 1000;

/// `<s>`: start of the prompt, and the first generated token.
pub const BOS: &str = "<s>";
/// `</s>`: end of the prompt and of the answer; the decoder's start token.
pub const EOS: &str = "</s>";
/// `<pad>`: padding.
pub const PAD: &str = "<pad>";
/// `<unk>`: unknown token.
pub const UNK: &str = "<unk>";
/// `<mask>`: masked token of BART's training.
pub const MASK: &str = "<mask>";
/// `<image>`: transformers' placeholder for one image token, which its tokenizers add after the others.
pub const IMAGE: &str = "<image>";
/// Separates the polygons of one instance.
pub const POLYGON_SEPARATOR: &str = "<sep>";
/// Starts the polygons of one instance.
pub const POLYGON_START: &str = "<poly>";
/// Ends the polygons of one instance.
pub const POLYGON_END: &str = "</poly>";

/// Tokens added before the location tokens.
pub const BEFORE_LOCATIONS: [&str; 4] = ["<od>", "</od>", "<ocr>", "</ocr>"];

/// Tokens added after the location tokens (`desciption` is spelled like this in every checkpoint).
pub const AFTER_LOCATIONS: [&str; 20] = [
    "<cap>",
    "</cap>",
    "<ncap>",
    "</ncap>",
    "<dcap>",
    "</dcap>",
    "<grounding>",
    "</grounding>",
    "<seg>",
    "</seg>",
    "<sep>",
    "<region_cap>",
    "</region_cap>",
    "<region_to_desciption>",
    "</region_to_desciption>",
    "<proposal>",
    "</proposal>",
    "<poly>",
    "</poly>",
    "<and>",
];

/// Returns the text of location token `bin`: `<loc_{bin}>`.
pub fn location(bin: u32) -> String {
    format!("<loc_{bin}>")
}

/// Returns all added tokens, in the order in which they are appended to BART's vocabulary.
pub fn added() -> impl Iterator<Item = String> {
    BEFORE_LOCATIONS
        .iter()
        .map(|token| token.to_string())
        .chain((0..LOCATION_BINS).map(location))
        .chain(AFTER_LOCATIONS.iter().map(|token| token.to_string()))
}
