//! `--masks`: images of the outlines' pixels.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use florence2::Output;
use image::{DynamicImage, GrayImage, ImageBuffer, Luma};

use crate::console::Console;
use crate::error::{Error, Result};
use crate::output::{encoded, write_file};

/// The form of masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MaskFormat {
    /// A PNG per instance, 255 inside and 0 outside: IMAGE-TASK-1.png, ...
    Instances,
    /// One PNG in which a pixel is its instance's number, 0 outside (16 bits from 256 instances on): IMAGE-TASK.png; later
    /// instances cover earlier ones
    Labels,
}

/// Writes the masks of an answer's outlines; `name` is the path without its number and extension.
pub fn write(name: &Path, format: MaskFormat, answer: &Output, console: &Console) -> Result<()> {
    let outlines = answer.parsed.segmentations();
    let masks = outlines.iter().map(|outline| outline.mask(answer.image_size));
    let images: Vec<(PathBuf, DynamicImage)> = match format {
        MaskFormat::Instances => masks
            .zip(1..)
            .map(|(mask, number)| {
                (
                    with_suffix(name, &format!("-{number}.png")),
                    mask.to_image().into(),
                )
            })
            .collect(),
        MaskFormat::Labels => {
            let size = answer.image_size;
            let mut labels = ImageBuffer::<Luma<u16>, Vec<u16>>::new(size.width, size.height);
            for (mask, number) in masks.zip(1..) {
                mask.pixels()
                    .for_each(|(x, y)| labels.put_pixel(x, y, Luma([number])));
            }
            let narrow: Option<Vec<u8>> = labels.iter().map(|&label| u8::try_from(label).ok()).collect();
            let narrow = narrow.and_then(|labels| GrayImage::from_raw(size.width, size.height, labels));
            let image = narrow.map_or_else(|| labels.into(), DynamicImage::from);
            vec![(with_suffix(name, ".png"), image)]
        }
    };
    let folder = name.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    for (path, image) in images {
        write_file(&path, &encoded(&image, image::ImageFormat::Png, &path)?)?;
        console.detail(&format!("wrote {}", path.display()));
    }
    Ok(())
}

fn with_suffix(name: &Path, suffix: &str) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
