//! Florence-2's added tokens.
//!
//! The order is that of Microsoft's processor, which appends them to BART's vocabulary at load; in the
//! published checkpoints they are ids 50265 to 51288. Ids are always read from a checkpoint's tokenizer.

/// Number of location bins along each axis: `<loc_0>` to `<loc_999>`.
pub const LOCATION_BINS: u32 = 1000;

/// `<s>`: begins the prompt, and is the first token generated.
pub const BOS: &str = "<s>";
/// `</s>`: ends the prompt and the answer; decoding starts from it.
pub const EOS: &str = "</s>";
/// `<pad>`.
pub const PAD: &str = "<pad>";
/// `<unk>`.
pub const UNK: &str = "<unk>";
/// `<mask>`, from BART's training.
pub const MASK: &str = "<mask>";
/// `<image>`: transformers' placeholder for one image token; its tokenizers add it after the others.
pub const IMAGE: &str = "<image>";
/// Separates the polygons of one instance.
pub const POLYGON_SEPARATOR: &str = "<sep>";
/// Opens one instance's polygons.
pub const POLYGON_START: &str = "<poly>";
/// Closes one instance's polygons.
pub const POLYGON_END: &str = "</poly>";

/// Tokens added before the location tokens.
pub const BEFORE_LOCATIONS: [&str; 4] = ["<od>", "</od>", "<ocr>", "</ocr>"];

/// Tokens added after the location tokens (`desciption` is spelt so in every checkpoint).
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

/// The text of location token `bin`: `<loc_{bin}>`.
pub fn location(bin: u32) -> String {
    format!("<loc_{bin}>")
}

/// All added tokens, in the order in which they are appended to BART's vocabulary.
pub fn added() -> impl Iterator<Item = String> {
    BEFORE_LOCATIONS
        .iter()
        .map(|token| token.to_string())
        .chain((0..LOCATION_BINS).map(location))
        .chain(AFTER_LOCATIONS.iter().map(|token| token.to_string()))
}
