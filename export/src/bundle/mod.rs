//! The files beside the graphs.

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::image_size::ImageSize;

/// The files, by name.
pub(crate) fn files(checkpoint: &Checkpoint, _image_size: ImageSize) -> Result<Vec<(String, Vec<u8>)>> {
    let config = checkpoint.file("config.json").unwrap_or_default();
    Ok(vec![("config.json".to_owned(), config.to_vec())])
}

/// The size of images by the checkpoint's `preprocessor_config.json`.
pub(crate) fn image_size(_checkpoint: &Checkpoint) -> Result<ImageSize> {
    Ok(ImageSize::default())
}
