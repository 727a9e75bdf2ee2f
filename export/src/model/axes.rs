//! Names of free sizes, shared by the graphs.

pub(super) const BATCH: &str = "batch_size";
pub(super) const DECODER_SEQUENCE: &str = "decoder_sequence_length";
pub(super) const ENCODER_SEQUENCE: &str = "encoder_sequence_length";
pub(super) const PAST_SEQUENCE: &str = "past_decoder_sequence_length";
pub(super) const TOTAL_SEQUENCE: &str = "total_decoder_sequence_length";
/// Rows of the encoder's outputs: the decoder's rows, or one that all of them share.
pub(super) const ENCODER_BATCH: &str = "encoder_batch_size";
pub(super) const PAST_ENCODER_BATCH: &str = "past_encoder_batch_size";
pub(super) const PAST_ENCODER_SEQUENCE: &str = "past_encoder_sequence_length";
pub(super) const PRESENT_ENCODER_BATCH: &str = "present_encoder_batch_size";
pub(super) const PRESENT_ENCODER_SEQUENCE: &str = "present_encoder_sequence_length";
/// Tokens of the prompt.
pub(super) const TEXT_SEQUENCE: &str = "text_sequence_length";
/// Tokens of the image features.
pub(super) const IMAGE_SEQUENCE: &str = "image_sequence_length";
/// Sequences that the decoder step extends.
pub(super) const ROWS: &str = "rows";
/// New tokens of each row.
pub(super) const TOKENS: &str = "tokens";
/// Images that the rows are answers for.
pub(super) const IMAGES: &str = "images";
/// The number of tokens that a row of the self-attention caches can hold.
pub(super) const CAPACITY: &str = "capacity";
