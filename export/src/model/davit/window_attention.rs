//! Attention among the tokens of each window of the grid.

use super::stage::Stage;
use crate::checkpoint::Weights;
use crate::config::Grid;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::self_attention;

impl Stage {
    /// Window attention of `x`, `[batch, tokens, dim]`; the result has the same shape. `weights` has `qkv` and
    /// `proj`.
    pub(super) fn window_attention<'a>(
        &self,
        graph: &mut Graph<'a>,
        weights: &Weights<'a>,
        x: &Value,
    ) -> Result<Value> {
        let (qkv, output) = self.projections(weights)?;
        Ok(graph.within(&weights.path("windows"), |graph| {
            let x = self.partition(graph, x);
            let x = self_attention(graph, qkv, self.heads, &x, None);
            let x = output.apply(graph, &x);
            self.merge(graph, &x)
        }))
    }

    /// The grid padded to a multiple of the window.
    fn padded(&self) -> Grid {
        let up = |size: usize| size.next_multiple_of(self.window);
        Grid {
            height: up(self.grid.height),
            width: up(self.grid.width),
        }
    }

    /// `[batch, tokens, dim]` to `[batch · windows, window², dim]`. A row of a window is contiguous and moves
    /// as one.
    fn partition(&self, graph: &mut Graph<'_>, x: &Value) -> Value {
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
    fn merge(&self, graph: &mut Graph<'_>, x: &Value) -> Value {
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
