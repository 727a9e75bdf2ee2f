//! What a decoder gives.

use std::ops::Range;

use ndarray::{ArrayView2, s};

/// The logits of a decoder's rows, `[vocabulary]` each, in the decoder's own buffer.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'a> {
    values: ArrayView2<'a, f32>,
    /// Where in `values` each row's are; `None` if row `i`'s are at `i`.
    places: Option<&'a [usize]>,
}

impl<'a> Logits<'a> {
    /// Row `i`'s logits are `values`' row `i`.
    pub fn new(values: ArrayView2<'a, f32>) -> Self {
        Self { values, places: None }
    }

    /// Row `i`'s logits are `values`' row `places[i]`.
    pub fn at(values: ArrayView2<'a, f32>, places: &'a [usize]) -> Self {
        Self {
            values,
            places: Some(places),
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.places.map_or(self.values.nrows(), <[usize]>::len)
    }

    /// The number of logits of each row.
    pub fn vocabulary(&self) -> usize {
        self.values.ncols()
    }

    /// The logits of consecutive rows, `[rows, vocabulary]`; `None` if there are no such rows, or if they do not stand
    /// one after another in the buffer, as those of one input do.
    pub fn slice(&self, rows: Range<usize>) -> Option<ArrayView2<'a, f32>> {
        let place = match self.places {
            None => rows,
            Some(places) => {
                let places = places.get(rows)?;
                let first = places.first().copied().unwrap_or(0);
                let range = first..first + places.len();
                if !places.iter().copied().eq(range.clone()) {
                    return None;
                }
                range
            }
        };
        (place.start <= place.end && place.end <= self.values.nrows())
            .then(|| self.values.slice_move(s![place, ..]))
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
        assert_eq!((plain.rows(), plain.vocabulary()), (4, 1));
        assert_eq!(plain.slice(1..3).unwrap(), array![[1.0], [2.0]]);
        assert!(plain.slice(3..5).is_none());
        let placed = Logits::at(values.view(), &[2, 3, 0]);
        assert_eq!(placed.rows(), 3);
        assert_eq!(placed.slice(0..2).unwrap(), array![[2.0], [3.0]]);
        assert_eq!(placed.slice(2..3).unwrap(), array![[0.0]]);
        assert!(placed.slice(1..3).is_none() && placed.slice(2..4).is_none());
        assert!(Logits::at(values.view(), &[4]).slice(0..1).is_none());
    }
}
