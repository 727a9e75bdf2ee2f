//! Deserialization of an [`ImageProcessor`] from `preprocessor_config.json`.

use florence2_layout::files::PREPROCESSOR_CONFIG;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::filter::Resample;
use super::processor::{ImageProcessor, Normalization};
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::settings::deserialize;

/// The longest side that a configuration may ask for. Published ones ask for 768; more than this is a damaged file.
const MAX_SIDE: u32 = 1 << 14;

/// Settings of transformers' CLIP image processor; the defaults are Florence-2's.
#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    do_resize: bool,
    do_center_crop: bool,
    do_rescale: bool,
    do_normalize: bool,
    do_pad: bool,
    // Settings that are switched off may have any form: CLIP's own `crop_size` is one number.
    size: Option<Value>,
    crop_size: Option<Value>,
    #[serde(deserialize_with = "resample")]
    resample: Resample,
    rescale_factor: Option<f64>,
    image_mean: Channels,
    image_std: Channels,
}

/// A value for each channel, or one for all of them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "not three numbers, nor one")]
enum Channels {
    Each([f32; 3]),
    All(f32),
}

impl Default for Settings {
    fn default() -> Self {
        let (processor, imagenet) = (ImageProcessor::default(), Normalization::default());
        Self {
            do_resize: true,
            do_center_crop: false,
            do_rescale: true,
            do_normalize: true,
            do_pad: false,
            size: None,
            crop_size: None,
            resample: processor.resample,
            rescale_factor: processor.rescale_factor,
            image_mean: Channels::Each(imagenet.mean),
            image_std: Channels::Each(imagenet.std),
        }
    }
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
        let default = Self::default();
        if settings.do_pad {
            return Err(invalid("do_pad", "padding is not supported"));
        }
        let size = if settings.do_resize {
            settings
                .size
                .map_or(Ok(default.size), |value| size_of("size", value))?
        } else {
            None
        };
        let crop_size = if settings.do_center_crop {
            let missing = || invalid("crop_size", "missing, but do_center_crop is set");
            size_of("crop_size", settings.crop_size.ok_or_else(missing)?)?
        } else {
            None
        };
        let normalization = Normalization {
            mean: settings.image_mean.each(),
            std: settings.image_std.each(),
        };
        if normalization.std.contains(&0.0) {
            return Err(invalid("image_std", "must not be 0"));
        }
        Ok(Self {
            size,
            resample: settings.resample,
            crop_size,
            rescale_factor: settings.rescale_factor.filter(|_| settings.do_rescale),
            normalization: settings.do_normalize.then_some(normalization),
            backend: default.backend,
        })
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

fn size_of(name: &str, value: Value) -> Result<Option<ImageSize>> {
    let sides = 1..=MAX_SIDE;
    match ImageSize::deserialize(&value) {
        Ok(size) if sides.contains(&size.width) && sides.contains(&size.height) => Ok(Some(size)),
        _ => Err(invalid(
            name,
            format!("{value} is not a height and a width of 1 to {MAX_SIDE} pixels"),
        )),
    }
}

fn resample<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Resample, D::Error> {
    let number = u64::deserialize(deserializer)?;
    Resample::from_pillow(number).ok_or_else(|| {
        D::Error::custom(format!(
            "{number} is not one of the numbers 0 to 5 of PIL.Image.Resampling"
        ))
    })
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
    fn bad_settings_are_named() {
        for (key, config) in [
            ("resample", json!({"resample": 6})),
            ("resample", json!({"resample": "bicubic"})),
            ("size", json!({"size": {"shortest_edge": 224}})),
            ("size", json!({"size": {"height": 0, "width": 768}})),
            ("size", json!({"size": {"height": 768, "width": 1_000_000_000}})),
            ("size", json!({"size": 768})),
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
