//! Location tokens and their pixel coordinates.

use std::sync::LazyLock;

use florence2_layout::tokens::LOCATION_BINS;
use regex::Regex;

use super::Answer;
use crate::geometry::Point;

/// Matches decimal digits of any script, as `\d` does in Python.
static LOCATION: LazyLock<Regex> = LazyLock::new(|| pattern(r"<loc_(\d+)>"));
static DIGIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\d$"));

/// Compiles a constant pattern.
#[expect(
    clippy::unreachable,
    reason = "the patterns are constants, and the tests compile each of them"
)]
pub(super) fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Returns the bins of all location tokens in `text`, in order. Models have bins 0 to 999; text can contain others.
pub(super) fn bins(text: &str) -> Vec<i64> {
    LOCATION
        .captures_iter(text)
        .filter_map(|token| token.get(1))
        .map(|digits| number(digits.as_str()))
        .collect()
}

/// Parses decimal digits as Python's `int()` does, saturating at 64 bits.
fn number(digits: &str) -> i64 {
    digits.chars().fold(0_i64, |number, c| {
        number.saturating_mul(10).saturating_add(digit_value(c).into())
    })
}

/// Returns the value of a decimal digit of any script.
///
/// Unicode encodes each script's ten digits without gaps, zero first (general category Nd), so the value is the
/// distance from the start of a run of digits, modulo ten (some runs have several sets of ten).
fn digit_value(c: char) -> u8 {
    let is_digit = |c: char| DIGIT.is_match(c.encode_utf8(&mut [0; 4]));
    match c.to_digit(10) {
        Some(value) => value as u8,
        None => {
            let run = ('\0'..c).rev().take_while(|&before| is_digit(before)).count();
            (run % 10) as u8
        }
    }
}

impl Answer<'_> {
    /// Returns the centre of a pair of bins in pixels: `(k + 0.5) · size / 1000`, rounded as in transformers'
    /// `dequantize` (int64 tensor + 0.5 → f32, times a Python float that torch rounds to f32).
    pub(super) fn point(&self, x: i64, y: i64) -> Point {
        let centre = |bin: i64, size: u32| {
            let per_bin = (f64::from(size) / f64::from(LOCATION_BINS)) as f32;
            let pixels = (bin as f32 + 0.5) * per_bin;
            if self.options.strict {
                pixels.trunc()
            } else {
                pixels
            }
        };
        Point {
            x: centre(x, self.size.width),
            y: centre(y, self.size.height),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_any_script_are_parsed() {
        assert_eq!(bins("<loc_0><loc_999><loc_ 1><loc_>"), [0, 999]);
        assert_eq!(bins("<loc_１２><loc_٣٤><loc_1२>"), [12, 34, 12]);
        // Five sets of digits in one run.
        assert_eq!(bins("<loc_\u{1d7ce}\u{1d7d9}\u{1d7ff}>"), [19]);
        assert_eq!(bins(&format!("<loc_{}>", "9".repeat(5000))), [i64::MAX]);
    }
}
