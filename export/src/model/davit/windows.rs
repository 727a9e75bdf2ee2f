//! The grid cut into windows, and back.

use super::Stage;
use crate::graph::{Graph, Value};
use crate::image_size::Grid;

impl Stage {
    /// The grid, filled up to whole windows.
    fn padded(&self) -> Grid {
        let up = |size: usize| size.next_multiple_of(self.window);
        Grid {
            height: up(self.grid.height),
            width: up(self.grid.width),
        }
    }

    /// `[batch, tokens, dim]` to `[batch · windows, window², dim]`. A row of a window is contiguous and moves
    /// whole.
    pub(in crate::model) fn partition(&self, graph: &mut Graph<'_>, x: &Value) -> Value {
        let (grid, padded, window) = (self.grid, self.padded(), self.window);
        let mut x = x.clone();
        if padded != grid {
            x = graph.reshape(&x, &[0, grid.height as i64, grid.width as i64, self.dim as i64]);
            let after = [
                0,
                (padded.height - grid.height) as i64,
                (padded.width - grid.width) as i64,
                0,
            ];
            x = graph.pad_end(&x, &after);
        }
        let (rows, columns) = ((padded.height / window) as i64, (padded.width / window) as i64);
        let x = graph.reshape(
            &x,
            &[-1, rows, window as i64, columns, (window * self.dim) as i64],
        );
        let x = graph.transpose(&x, &[0, 1, 3, 2, 4]);
        graph.reshape(&x, &[-1, (window * window) as i64, self.dim as i64])
    }

    /// The reverse of [`partition`](Self::partition).
    pub(in crate::model) fn merge(&self, graph: &mut Graph<'_>, x: &Value) -> Value {
        let (grid, padded, window) = (self.grid, self.padded(), self.window);
        let (rows, columns) = ((padded.height / window) as i64, (padded.width / window) as i64);
        let x = graph.reshape(x, &[-1, rows, columns, window as i64, (window * self.dim) as i64]);
        let mut x = graph.transpose(&x, &[0, 1, 3, 2, 4]);
        if padded != grid {
            x = graph.reshape(
                &x,
                &[-1, padded.height as i64, padded.width as i64, self.dim as i64],
            );
            let (starts, ends) = (
                graph.ints(&[0, 0]),
                graph.ints(&[grid.height as i64, grid.width as i64]),
            );
            x = graph.slice(&x, &starts, &ends, &[1, 2]);
        }
        graph.reshape(&x, &[-1, grid.tokens() as i64, self.dim as i64])
    }
}
