//! Annotated images.

use std::io::{self, Cursor, Write};
use std::path::Path;

use florence2::Parsed;
use florence2::draw::{self, DrawOptions};
use image::{DynamicImage, ImageFormat, RgbImage};

use super::{Target, write_file};
use crate::error::{Error, Result};

/// Draws an answer on a copy of its image and writes that in the format of the target's extension; to stdout as PNG.
pub fn write_annotated(target: &Target, image: &RgbImage, answer: &Parsed) -> Result<()> {
    let annotated = draw::annotate(image, answer, &DrawOptions::default())?.into();
    match target {
        Target::Stdout => {
            let bytes = encoded(&annotated, ImageFormat::Png, Path::new("-"))?;
            let mut stdout = io::stdout().lock();
            stdout
                .write_all(&bytes)
                .and_then(|()| stdout.flush())
                .map_err(Error::stdout)
        }
        Target::File(path) => {
            let format = ImageFormat::from_path(path).unwrap_or(ImageFormat::Png);
            write_file(path, &encoded(&annotated, format, path)?)
        }
    }
}

/// Returns an image as a file of a format; `path` is for errors.
pub fn encoded(image: &DynamicImage, format: ImageFormat, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let failed = |source| Error::Image {
        path: path.to_owned(),
        source,
    };
    image.write_to(&mut bytes, format).map_err(failed)?;
    Ok(bytes.into_inner())
}
