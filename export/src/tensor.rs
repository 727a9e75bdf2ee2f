//! Weights whose values are read when they are written: a name, a shape, and a function that reads the values.

use std::ops::Range;
use std::rc::Rc;

/// A weight of a graph. Values are row-major. Each call of [`values`](Tensor::values) reads them again, so that a
/// model of gigabytes needs memory for its largest tensor only. They are read from the checkpoint as f32 and
/// converted to other types.
#[derive(Clone)]
pub(crate) struct Tensor<'a, T = f32> {
    name: String,
    shape: Vec<usize>,
    load: Rc<dyn Fn() -> Vec<T> + 'a>,
}

impl<'a, T: 'a> Tensor<'a, T> {
    /// A tensor of the values of `load`, whose number is the product of `shape`.
    pub(crate) fn new(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        load: impl Fn() -> Vec<T> + 'a,
    ) -> Self {
        Tensor {
            name: name.into(),
            shape: shape.into(),
            load: Rc::new(load),
        }
    }

    /// The name in the graph: the checkpoint's (native) name with a suffix for each change.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn values(&self) -> Vec<T> {
        (self.load)()
    }

    /// The values after `change`, in another shape or type; the name gets `suffix`.
    pub(crate) fn derived<U: 'a>(
        &self,
        suffix: &str,
        shape: impl Into<Vec<usize>>,
        change: impl Fn(Vec<T>) -> Vec<U> + 'a,
    ) -> Tensor<'a, U> {
        let load = Rc::clone(&self.load);
        Tensor::new(format!("{}.{suffix}", self.name), shape, move || change(load()))
    }

    /// The same weight under another name.
    pub(crate) fn renamed(self, name: &str) -> Self {
        Tensor {
            name: name.to_owned(),
            ..self
        }
    }
}

impl<'a> Tensor<'a> {
    /// The values after `change`; the name gets `suffix`.
    pub(crate) fn map(self, suffix: &str, change: impl Fn(Vec<f32>) -> Vec<f32> + 'a) -> Self {
        let shape = self.shape.clone();
        self.derived(suffix, shape, change)
    }

    /// Every value times `factor`.
    pub(crate) fn scaled(self, factor: f32) -> Self {
        self.map("scaled", move |mut values| {
            values.iter_mut().for_each(|value| *value *= factor);
            values
        })
    }

    /// Each value times the factor of its index along the last axis. Keeps the name.
    pub(crate) fn multiplied(self, factors: Rc<[f32]>) -> Self {
        let name = self.name.clone();
        let multiplied = self.map("", move |mut values| {
            for row in values.chunks_exact_mut(factors.len().max(1)) {
                row.iter_mut()
                    .zip(&*factors)
                    .for_each(|(value, factor)| *value *= factor);
            }
            values
        });
        multiplied.renamed(&name)
    }

    /// Rows `range` of the first axis; the name gets `suffix`.
    pub(crate) fn rows(self, suffix: &str, range: Range<usize>) -> Self {
        let width: usize = self.shape.iter().skip(1).product();
        let mut shape = self.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = range.len();
        }
        let rows = self.map(suffix, move |mut values| {
            values.truncate(range.end * width);
            values.drain(..(range.start * width).min(values.len()));
            values
        });
        Tensor { shape, ..rows }
    }

    /// Tensors of the same shape, stacked along the first axis.
    pub(crate) fn stacked(name: impl Into<String>, parts: Vec<Tensor<'a>>) -> Self {
        let mut shape = parts.first().map(|part| part.shape.clone()).unwrap_or_default();
        if let Some(rows) = shape.first_mut() {
            *rows *= parts.len();
        }
        Tensor::new(name, shape, move || {
            parts.iter().flat_map(Tensor::values).collect()
        })
    }

    /// The transpose of a matrix.
    pub(crate) fn transposed(self) -> Self {
        let [rows, columns] = self.shape[..] else {
            debug_assert!(false, "{} is not a matrix", self.name);
            return self;
        };
        let matrix = self.map("transposed", move |values| transpose(&values, rows, columns));
        Tensor {
            shape: vec![columns, rows],
            ..matrix
        }
    }
}

/// Transposes a row-major matrix, in tiles that stay in cache.
pub(crate) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut transposed = vec![0.0; values.len()];
    for row_start in (0..rows).step_by(TILE) {
        for column_start in (0..columns).step_by(TILE) {
            for row in row_start..(row_start + TILE).min(rows) {
                for column in column_start..(column_start + TILE).min(columns) {
                    transposed[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_applied_in_order() {
        let tensor = Tensor::new("w", [3, 2], || vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let changed = tensor.rows("tail", 1..3).transposed().scaled(10.0);
        assert_eq!(changed.name(), "w.tail.transposed.scaled");
        assert_eq!(changed.shape(), [2, 2]);
        assert_eq!(changed.values(), [30.0, 50.0, 40.0, 60.0]);
    }

    #[test]
    fn stacked_rows_follow_each_other() {
        let part =
            |start: f32| Tensor::new("part", [2, 2], move || (0..4).map(|i| start + i as f32).collect());
        let stacked = Tensor::stacked("both", vec![part(0.0), part(4.0)]);
        assert_eq!((stacked.name(), stacked.shape()), ("both", &[4, 2][..]));
        assert_eq!(stacked.values(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    }

    #[test]
    fn large_matrices_transpose_too() {
        let (rows, columns) = (70, 45);
        let values: Vec<f32> = (0..rows * columns).map(|index| index as f32).collect();
        let transposed = transpose(&values, rows, columns);
        assert_eq!(transposed[3 * rows + 69], values[69 * columns + 3]);
        assert_eq!(transpose(&transposed, columns, rows), values);
    }
}
