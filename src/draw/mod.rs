//! Annotated images: boxes, text lines and outlines in distinct colours with numbered labels.

mod canvas;
mod label;
mod text;

use std::borrow::Cow;

use florence2_layout::setters;
use image::RgbImage;

use crate::error::{Error, Result};
use crate::geometry::{BoundingBox, ImageSize, Point};
use crate::output::{Detection, Parsed, Segmentation};
use crate::preprocess::{ImageBackend, Resample, resize};
use canvas::{Canvas, Outline, instance_color};
use label::LabelLayout;
use text::LabelFont;

/// The style of annotated images.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DrawOptions {
    /// The minimum length of the image's longer side, in pixels: smaller images are enlarged, so that labels are legible.
    /// 0 enlarges none. The default is 640.
    pub min_side: u32,
    /// The height of a line of label text, in pixels of the annotated image. The default grows with the image.
    pub font_size: Option<f32>,
    /// The width of outlines, in pixels of the annotated image. The default grows with the image.
    pub line_width: Option<f32>,
    /// The opacity of a segmented object's fill, 0 to 1. The default is 0.35.
    pub fill_opacity: f32,
    /// Whether objects have labels, such as "1 cat" and "2 dog". The default is `true`.
    pub labels: bool,
    /// Whether labels end in the score, if there is one. The default is `false`.
    pub scores: bool,
}

impl Default for DrawOptions {
    fn default() -> Self {
        Self {
            min_side: 640,
            font_size: None,
            line_width: None,
            fill_opacity: 0.35,
            labels: true,
            scores: false,
        }
    }
}

setters! { DrawOptions {
    with_min_side(min_side: u32);
    with_font_size(font_size: f32) = Some(font_size);
    with_line_width(line_width: f32) = Some(line_width);
    with_fill_opacity(fill_opacity: f32);
    with_labels(labels: bool);
    with_scores(scores: bool);
}}

/// Draws an answer on its image. An answer in plain text leaves the image unchanged.
///
/// Coordinates outside the image are moved to its edge; coordinates that are not finite are left out. Labels are in Latin,
/// Greek or Cyrillic letters; other characters appear as a box.
///
/// # Errors
/// [`Error::ImageEmpty`] if the image has no pixels, [`Error::ImageTooLarge`] if a row has more than `i32::MAX` bytes.
pub fn annotate(image: &RgbImage, parsed: &Parsed, options: &DrawOptions) -> Result<RgbImage> {
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        return Err(Error::ImageEmpty { width, height });
    }
    let image = enlarge(image, options.min_side)?;
    let mut canvas = Canvas::new(&image)?;
    let scale = (canvas.width() / width as f32, canvas.height() / height as f32);
    let instances: Vec<Instance> = instances(parsed)
        .into_iter()
        .map(|instance| instance.scale(scale, &canvas))
        .collect();

    let style = Style::new(&canvas, options);
    for (number, instance) in instances.iter().enumerate() {
        if instance.filled {
            canvas.fill(&instance.outlines, instance_color(number), options.fill_opacity);
        }
    }
    for (number, instance) in instances.iter().enumerate() {
        canvas.stroke(&instance.outlines, instance_color(number), style.line_width);
    }
    if options.labels {
        draw_labels(&mut canvas, &instances, &style, options);
    }
    Ok(canvas.into_image())
}

/// An object to draw: closed outlines with a label.
struct Instance<'a> {
    outlines: Vec<Outline>,
    filled: bool,
    label: &'a str,
    score: Option<f32>,
}

impl Instance<'_> {
    /// Scales the outlines to the canvas and moves them into it.
    fn scale(mut self, (x, y): (f32, f32), canvas: &Canvas) -> Self {
        for point in self.outlines.iter_mut().flatten() {
            point.x = (point.x * x).clamp(0.0, canvas.width());
            point.y = (point.y * y).clamp(0.0, canvas.height());
        }
        self
    }

    /// Returns the bounds of the outline whose bounds are largest.
    fn bounds(&self) -> Option<BoundingBox> {
        let area = |bounds: &BoundingBox| (bounds.x2 - bounds.x1) * (bounds.y2 - bounds.y1);
        let bounds = self.outlines.iter().filter_map(|outline| bounds(outline));
        bounds.max_by(|a, b| area(a).total_cmp(&area(b)))
    }
}

fn bounds(outline: &[Point]) -> Option<BoundingBox> {
    let first = outline.first()?;
    let start = BoundingBox::new(first.x, first.y, first.x, first.y);
    Some(outline.iter().fold(start, |bounds, point| {
        BoundingBox::new(
            bounds.x1.min(point.x),
            bounds.y1.min(point.y),
            bounds.x2.max(point.x),
            bounds.y2.max(point.y),
        )
    }))
}

/// Returns the objects of an answer, in pixels of the original image.
fn instances(parsed: &Parsed) -> Vec<Instance<'_>> {
    match parsed {
        Parsed::Detections(detections) => detections.iter().map(detection).collect(),
        Parsed::OcrRegions(regions) => regions
            .iter()
            .map(|region| Instance {
                outlines: vec![finite(&region.quad.points)],
                filled: false,
                label: &region.text,
                score: region.score,
            })
            .collect(),
        Parsed::Segmentations(segmentations) => segmentations.iter().map(segmentation).collect(),
        Parsed::OpenVocabulary {
            detections,
            segmentations,
        } => {
            let boxes = detections.iter().map(detection);
            boxes.chain(segmentations.iter().map(segmentation)).collect()
        }
        Parsed::Text(_) => Vec::new(),
    }
}

fn detection(detection: &Detection) -> Instance<'_> {
    let BoundingBox { x1, y1, x2, y2 } = detection.bbox;
    let corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)].map(|(x, y)| Point { x, y });
    let whole = detection.bbox.to_array().iter().all(|value| value.is_finite());
    Instance {
        outlines: if whole { vec![corners.into()] } else { Vec::new() },
        filled: false,
        label: &detection.label,
        score: detection.score,
    }
}

fn segmentation(segmentation: &Segmentation) -> Instance<'_> {
    Instance {
        outlines: segmentation
            .polygons
            .iter()
            .map(|polygon| finite(&polygon.points))
            .collect(),
        filled: true,
        label: &segmentation.label,
        score: segmentation.score,
    }
}

fn finite(points: &[Point]) -> Outline {
    let finite = points
        .iter()
        .filter(|point| point.x.is_finite() && point.y.is_finite());
    finite.copied().collect()
}

/// Sizes in pixels that grow with the image.
struct Style {
    font_size: f32,
    line_width: f32,
}

impl Style {
    fn new(canvas: &Canvas, options: &DrawOptions) -> Self {
        let usable = |value: &f32| value.is_finite() && *value > 0.0;
        let side = (canvas.width() * canvas.height()).sqrt();
        Self {
            font_size: options
                .font_size
                .filter(usable)
                .unwrap_or((side / 40.0).max(13.0)),
            line_width: options
                .line_width
                .filter(usable)
                .unwrap_or((side / 320.0).max(2.0)),
        }
    }
}

/// Returns the image with a longer side of at least `min_side` pixels.
fn enlarge(image: &RgbImage, min_side: u32) -> Result<Cow<'_, RgbImage>> {
    let (width, height) = image.dimensions();
    let longer = width.max(height);
    if longer >= min_side {
        return Ok(Cow::Borrowed(image));
    }
    let scaled = |side: u32| {
        let side = u64::from(side) * u64::from(min_side) / u64::from(longer);
        u32::try_from(side).unwrap_or(u32::MAX).max(1)
    };
    resize(
        image,
        ImageSize::new(scaled(width), scaled(height)),
        Resample::Bicubic,
        ImageBackend::Pillow,
    )
    .map(Cow::Owned)
}

fn draw_labels(canvas: &mut Canvas, instances: &[Instance], style: &Style, options: &DrawOptions) {
    let font = LabelFont::new(style.font_size);
    let mut layout = LabelLayout::new(canvas.width(), canvas.height());
    for (index, instance) in instances.iter().enumerate() {
        let Some(bounds) = instance.bounds() else { continue };
        let mut words = vec![(index + 1).to_string()];
        words.extend(instance.label.split_whitespace().map(str::to_owned));
        words.extend(
            instance
                .score
                .filter(|_| options.scores)
                .map(|score| format!("{score:.2}")),
        );
        // A long caption may be as wide as its object or half the image.
        let max_width = (bounds.x2 - bounds.x1).max(canvas.width() / 2.0);
        let text = font.shorten(&words.join(" "), max_width);
        let rect = layout.place(bounds, font.label_width(&text), font.label_height());
        let color = instance_color(index);
        canvas.fill_box(rect, color);
        canvas.fill_path(font.outline(&text, rect), color.text_color());
    }
}
