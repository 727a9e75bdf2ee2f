//! The logits of a decoder's step.

use std::ops::Range;

use ndarray::{ArrayView1, ArrayView2, Axis};

use super::invalid_decoder;
use super::top_k_logits::{TopKLogits, TopKRow};
use crate::error::Result;

/// The logits of a decoder's rows, `[vocabulary]` each, borrowed from the decoder; or their top k, while the other
/// logits stay in the device's memory.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'a> {
    source: Source<'a>,
    at: Rows<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    All(ArrayView2<'a, f32>),
    TopK(&'a dyn TopKLogits),
}

/// The rows of the source that a [`Logits`] has, in its order.
#[derive(Debug, Clone, Copy)]
enum Rows<'a> {
    /// Adjacent rows.
    From { first: usize, rows: usize },
    /// Row `i` is the source's row `[i]`.
    At(&'a [usize]),
}

impl Source<'_> {
    fn rows(&self) -> usize {
        match self {
            Source::All(values) => values.nrows(),
            Source::TopK(logits) => logits.rows(),
        }
    }
}

impl<'a> Logits<'a> {
    /// Returns logits of `values`, `[rows, vocabulary]`.
    pub fn new(values: ArrayView2<'a, f32>) -> Self {
        let rows = values.nrows();
        Self {
            source: Source::All(values),
            at: Rows::From { first: 0, rows },
        }
    }

    /// Returns logits whose row `i` is row `i` of `logits`.
    pub fn top_k(logits: &'a dyn TopKLogits) -> Self {
        let rows = logits.rows();
        Self {
            source: Source::TopK(logits),
            at: Rows::From { first: 0, rows },
        }
    }

    /// Returns logits whose row `i` is row `rows[i]` of `self`, which must have all rows of the decoder.
    pub fn at(self, rows: &'a [usize]) -> Self {
        Self {
            at: Rows::At(rows),
            ..self
        }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        match self.at {
            Rows::From { rows, .. } => rows,
            Rows::At(rows) => rows.len(),
        }
    }

    /// Returns the number of logits of each row.
    pub fn vocabulary(&self) -> usize {
        match self.source {
            Source::All(values) => values.ncols(),
            Source::TopK(logits) => logits.vocabulary(),
        }
    }

    /// Returns the logits of adjacent rows; `None` if there are no such rows.
    pub fn slice(&self, rows: Range<usize>) -> Option<Self> {
        let known = self.source.rows();
        let at = match self.at {
            Rows::From { first, rows: all } => {
                if rows.start > rows.end || rows.end > all || first + rows.end > known {
                    return None;
                }
                Rows::From {
                    first: first + rows.start,
                    rows: rows.len(),
                }
            }
            Rows::At(all) => {
                let rows = all.get(rows)?;
                if rows.iter().any(|&row| row >= known) {
                    return None;
                }
                Rows::At(rows)
            }
        };
        Some(Self { at, ..*self })
    }

    fn source_row(&self, row: usize) -> Option<usize> {
        match self.at {
            Rows::From { first, rows } => (row < rows).then_some(first + row),
            Rows::At(rows) => rows.get(row).copied(),
        }
    }

    /// Returns the top-k logits of a row; `None` if there is no such row, or all logits are in the CPU's memory.
    pub fn top_k_row(&self, row: usize) -> Option<TopKRow<'a>> {
        match self.source {
            Source::All(_) => None,
            Source::TopK(logits) => logits.row(self.source_row(row)?),
        }
    }

    /// Returns all logits of a row.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`](crate::Error::InvalidGraph) if there is no such row; errors of ONNX Runtime if the logits are
    /// copied from a device to the CPU's memory.
    pub fn row(&self, row: usize) -> Result<ArrayView1<'a, f32>> {
        let all = match self.source {
            Source::All(values) => values,
            Source::TopK(logits) => logits.all()?,
        };
        match self.source_row(row).filter(|&row| row < all.nrows()) {
            Some(row) => Ok(all.index_axis_move(Axis(0), row)),
            None => Err(invalid_decoder(format!("it returned no row {row} of logits"))),
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
        assert!(placed.slice(2..4).is_none() && placed.top_k_row(0).is_none());
        let beyond = Logits::new(values.view()).at(&[4]);
        assert!(beyond.slice(0..1).is_none() && beyond.row(0).is_err());
    }
}
