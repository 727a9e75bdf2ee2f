//! Masks of outlines, rasterised and encoded as COCO's tools do.
//!
//! The rasterisation is that of `rleFrPoly` in pycocotools' `maskApi.c`, the union that of `rleMerge`, the text that of
//! `rleToString`: equal input gives an equal string. `tests/reference/make_masks.py` makes the fixture of its test.

use image::{GrayImage, Luma};

use crate::geometry::{ImageSize, Point, Polygon, shortest};

/// The number of subpixels of a pixel along each axis.
const SCALE: f64 = 5.0;

/// The pixels that an outline covers, as runs of pixels outside and inside it in turn, column by column (COCO's RLE).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    size: ImageSize,
    counts: Vec<u64>,
}

impl Mask {
    /// Returns the pixels that at least one of the polygons covers.
    ///
    /// Equal to pycocotools' `merge(frPyObjects(polygons, height, width))` of the coordinates as they are written in JSON, if
    /// they are at most an image's width and height outside the image; those beyond are moved there.
    pub fn from_polygons(polygons: &[Polygon], size: ImageSize) -> Self {
        let polygons = polygons.iter().filter(|polygon| !polygon.points.is_empty());
        let runs = polygons.map(|polygon| rasterise(&polygon.points, size));
        let counts = runs.reduce(|one, other| union(&one, &other));
        Self {
            size,
            counts: counts.unwrap_or_else(|| vec![u64::from(size.width) * u64::from(size.height)]),
        }
    }

    /// Returns the size of the image.
    pub fn size(&self) -> ImageSize {
        self.size
    }

    /// Returns the lengths of the runs, the first one of pixels outside the mask: `counts` of COCO's uncompressed RLE.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Returns the text of COCO's compressed RLE: `counts` in `{"size": [height, width], "counts": "…"}`.
    pub fn coco_counts(&self) -> String {
        let mut text = String::new();
        for (index, &count) in self.counts.iter().enumerate() {
            // From the third run on, the difference from the last run of the same kind.
            let before = if index > 2 { self.counts[index - 2] } else { 0 };
            let mut rest = count.wrapping_sub(before) as i64;
            loop {
                let bits = (rest & 0x1f) as u8;
                rest >>= 5;
                let is_last = rest == if bits & 0x10 == 0 { 0 } else { -1 };
                let more = if is_last { 0 } else { 0x20 };
                text.push(char::from((bits | more) + b'0'));
                if is_last {
                    break;
                }
            }
        }
        text
    }

    /// Returns the coordinates `(x, y)` of the pixels in the mask, column by column.
    pub fn pixels(&self) -> impl Iterator<Item = (u32, u32)> {
        let height = u64::from(self.size.height).max(1);
        let mut start = 0;
        let runs = self.counts.iter().enumerate().map(move |(index, &count)| {
            start += count;
            (index % 2 == 1, start - count..start)
        });
        let inside = runs.filter(|(is_inside, _)| *is_inside);
        // Below width · height, so that both fit.
        inside.flat_map(move |(_, run)| {
            run.map(move |pixel| ((pixel / height) as u32, (pixel % height) as u32))
        })
    }

    /// Returns an image of the mask: 255 inside, 0 outside.
    pub fn to_image(&self) -> GrayImage {
        let mut image = GrayImage::new(self.size.width, self.size.height);
        self.pixels()
            .for_each(|(x, y)| image.put_pixel(x, y, Luma([255])));
        image
    }
}

/// Returns the runs of a polygon.
fn rasterise(points: &[Point], size: ImageSize) -> Vec<u64> {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let scaled = |value: f32, side: f64| (SCALE * shortest(value).clamp(-side, 2.0 * side) + 0.5) as i64;
    let corners: Vec<(i64, i64)> = points
        .iter()
        .map(|point| (scaled(point.x, width), scaled(point.y, height)))
        .collect();
    let ends = corners.iter().cycle().skip(1);
    let mut boundary = corners.iter().zip(ends).flat_map(|(&from, &to)| edge(from, to));
    // The pixels, counted column by column, at which the boundary crosses the middle of a column.
    let mut crossings = Vec::new();
    let mut before = boundary.next();
    for (u, v) in boundary {
        if let Some((last_u, last_v)) = before
            && u != last_u
        {
            let left = if u < last_u { u } else { u - 1 };
            let x = (left as f64 + 0.5) / SCALE - 0.5;
            if x.floor() == x && (0.0..=width - 1.0).contains(&x) {
                let y = ((v.min(last_v) as f64 + 0.5) / SCALE - 0.5)
                    .clamp(0.0, height)
                    .ceil();
                crossings.push(x as u64 * u64::from(size.height) + y as u64);
            }
        }
        before = Some((u, v));
    }
    crossings.push(u64::from(size.width) * u64::from(size.height));
    crossings.sort_unstable();
    let mut last = 0;
    let mut lengths = crossings
        .into_iter()
        .map(|crossing| crossing - std::mem::replace(&mut last, crossing));
    let mut counts: Vec<u64> = lengths.next().into_iter().collect();
    while let Some(length) = lengths.next() {
        // Two crossings at one pixel: the runs on both sides are one.
        match (length, counts.last_mut()) {
            (0, Some(count)) => *count += lengths.next().unwrap_or(0),
            _ => counts.push(length),
        }
    }
    counts
}

/// Returns the points of a line in subpixels, in the direction of the line.
fn edge(from: (i64, i64), to: (i64, i64)) -> impl Iterator<Item = (i64, i64)> {
    let (dx, dy) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
    let is_flat = dx >= dy;
    let is_reversed = if is_flat { from.0 > to.0 } else { from.1 > to.1 };
    let ((xs, ys), (xe, ye)) = if is_reversed { (to, from) } else { (from, to) };
    let steps = dx.max(dy);
    let slope = match (steps, is_flat) {
        (0, _) => 0.0,
        (_, true) => (ye - ys) as f64 / dx as f64,
        (_, false) => (xe - xs) as f64 / dy as f64,
    };
    let at = move |start: i64, step: i64| (start as f64 + slope * step as f64 + 0.5) as i64;
    (0..=steps).map(move |step| {
        let step = if is_reversed { steps - step } else { step };
        if is_flat {
            (xs + step, at(ys, step))
        } else {
            (at(xs, step), ys + step)
        }
    })
}

/// Returns the runs of the union of two masks of one size.
fn union(one: &[u64], other: &[u64]) -> Vec<u64> {
    let mut merged = Vec::new();
    let mut sources = [one, other].map(|counts| {
        let mut counts = counts.iter().copied();
        (counts.next().unwrap_or(0), false, counts)
    });
    let (mut is_inside, mut length) = (false, 0);
    loop {
        let step = sources[0].0.min(sources[1].0);
        length += step;
        for (rest, is_inside, counts) in &mut sources {
            *rest -= step;
            if *rest == 0
                && let Some(count) = counts.next()
            {
                (*rest, *is_inside) = (count, !*is_inside);
            }
        }
        let is_done = sources.iter().all(|(rest, ..)| *rest == 0);
        let was_inside = std::mem::replace(&mut is_inside, sources.iter().any(|(_, inside, _)| *inside));
        if is_inside != was_inside || is_done {
            merged.push(std::mem::take(&mut length));
        }
        if is_done {
            return merged;
        }
    }
}
