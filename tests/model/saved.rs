//! Image features and pixel values: saved, loaded again, made elsewhere, and refused by other models.

use florence2::{Error, Florence2, ImageFeatures, ImageSize, PixelValues, Task, load_image};
use florence2_export::GraphFile;
use image::DynamicImage;
use ndarray::{Array2, Array4};

use crate::common::golden::{Answers, exported, load};

const GRAPHS: [GraphFile; 4] = [
    GraphFile::VisionEncoder,
    GraphFile::EmbedTokens,
    GraphFile::EncoderModel,
    GraphFile::DecoderModelMerged,
];

fn tokens<'a>(model: &Florence2, image: impl Into<florence2::ImageInput<'a>>) -> Vec<u32> {
    model.run(image, &Task::Ocr).unwrap().token_ids
}

#[test]
fn all_forms_of_an_image_have_the_same_answer() {
    let exported = exported("base-like", &GRAPHS);
    let model = load(&exported);
    let image = load_image(Answers::read("base-like").images[0].path()).unwrap();
    let expected = tokens(&model, &image);
    let pixels = model.image_processor().process(&image).unwrap();
    let features = model.encode_image(&pixels).unwrap();
    assert_eq!(tokens(&model, &DynamicImage::ImageRgb8(image)), expected);
    assert_eq!(tokens(&model, &pixels), expected);
    assert_eq!(tokens(&model, &features), expected);

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    features.save(file("features.safetensors")).unwrap();
    pixels.save(file("pixels.safetensors")).unwrap();
    let loaded = ImageFeatures::load(file("features.safetensors")).unwrap();
    assert_eq!(loaded.view(), features.view());
    assert_eq!(loaded.image_size(), features.image_size());
    assert!(PixelValues::load(file("pixels.safetensors")).unwrap() == pixels);
    assert_eq!(tokens(&model, &loaded), expected);
    // Features that were saved, loaded and saved again.
    assert!(loaded.to_bytes().unwrap() == features.to_bytes().unwrap());

    let elsewhere = PixelValues::new(pixels.clone().into_array(), pixels.original_size()).unwrap();
    assert_eq!(tokens(&model, &elsewhere), expected);
    let elsewhere = model
        .image_features(features.view().to_owned(), features.image_size())
        .unwrap();
    assert_eq!(tokens(&model, &elsewhere), expected);
}

#[test]
fn the_same_files_loaded_again_take_the_features() {
    let folder = exported("base-like", &GRAPHS);
    let (one, other) = (load(&folder), load(&folder));
    let image = load_image(Answers::read("base-like").images[0].path()).unwrap();
    let features = one.encode_image(&image).unwrap();
    assert_eq!(tokens(&other, &features), tokens(&one, &features));
    assert_eq!(one.fingerprint().unwrap(), other.fingerprint().unwrap());
    // The features outlive their model.
    drop(one);
    tokens(
        &other,
        &ImageFeatures::from_bytes(&features.to_bytes().unwrap()).unwrap(),
    );
}

#[test]
fn other_models_refuse_features_and_pixel_values() {
    let folders = ["base-like", "large-like"].map(|checkpoint| exported(checkpoint, &GRAPHS));
    let [one, other] = folders.each_ref().map(load);
    let image = load_image(Answers::read("base-like").images[0].path()).unwrap();
    let features = one.encode_image(&image).unwrap();
    let loaded = ImageFeatures::from_bytes(&features.to_bytes().unwrap()).unwrap();
    for features in [features, loaded] {
        match other.run(&features, &Task::Ocr) {
            Err(Error::OtherModel {
                what,
                found,
                expected,
            }) => {
                assert_eq!(what, "image features");
                assert_eq!(found, one.fingerprint().unwrap());
                assert_eq!(expected, other.fingerprint().unwrap());
            }
            result => panic!("{result:?}"),
        }
    }
    let mut processor = one.image_processor().clone();
    processor.rescale_factor = Some(1.0);
    let pixels = processor.process(&image).unwrap();
    let result = one.run(
        &PixelValues::from_bytes(&pixels.to_bytes().unwrap()).unwrap(),
        &Task::Ocr,
    );
    assert!(
        matches!(
            &result,
            Err(Error::OtherModel {
                what: "pixel values",
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn unusable_arrays_and_files_are_errors() {
    let model = load(&exported("base-like", &GRAPHS));
    let size = ImageSize::new(4, 4);
    for features in [
        Array2::zeros((2, 3)),
        Array2::zeros((0, 32)),
        Array2::from_elem((2, 32), f32::NAN),
    ] {
        let result = model.image_features(features, size);
        assert!(matches!(result, Err(Error::InvalidOption { .. })), "{result:?}");
    }
    for shape in [(2, 3, 4, 4), (1, 1, 4, 4), (1, 3, 0, 4)] {
        let result = PixelValues::new(Array4::zeros(shape), size);
        assert!(matches!(result, Err(Error::InvalidOption { .. })), "{result:?}");
    }
    let pixels = PixelValues::new(Array4::zeros((1, 3, 4, 4)), size).unwrap();
    let bytes = pixels.to_bytes().unwrap();
    for length in 0..bytes.len() {
        let result = PixelValues::from_bytes(&bytes[..length]);
        assert!(
            matches!(result, Err(Error::InvalidTensorFile { .. })),
            "{result:?}"
        );
    }
    // Pixel values are no features.
    let result = ImageFeatures::from_bytes(&bytes);
    assert!(
        matches!(result, Err(Error::InvalidTensorFile { .. })),
        "{result:?}"
    );
}
