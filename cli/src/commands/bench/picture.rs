//! The picture that is drawn where none is given: noise whose strength falls with its frequency, as in photos, and
//! figures with edges.

use image::{Rgb, RgbImage};

/// What it is called.
pub const NAME: &str = "drawn";

const SEED: u32 = 5;
const WIDTH: u32 = 1024;
const HEIGHT: u32 = 768;
/// Pixels between the points of the coarsest noise; that of each octave is half of the last.
const COARSEST: u32 = 256;
const OCTAVES: u32 = 7;
const FIGURES: u32 = 40;

/// The same picture each time: 1024 × 768 pixels.
pub fn draw() -> RgbImage {
    let mut picture = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let light = (0..OCTAVES).map(|octave| noise(x, y, octave)).sum::<f32>();
        let tint = |channel: u32| noise(x, y, OCTAVES * (channel + 1));
        Rgb([0, 1, 2].map(|channel| (128.0 + 90.0 * light + 60.0 * tint(channel)) as u8))
    });
    for figure in 0..FIGURES {
        draw_figure(&mut picture, figure);
    }
    picture
}

/// An ellipse or a rectangle of one colour.
fn draw_figure(picture: &mut RgbImage, figure: u32) {
    let random = |what: u32, below: u32| hash(&[figure, what]) % below;
    let (left, top) = (random(0, WIDTH), random(1, HEIGHT));
    let (width, height) = (20 + random(2, 200), 20 + random(3, 200));
    let colour = Rgb([4, 5, 6].map(|what| random(what, 256) as u8));
    let is_ellipse = random(7, 2) == 0;
    for y in top..(top + height).min(HEIGHT) {
        for x in left..(left + width).min(WIDTH) {
            let across = 2.0 * (x - left) as f32 / width as f32 - 1.0;
            let down = 2.0 * (y - top) as f32 / height as f32 - 1.0;
            if !is_ellipse || across * across + down * down <= 1.0 {
                picture.put_pixel(x, y, colour);
            }
        }
    }
}

/// Value noise, −0.5 to 0.5 for the coarsest octave and half as strong for each finer one; octaves beyond the finest
/// are further layers of the coarse ones.
fn noise(x: u32, y: u32, octave: u32) -> f32 {
    let halvings = octave % OCTAVES;
    let cell = COARSEST >> halvings;
    let (column, row) = (x / cell, y / cell);
    let smooth = |position: u32| {
        let t = (position % cell) as f32 / cell as f32;
        t * t * (3.0 - 2.0 * t)
    };
    let at = |dx: u32, dy: u32| hash(&[octave, column + dx, row + dy]) as f32 / u32::MAX as f32 - 0.5;
    let mix = |from: f32, to: f32, t: f32| from + (to - from) * t;
    let (right, down) = (smooth(x), smooth(y));
    let value = mix(
        mix(at(0, 0), at(1, 0), right),
        mix(at(0, 1), at(1, 1), right),
        down,
    );
    value / (1 << halvings) as f32
}

/// A well mixed number, by Wellons' `lowbias32`.
fn hash(parts: &[u32]) -> u32 {
    parts.iter().fold(SEED, |state, part| {
        let mut mixed = state.rotate_left(16) ^ part.wrapping_add(0x9e37_79b9);
        mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x7feb_352d);
        mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x846c_a68b);
        mixed ^ (mixed >> 16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_detail_at_every_scale() {
        let picture = draw();
        assert_eq!(picture, draw());
        assert_eq!(picture.dimensions(), (WIDTH, HEIGHT));
        // The mean difference of pixels so far apart: it grows with the distance, and is never nothing.
        let mean_difference = |distance: u32| {
            let pairs = (0..HEIGHT).flat_map(|y| (0..WIDTH - distance).map(move |x| (x, y)));
            let (sum, count) = pairs.fold((0u64, 0u64), |(sum, count), (x, y)| {
                let values = [x, x + distance].map(|x| picture.get_pixel(x, y).0[1]);
                (sum + u64::from(values[0].abs_diff(values[1])), count + 1)
            });
            sum as f64 / count as f64
        };
        let differences = [1, 8, 64].map(mean_difference);
        assert!(differences[0] > 0.5, "{differences:?}");
        assert!(differences.is_sorted(), "{differences:?}");
    }
}
