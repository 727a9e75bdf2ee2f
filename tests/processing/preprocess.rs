//! Comparison of images with Pillow, torchvision and transformers. `tests/reference/make_preprocess.py` makes the fixtures.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use florence2::preprocess::{Resample, resize};
use florence2::{Error, ImageBackend, ImageLimits, ImageProcessor, ImageSize, decode_image_with, load_image};
use image::{Rgb, RgbImage};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/image")
        .join(path)
}

fn cases() -> Value {
    serde_json::from_slice(&fs::read(fixture("cases.json")).unwrap()).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn size(value: &Value) -> ImageSize {
    ImageSize::new(
        value[0].as_u64().unwrap() as u32,
        value[1].as_u64().unwrap() as u32,
    )
}

/// `scene` of the Python script: tiles of noise, of a gradient and of hard edges.
fn scene(ImageSize { width, height }: ImageSize) -> RgbImage {
    const SEED: u32 = 1;
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([0_u32, 1, 2].map(|c| {
            let value = match (x / 16 + y / 16) % 3 {
                0 => {
                    let noise = x.wrapping_mul(73_856_093)
                        ^ y.wrapping_mul(19_349_663)
                        ^ (c + SEED).wrapping_mul(83_492_791);
                    let noise = (noise ^ (noise >> 13)).wrapping_mul(0x5BD1_E995);
                    noise ^ (noise >> 15)
                }
                1 => x * 3 + y * 2 + c * 85,
                _ if (x ^ y) & 4 == 0 => 0,
                _ => 255,
            };
            (value & 255) as u8
        }))
    })
}

#[test]
fn scenes_equal_the_scripts() {
    assert_eq!(sha256(&scene(ImageSize::new(61, 47))), cases()["scene_sha256"]);
}

fn check_resizes(cases: &Value, backend: ImageBackend) {
    for case in cases.as_array().unwrap() {
        let resample = Resample::from_pillow(case["resample"].as_u64().unwrap()).unwrap();
        let resized = resize(&scene(size(&case["from"])), size(&case["to"]), resample, backend).unwrap();
        assert_eq!(
            ImageSize::new(resized.width(), resized.height()),
            size(&case["to"])
        );
        assert_eq!(sha256(&resized), case["sha256"], "{case}");
    }
}

#[test]
fn resizing_is_bit_equal_to_pillow() {
    check_resizes(&cases()["resize"], ImageBackend::Pillow);
}

#[test]
fn resizing_is_bit_equal_to_torchvision() {
    check_resizes(&cases()["torchvision_resize"], ImageBackend::Torchvision);
}

#[test]
fn filters_that_torchvision_lacks_are_rejected() {
    let mut processor = ImageProcessor::default();
    processor.backend = ImageBackend::Torchvision;
    for resample in [Resample::Box, Resample::Hamming] {
        processor.resample = resample;
        let found = processor.process(&scene(ImageSize::new(4, 4)));
        assert!(
            matches!(&found, Err(Error::InvalidOption { name: "resample", .. })),
            "{found:?}"
        );
    }
}

#[test]
fn pixel_values_equal_transformers() {
    let image = scene(ImageSize::new(37, 23));
    for case in cases()["processor"].as_array().unwrap() {
        let mut processor = ImageProcessor::from_config(&case["config"]).unwrap();
        processor.backend = match case["backend"].as_str().unwrap() {
            "pillow" => ImageBackend::Pillow,
            _ => ImageBackend::Torchvision,
        };
        let pixels = processor.process(&image).unwrap();
        assert_eq!(pixels.original_size(), ImageSize::new(37, 23));
        let shape: Vec<u64> = pixels.view().shape().iter().map(|&side| side as u64).collect();
        assert_eq!(Value::from(shape), case["shape"], "{case}");
        let bytes: Vec<u8> = pixels
            .view()
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        if let Ok(expected) = fs::read(fixture(&format!(
            "pixel_values/{}.f32",
            case["name"].as_str().unwrap()
        ))) {
            for (found, expected) in pixels.view().iter().zip(expected.chunks_exact(4)) {
                let expected = f32::from_le_bytes(expected.try_into().unwrap());
                assert!((found - expected).abs() <= 1e-6, "{case}: {found} {expected}");
            }
        }
        assert_eq!(sha256(&bytes), case["sha256"], "{case}");
    }
}

#[test]
fn a_batch_equals_its_images() {
    let images: Vec<_> = [(37, 23), (1, 1), (5, 90)]
        .map(|(width, height)| scene(ImageSize::new(width, height)))
        .into();
    let mut processor = ImageProcessor::default();
    processor.size = Some(ImageSize::new(32, 32));
    let batch = processor.process_batch(&images).unwrap();
    for (pixels, image) in batch.iter().zip(&images) {
        assert_eq!(pixels, &processor.process(image).unwrap());
    }
    assert_eq!(batch.len(), images.len());
}

#[test]
fn unusual_images_are_read_as_by_pillow() {
    let mut failures = Vec::new();
    for case in cases()["odd"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let expected = image::open(fixture(case["expected"].as_str().unwrap()))
            .unwrap()
            .into_rgb8();
        let found = match load_image(fixture("odd").join(file)) {
            Ok(found) => found,
            Err(error) => {
                failures.push(format!("{file}: {error}"));
                continue;
            }
        };
        if found.dimensions() != expected.dimensions() {
            failures.push(format!(
                "{file}: {:?}, not {:?}",
                found.dimensions(),
                expected.dimensions()
            ));
            continue;
        }
        let difference = found
            .iter()
            .zip(expected.iter())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        if difference.map(u64::from) > case["tolerance"].as_u64() {
            failures.push(format!("{file}: off by {difference:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn invalid_images_are_rejected() {
    let mut accepted = Vec::new();
    for case in cases()["bad"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        match load_image(fixture("bad").join(file)) {
            Err(Error::ImageTooLarge { width, height, .. }) => {
                assert_eq!((file, width, height), ("huge_header.png", 20000, 20000))
            }
            Err(Error::ImageDecode { name, .. }) => assert!(name.ends_with(file)),
            other => accepted.push(format!("{file}: {:?}", other.map(|image| image.dimensions()))),
        }
    }
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
}

#[test]
fn missing_files_and_folders_are_io_errors() {
    for path in [fixture("no such file.png"), fixture("odd")] {
        let found = load_image(&path);
        assert!(
            matches!(&found, Err(Error::Io { path: named, .. }) if *named == path),
            "{found:?}"
        );
    }
}

#[test]
fn limits_are_enforced() {
    let bytes = fs::read(fixture("odd/rgb.png")).unwrap();
    let pixels = 23 * 17;
    assert!(decode_image_with("a", &bytes, &ImageLimits::default().with_max_pixels(pixels)).is_ok());
    let found = decode_image_with("a", &bytes, &ImageLimits::default().with_max_pixels(pixels - 1));
    assert!(
        matches!(&found, Err(Error::ImageTooLarge { limit: 390, .. })),
        "{found:?}"
    );
    let found = decode_image_with("a", &bytes, &ImageLimits::default().with_max_pixels(1));
    assert!(
        matches!(&found, Err(Error::ImageTooLarge { limit: 1, .. })),
        "{found:?}"
    );
    let found = decode_image_with(
        "a",
        &bytes,
        &ImageLimits::default().with_max_file_bytes(bytes.len() as u64 - 1),
    );
    assert!(
        matches!(&found, Err(Error::ImageFileTooLarge { .. })),
        "{found:?}"
    );
}

#[test]
fn every_prefix_of_an_image_is_rejected_or_read_without_panic() {
    for entry in fs::read_dir(fixture("odd")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap();
        for length in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let found = decode_image_with(&name, &bytes[..length], &ImageLimits::default());
            if name.ends_with(".jpg") && name != "trailing.jpg" {
                assert!(found.is_err(), "{name}[..{length}]");
            }
            let mut damaged = bytes.clone();
            damaged[length] ^= 0x55;
            // Depending on the position of the damage.
            let _ = decode_image_with(&name, &damaged, &ImageLimits::default());
        }
    }
}

#[test]
fn images_without_pixels_are_rejected() {
    let found = ImageProcessor::default().process(&RgbImage::new(0, 5));
    assert!(
        matches!(&found, Err(Error::ImageEmpty { width: 0, height: 5 })),
        "{found:?}"
    );
    let found = resize(
        &RgbImage::new(5, 5),
        ImageSize::new(5, 0),
        Resample::Box,
        ImageBackend::Pillow,
    );
    assert!(matches!(&found, Err(Error::ImageEmpty { .. })), "{found:?}");
}
