//! What a decoder gives.

use std::ops::Range;

use ndarray::{ArrayView1, ArrayView2, Axis};

use super::DECODER;
use super::math::LogSumExp;
use crate::error::{Error, Result};

/// The logits of a decoder's rows, `[vocabulary]` each, in the decoder's own buffer; or the best of them, while the rest
/// stays where the decoder runs.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'a> {
    source: Source<'a>,
    places: Places<'a>,
}

/// Logits of which the best were chosen where the decoder runs: a device's memory, say.
pub trait BestLogits: std::fmt::Debug {
    /// The number of rows.
    fn rows(&self) -> usize;

    /// The number of logits of each row.
    fn vocabulary(&self) -> usize;

    /// The best logits of a row; `None` if there is no such row.
    fn row(&self, row: usize) -> Option<BestRow<'_>>;

    /// All logits, `[rows, vocabulary]`, which are fetched for this.
    ///
    /// # Errors
    /// What the runtime reports.
    fn all(&self) -> Result<ArrayView2<'_, f32>>;
}

/// The best logits of a row: none that is left out is higher than the last of them.
#[derive(Debug, Clone, Copy)]
pub struct BestRow<'a> {
    /// Their tokens; of equal logits, those of the lowest tokens are there, and come first.
    pub tokens: &'a [i64],
    /// The logits, the highest first.
    pub logits: &'a [f32],
    /// `ln Σ exp(x - max)` over all logits of the row.
    pub log_sum_exp: f32,
}

impl BestRow<'_> {
    /// Of all logits of the row; `None` if they are not numbers, or all are -∞.
    pub(super) fn log_sum_exp(&self) -> Option<LogSumExp> {
        let max = *self.logits.first()?;
        (max.is_finite() && self.log_sum_exp.is_finite()).then(|| LogSumExp::new(max, self.log_sum_exp))
    }
}

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    All(ArrayView2<'a, f32>),
    Best(&'a dyn BestLogits),
}

/// Where in the source each row's logits are.
#[derive(Debug, Clone, Copy)]
enum Places<'a> {
    /// One after another.
    From { first: usize, rows: usize },
    /// Row `i`'s are at `[i]`.
    At(&'a [usize]),
}

impl Source<'_> {
    fn rows(&self) -> usize {
        match self {
            Source::All(values) => values.nrows(),
            Source::Best(best) => best.rows(),
        }
    }
}

impl<'a> Logits<'a> {
    /// Row `i`'s logits are `values`' row `i`.
    pub fn new(values: ArrayView2<'a, f32>) -> Self {
        let rows = values.nrows();
        Self {
            source: Source::All(values),
            places: Places::From { first: 0, rows },
        }
    }

    /// Row `i`'s logits are those of `best`'s row `i`.
    pub fn best(best: &'a dyn BestLogits) -> Self {
        let rows = best.rows();
        Self {
            source: Source::Best(best),
            places: Places::From { first: 0, rows },
        }
    }

    /// The same values or best logits, of which row `places[i]` is row `i`.
    pub fn at(self, places: &'a [usize]) -> Self {
        Self {
            places: Places::At(places),
            ..self
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        match self.places {
            Places::From { rows, .. } => rows,
            Places::At(places) => places.len(),
        }
    }

    /// The number of logits of each row.
    pub fn vocabulary(&self) -> usize {
        match self.source {
            Source::All(values) => values.ncols(),
            Source::Best(best) => best.vocabulary(),
        }
    }

    /// The logits of consecutive rows; `None` if there are no such rows.
    pub fn slice(&self, rows: Range<usize>) -> Option<Self> {
        let known = self.source.rows();
        let places = match self.places {
            Places::From { first, rows: all } => {
                if rows.start > rows.end || rows.end > all || first + rows.end > known {
                    return None;
                }
                Places::From {
                    first: first + rows.start,
                    rows: rows.len(),
                }
            }
            Places::At(places) => {
                let places = places.get(rows)?;
                if places.iter().any(|&place| place >= known) {
                    return None;
                }
                Places::At(places)
            }
        };
        Some(Self { places, ..*self })
    }

    fn place(&self, row: usize) -> Option<usize> {
        match self.places {
            Places::From { first, rows } => (row < rows).then_some(first + row),
            Places::At(places) => places.get(row).copied(),
        }
    }

    /// The best logits of a row, if they were chosen already.
    pub fn best_row(&self, row: usize) -> Option<BestRow<'a>> {
        match self.source {
            Source::All(_) => None,
            Source::Best(best) => best.row(self.place(row)?),
        }
    }

    /// All logits of a row.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`] if there is no such row; what the runtime reports, where they are fetched for this.
    pub fn row(&self, row: usize) -> Result<ArrayView1<'a, f32>> {
        let all = match self.source {
            Source::All(values) => values,
            Source::Best(best) => best.all()?,
        };
        match self.place(row).filter(|&place| place < all.nrows()) {
            Some(place) => Ok(all.index_axis_move(Axis(0), place)),
            None => Err(Error::InvalidGraph {
                graph: DECODER.to_owned(),
                reason: format!("it gave no row {row} of logits"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn rows_are_found_where_they_are() {
        let values = array![[0.0], [1.0], [2.0], [3.0]];
        let plain = Logits::new(values.view());
        let rows = |logits: Logits<'_>| -> Vec<f32> {
            (0..logits.rows())
                .map(|row| logits.row(row).unwrap()[0])
                .collect()
        };
        assert_eq!((plain.rows(), plain.vocabulary()), (4, 1));
        assert_eq!(rows(plain.slice(1..3).unwrap()), [1.0, 2.0]);
        let nested = plain.slice(1..4).unwrap().slice(1..3).unwrap();
        assert_eq!(rows(nested), [2.0, 3.0]);
        assert!(plain.slice(3..5).is_none() && plain.row(4).is_err());
        let placed = Logits::new(values.view()).at(&[2, 3, 0]);
        assert_eq!(placed.rows(), 3);
        assert_eq!(rows(placed.slice(0..2).unwrap()), [2.0, 3.0]);
        assert_eq!(rows(placed.slice(1..3).unwrap()), [3.0, 0.0]);
        assert!(placed.slice(2..4).is_none() && placed.best_row(0).is_none());
        let beyond = Logits::new(values.view()).at(&[4]);
        assert!(beyond.slice(0..1).is_none() && beyond.row(0).is_err());
    }
}
