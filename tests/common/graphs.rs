//! The graphs that deployments of the `plain` layout have.

use florence2_export::GraphFile;

/// With all steps of the decoder in one graph.
pub const MERGED: [GraphFile; 4] = [
    GraphFile::VisionEncoder,
    GraphFile::EmbedTokens,
    GraphFile::EncoderModel,
    GraphFile::DecoderModelMerged,
];
/// With a graph for the decoder's first step and one for the further ones.
pub const SPLIT: [GraphFile; 5] = [
    GraphFile::VisionEncoder,
    GraphFile::EmbedTokens,
    GraphFile::EncoderModel,
    GraphFile::DecoderModel,
    GraphFile::DecoderWithPastModel,
];
