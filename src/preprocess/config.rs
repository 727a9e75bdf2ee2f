//! An [`ImageProcessor`] out of `preprocessor_config.json`.

use serde_json::Value;

use super::filter::Resample;
use super::processor::{ImageProcessor, Normalization};
use crate::error::{Error, Result};
use crate::geometry::ImageSize;

/// The longest side that a configuration may ask for. Real ones ask for 768; more than this is a damaged file.
const MAX_SIDE: u64 = 1 << 14;

impl ImageProcessor {
    /// The processor that a `preprocessor_config.json` describes (or the `image_processor` part of a
    /// `processor_config.json`). What it leaves out or sets to `null` is as in Florence-2's own
    /// ([`ImageProcessor::default`]), and so is the backend, which is no part of such a file.
    ///
    /// `do_convert_rgb` is not looked at, since pictures come as RGB here. Padding is not supported, nor are sizes
    /// that keep the aspect ratio (`shortest_edge` and the like): Florence-2's locations refer to the whole picture.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], naming the key, if a value is not of its kind or asks for what is not supported.
    pub fn from_config(config: &Value) -> Result<Self> {
        let config = config.get("image_processor").unwrap_or(config);
        let default = Self::default();
        let resize = flag(config, "do_resize", true)?;
        let crop = flag(config, "do_center_crop", false)?;
        let rescale = flag(config, "do_rescale", true)?;
        let normalize = flag(config, "do_normalize", true)?;
        if flag(config, "do_pad", false)? {
            return Err(invalid("do_pad", "padding is not supported"));
        }
        let crop_size = match crop {
            false => None,
            true => Some(
                size(config, "crop_size")?
                    .ok_or_else(|| invalid("crop_size", "missing, but do_center_crop is set"))?,
            ),
        };
        let imagenet = Normalization::default();
        let normalization = Normalization {
            mean: channels(config, "image_mean")?.unwrap_or(imagenet.mean),
            std: channels(config, "image_std")?.unwrap_or(imagenet.std),
        };
        if normalization.std.contains(&0.0) {
            return Err(invalid("image_std", "must not be 0"));
        }
        Ok(Self {
            size: if resize {
                size(config, "size")?.or(default.size)
            } else {
                None
            },
            resample: resample(config)?.unwrap_or(default.resample),
            crop_size,
            rescale_factor: if rescale {
                number(config, "rescale_factor")?.or(default.rescale_factor)
            } else {
                None
            },
            normalization: normalize.then_some(normalization),
            backend: default.backend,
        })
    }
}

fn invalid(name: &'static str, reason: impl Into<String>) -> Error {
    Error::InvalidOption {
        name,
        reason: format!("{} in preprocessor_config.json", reason.into()),
    }
}

/// The value under a key, unless it is missing or `null`.
fn present<'a>(config: &'a Value, key: &str) -> Option<&'a Value> {
    config.get(key).filter(|value| !value.is_null())
}

fn flag(config: &Value, key: &'static str, default: bool) -> Result<bool> {
    match present(config, key) {
        None => Ok(default),
        Some(value) => value
            .as_bool()
            .ok_or_else(|| invalid(key, format!("{value} is not true or false"))),
    }
}

fn number(config: &Value, key: &'static str) -> Result<Option<f64>> {
    let number = |value: &Value| {
        value
            .as_f64()
            .ok_or_else(|| invalid(key, format!("{value} is not a number")))
    };
    present(config, key).map(number).transpose()
}

/// One number for each channel, or one for all.
fn channels(config: &Value, key: &'static str) -> Result<Option<[f32; 3]>> {
    let parse = |value: &Value| match value {
        Value::Number(_) => value.as_f64().map(|all| [all as f32; 3]),
        Value::Array(values) => {
            let values: Option<Vec<f32>> = values.iter().map(|value| Some(value.as_f64()? as f32)).collect();
            values?.try_into().ok()
        }
        _ => None,
    };
    let parse = |value| parse(value).ok_or_else(|| invalid(key, format!("{value} is not three numbers")));
    present(config, key).map(parse).transpose()
}

fn resample(config: &Value) -> Result<Option<Resample>> {
    let parse = |value: &Value| {
        let filter = value.as_u64().and_then(Resample::from_pillow);
        filter.ok_or_else(|| {
            invalid(
                "resample",
                format!("{value} is not one of the numbers 0 to 5 of PIL.Image.Resampling"),
            )
        })
    };
    present(config, "resample").map(parse).transpose()
}

fn size(config: &Value, key: &'static str) -> Result<Option<ImageSize>> {
    let parse = |value: &Value| {
        let side = |name| {
            value
                .get(name)?
                .as_u64()
                .filter(|side| (1..=MAX_SIDE).contains(side))
        };
        match (side("width"), side("height")) {
            (Some(width), Some(height)) => Ok(ImageSize::new(width as u32, height as u32)),
            _ => Err(invalid(
                key,
                format!("{value} is not a height and a width of 1 to {MAX_SIDE} pixels"),
            )),
        }
    };
    present(config, key).map(parse).transpose()
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
    fn settings_are_taken_over() {
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
        // What is switched off may stand there in any form: CLIP's own crop size is one number.
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
                Err(Error::InvalidOption { name, .. }) => assert_eq!(name, key),
                other => panic!("{config}: {other:?}"),
            }
        }
    }
}
