//! Outlines of label text.

use ab_glyph::{Font, FontRef, Glyph, GlyphId, OutlineCurve, Point as GlyphPoint, ScaleFont};
use tiny_skia::{Path, PathBuilder};

use crate::geometry::BoundingBox;

/// DejaVu Sans Bold, reduced to Latin, Greek and Cyrillic; see `assets/LICENSE-DejaVu`.
const FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-Bold-subset.ttf");
const ELLIPSIS: char = '…';

/// The margin left and right of the text in its label, in font sizes.
const MARGIN: f32 = 0.25;

/// The font at one size.
pub(super) struct LabelFont {
    font: FontRef<'static>,
    size: f32,
}

impl LabelFont {
    #[expect(
        clippy::expect_used,
        reason = "the font is part of the program, and every test of drawing loads it"
    )]
    pub(super) fn new(size: f32) -> Self {
        Self {
            font: FontRef::try_from_slice(FONT).expect("the embedded font is a font"),
            size,
        }
    }

    /// Returns the height of a label: one line, from the ascenders to the descenders.
    pub(super) fn label_height(&self) -> f32 {
        self.size
    }

    /// Returns the width of a label with `text`.
    pub(super) fn label_width(&self, text: &str) -> f32 {
        let scaled = self.font.as_scaled(self.size);
        let end = self.glyphs(text).last();
        end.map_or(0.0, |glyph| glyph.position.x + scaled.h_advance(glyph.id)) + 2.0 * self.margin()
    }

    /// Shortens the text with an ellipsis to fit a label of `width`.
    pub(super) fn shorten(&self, text: &str, width: f32) -> String {
        if self.label_width(text) <= width {
            return text.to_owned();
        }
        let scaled = self.font.as_scaled(self.size);
        let available = width - 2.0 * self.margin() - scaled.h_advance(scaled.glyph_id(ELLIPSIS));
        let fitting = self
            .glyphs(text)
            .take_while(|glyph| glyph.position.x + scaled.h_advance(glyph.id) <= available)
            .count();
        let mut short: String = text.chars().take(fitting).collect();
        short.truncate(short.trim_end().len());
        short.push(ELLIPSIS);
        short
    }

    /// Returns the letters' outlines in a label's rectangle, `rect`.
    pub(super) fn outline(&self, text: &str, rect: BoundingBox) -> Option<Path> {
        let scaled = self.font.as_scaled(self.size);
        let baseline = rect.y1 + scaled.ascent();
        let mut path = PathBuilder::new();
        for glyph in self.glyphs(text) {
            self.push_glyph(
                &mut path,
                glyph.id,
                rect.x1 + self.margin() + glyph.position.x,
                baseline,
            );
        }
        path.finish()
    }

    fn margin(&self) -> f32 {
        MARGIN * self.size
    }

    /// Returns a glyph for each character, with its distance from the start of the text.
    fn glyphs<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Glyph> + 'a {
        let scaled = self.font.as_scaled(self.size);
        let mut x = 0.0;
        let mut previous: Option<GlyphId> = None;
        text.chars().map(move |character| {
            let id = scaled.glyph_id(character);
            if let Some(previous) = previous {
                x += scaled.h_advance(previous) + scaled.kern(previous, id);
            }
            previous = Some(id);
            id.with_scale_and_position(self.size, ab_glyph::point(x, 0.0))
        })
    }

    fn push_glyph(&self, path: &mut PathBuilder, id: GlyphId, x: f32, baseline: f32) {
        let Some(outline) = self.font.outline(id) else {
            return;
        };
        let scaled = self.font.as_scaled(self.size);
        let (across, up) = (scaled.h_scale_factor(), scaled.v_scale_factor());
        let place = |point: GlyphPoint| (x + point.x * across, baseline - point.y * up);
        // A font's curves do not mark where a contour starts.
        let mut at = None;
        for curve in outline.curves {
            let (start, end) = match curve {
                OutlineCurve::Line(start, end)
                | OutlineCurve::Quad(start, _, end)
                | OutlineCurve::Cubic(start, _, _, end) => (start, end),
            };
            if at != Some(start) {
                let (x, y) = place(start);
                path.move_to(x, y);
            }
            at = Some(end);
            let (end_x, end_y) = place(end);
            match curve {
                OutlineCurve::Line(..) => path.line_to(end_x, end_y),
                OutlineCurve::Quad(_, control, _) => {
                    let (x, y) = place(control);
                    path.quad_to(x, y, end_x, end_y);
                }
                OutlineCurve::Cubic(_, first, second, _) => {
                    let ((x1, y1), (x2, y2)) = (place(first), place(second));
                    path.cubic_to(x1, y1, x2, y2, end_x, end_y);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shortened_to_the_width() {
        let font = LabelFont::new(20.0);
        assert_eq!(font.shorten("1 cat", 200.0), "1 cat");
        let short = font.shorten("1 a cat that is lying on a couch beside a remote control", 200.0);
        assert!(short.starts_with("1 a cat") && short.ends_with('…'), "{short}");
        assert!(font.label_width(&short) <= 200.0);
        assert_eq!(font.shorten("1 cat", 0.0), "…");
    }

    #[test]
    fn latin_greek_and_cyrillic_have_glyphs() {
        let font = LabelFont::new(20.0);
        for character in "Aéßđ€Ωжѣ…ế".chars() {
            assert_ne!(font.font.glyph_id(character), GlyphId(0), "{character}");
        }
        assert_eq!(font.font.glyph_id('猫'), GlyphId(0));
        assert!(
            font.outline("猫", BoundingBox::new(0.0, 0.0, 50.0, 20.0))
                .is_some()
        );
    }
}
