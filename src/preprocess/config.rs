//! Deserialization of an [`ImageProcessor`] from `preprocessor_config.json`.

use florence2_layout::files::PREPROCESSOR_CONFIG;
use serde::Deserialize;
use serde_json::Value;

use super::filter::Resample;
use super::processor::{ImageProcessor, Normalization};
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::settings::deserialize;

/// The longest side that a configuration may ask for. Published ones ask for 768; more than this is a damaged file.
const MAX_SIDE: u32 = 1 << 14;

/// Settings of transformers' CLIP image processor.
#[derive(Deserialize)]
struct Settings {
    do_resize: Option<bool>,
    do_center_crop: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    do_pad: Option<bool>,
    // Sizes that are switched off may have any form: CLIP's own `crop_size` is one number.
    size: Option<Value>,
    crop_size: Option<Value>,
    resample: Option<u64>,
    rescale_factor: Option<f64>,
    image_mean: Option<Channels>,
    image_std: Option<Channels>,
}

/// A value for each channel, or one for all of them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "neither one number nor three")]
enum Channels {
    Each([f32; 3]),
    All(f32),
}

impl ImageProcessor {
    /// Returns the processor that a `preprocessor_config.json` describes (or the `image_processor` part of a
    /// `processor_config.json`). Settings that are missing or null are Florence-2's ([`ImageProcessor::default`]), and so is
    /// the backend, which such a file does not name.
    ///
    /// `do_convert_rgb` is ignored, since images are RGB here. Padding is not supported, nor are sizes that keep the aspect
    /// ratio (`shortest_edge` and others): Florence-2's locations refer to the whole image.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if a setting is not of its type or not supported.
    pub fn from_config(config: &Value) -> Result<Self> {
        let config = config.get("image_processor").unwrap_or(config);
        let settings = config.as_object().cloned().unwrap_or_default();
        let settings: Settings = deserialize(PREPROCESSOR_CONFIG, settings)?;
        if settings.do_pad == Some(true) {
            return Err(invalid("do_pad", "padding is not supported"));
        }
        let mut processor = Self::default();
        if settings.do_resize == Some(false) {
            processor.size = None;
        } else if let Some(size) = settings.size {
            processor.size = Some(image_size("size", size)?);
        }
        if let Some(number) = settings.resample {
            processor.resample = Resample::from_pillow(number).ok_or_else(|| {
                let reason = format!("{number} is not one of the numbers 0 to 5 of PIL.Image.Resampling");
                invalid("resample", reason)
            })?;
        }
        if settings.do_center_crop == Some(true) {
            let missing = || invalid("crop_size", "missing, but do_center_crop is set");
            processor.crop_size = Some(image_size("crop_size", settings.crop_size.ok_or_else(missing)?)?);
        }
        if settings.do_rescale == Some(false) {
            processor.rescale_factor = None;
        } else if settings.rescale_factor.is_some() {
            processor.rescale_factor = settings.rescale_factor;
        }
        let imagenet = Normalization::default();
        let normalization = Normalization {
            mean: settings.image_mean.map_or(imagenet.mean, Channels::each),
            std: settings.image_std.map_or(imagenet.std, Channels::each),
        };
        if normalization.std.contains(&0.0) {
            return Err(invalid("image_std", "must not be 0"));
        }
        processor.normalization = (settings.do_normalize != Some(false)).then_some(normalization);
        Ok(processor)
    }
}

impl Channels {
    fn each(self) -> [f32; 3] {
        match self {
            Self::Each(values) => values,
            Self::All(value) => [value; 3],
        }
    }
}

fn invalid(name: &str, reason: impl Into<String>) -> Error {
    Error::InvalidSetting {
        file: PREPROCESSOR_CONFIG,
        name: name.to_owned(),
        reason: reason.into(),
    }
}

fn image_size(name: &str, value: Value) -> Result<ImageSize> {
    let sides = 1..=MAX_SIDE;
    match ImageSize::deserialize(&value) {
        // A list would be read as width and height, but transformers reads it as height and width.
        Ok(size) if value.is_object() && sides.contains(&size.width) && sides.contains(&size.height) => {
            Ok(size)
        }
        _ => Err(invalid(
            name,
            format!("{value} is not a height and a width of 1 to {MAX_SIDE} pixels"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn florence_2_is_the_default() {
        let config = json!({
            "do_convert_rgb": null, "do_normalize": true, "do_rescale": true, "do_resize": true,
            "do_center_crop": false, "image_processor_type": "CLIPImageProcessor", "image_seq_length": 577,
            "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3,
            "rescale_factor": 0.00392156862745098, "size": {"height": 768, "width": 768},
            "crop_size": {"height": 768, "width": 768}
        });
        assert_eq!(
            ImageProcessor::from_config(&config).unwrap(),
            ImageProcessor::default()
        );
        assert_eq!(
            ImageProcessor::from_config(&json!({})).unwrap(),
            ImageProcessor::default()
        );
        let nested = json!({"image_processor": config, "processor_class": "Florence2Processor"});
        assert_eq!(
            ImageProcessor::from_config(&nested).unwrap(),
            ImageProcessor::default()
        );
    }

    #[test]
    fn settings_are_read() {
        let processor = ImageProcessor::from_config(&json!({
            "do_rescale": false, "do_normalize": false, "resample": 2, "size": {"height": 64, "width": 32},
            "do_center_crop": true, "crop_size": {"height": 16, "width": 8}
        }))
        .unwrap();
        assert_eq!(processor.size, Some(ImageSize::new(32, 64)));
        assert_eq!(processor.crop_size, Some(ImageSize::new(8, 16)));
        assert_eq!(processor.resample, Resample::Bilinear);
        assert_eq!((processor.rescale_factor, processor.normalization), (None, None));
        let processor = ImageProcessor::from_config(&json!({"do_resize": false, "image_mean": 0.5})).unwrap();
        assert_eq!(processor.size, None);
        // Settings that are switched off may have any form: CLIP's own crop size is one number.
        let processor = ImageProcessor::from_config(&json!({"crop_size": 224, "do_center_crop": false}));
        assert_eq!(processor.unwrap(), ImageProcessor::default());
        let processor = ImageProcessor::from_config(&json!({"do_resize": false, "image_mean": 0.5})).unwrap();
        assert_eq!(processor.normalization.unwrap().mean, [0.5; 3]);
    }

    #[test]
    fn invalid_settings_are_named() {
        for (key, config) in [
            ("resample", json!({"resample": 6})),
            ("resample", json!({"resample": "bicubic"})),
            ("size", json!({"size": {"shortest_edge": 224}})),
            ("size", json!({"size": {"height": 0, "width": 768}})),
            ("size", json!({"size": {"height": 768, "width": 1_000_000_000}})),
            ("size", json!({"size": 768})),
            ("size", json!({"size": [768, 768]})),
            ("crop_size", json!({"do_center_crop": true})),
            ("image_mean", json!({"image_mean": [0.5, 0.5]})),
            ("image_std", json!({"image_std": [0.5, 0.0, 0.5]})),
            ("rescale_factor", json!({"rescale_factor": "1/255"})),
            ("do_resize", json!({"do_resize": 1})),
            ("do_pad", json!({"do_pad": true})),
        ] {
            match ImageProcessor::from_config(&config) {
                Err(Error::InvalidSetting { name, .. }) => assert_eq!(name, key),
                other => panic!("{config}: {other:?}"),
            }
        }
    }
}
