//! Annotated pictures.

use std::io::{self, Cursor, Write};
use std::path::Path;

use florence2::Parsed;
use florence2::draw::{self, DrawOptions};
use image::{DynamicImage, ImageFormat};

use super::{Target, write_file};
use crate::error::{Error, Result};

/// Draws an answer on its image and writes the picture, in the format of its name's ending; PNG to stdout.
pub fn write_picture(target: &Target, image: &DynamicImage, answer: &Parsed) -> Result<()> {
    let picture = DynamicImage::ImageRgb8(draw::annotate(&image.to_rgb8(), answer, &DrawOptions::default())?);
    match target {
        Target::Stdout => {
            let bytes = encoded(&picture, ImageFormat::Png, Path::new("-"))?;
            let mut stdout = io::stdout().lock();
            stdout
                .write_all(&bytes)
                .and_then(|()| stdout.flush())
                .map_err(Error::stdout)
        }
        Target::File(path) => {
            let format = ImageFormat::from_path(path).unwrap_or(ImageFormat::Png);
            write_file(path, &encoded(&picture, format, path)?)
        }
    }
}

fn encoded(picture: &DynamicImage, format: ImageFormat, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let failed = |source| Error::Picture {
        path: path.to_owned(),
        source,
    };
    picture.write_to(&mut bytes, format).map_err(failed)?;
    Ok(bytes.into_inner())
}
