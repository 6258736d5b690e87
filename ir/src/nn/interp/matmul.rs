//! One blocked matrix kernel for products and convolutions.
//!
//! `out[m, n] += a[m, k] b[k, n]` is cut into strips of [`STRIP`] columns. A strip of `b` is packed as
//! panels of [`LANES`] columns, so the inner loop reads memory in order and the compiler keeps a tile
//! of [`ROWS`] by [`LANES`] sums in registers. Sums run in blocks of [`DEPTH`] terms, which bounds the
//! rounding error of single precision.

use super::{Element, View};

/// Columns of a panel: two vectors of the smallest x86-64.
pub(super) const LANES: usize = 8;
/// Rows of a register tile.
const ROWS: usize = 4;
/// Terms that are summed before they go to memory.
const DEPTH: usize = 256;
/// Columns that are packed at a time.
const STRIP: usize = 16 * LANES;

/// A strip of columns of the right operand, as panels `[STRIP / LANES][k][LANES]`.
pub(super) struct Strip<'a, T> {
    /// First column.
    pub(super) first: usize,
    /// Number of columns; entries beyond it in the last panel are not used.
    pub(super) columns: usize,
    k: usize,
    panels: &'a mut [T],
}

impl<T> Strip<'_, T> {
    /// The entries of row `row`, one chunk of at most [`LANES`] columns after the other.
    pub(super) fn row(&mut self, row: usize) -> impl Iterator<Item = &mut [T]> {
        let (columns, size) = (self.columns, self.k * LANES);
        self.panels.chunks_exact_mut(size).enumerate().map_while(move |(panel, data)| {
            let width = columns.checked_sub(panel * LANES).filter(|w| *w > 0)?.min(LANES);
            Some(&mut data[row * LANES..][..width])
        })
    }
}

/// `out[m, n] += a[m, k] b[k, n]`, where `fill` writes strips of `b`.
pub(super) fn product_with<T: Element>(
    out: &mut [T],
    a: &[T],
    [m, k, n]: [usize; 3],
    mut fill: impl FnMut(&mut Strip<'_, T>),
) {
    if m == 0 || k == 0 {
        return;
    }
    let mut panels = vec![T::default(); k * STRIP.min(n.next_multiple_of(LANES))];
    for first in (0..n).step_by(STRIP) {
        let columns = STRIP.min(n - first);
        fill(&mut Strip { first, columns, k, panels: &mut panels });
        for from in (0..k).step_by(DEPTH) {
            let terms = from..k.min(from + DEPTH);
            for (at, panel) in panels.chunks_exact(k * LANES).enumerate() {
                let column = first + at * LANES;
                if column >= first + columns {
                    break;
                }
                let panel = &panel[terms.start * LANES..terms.end * LANES];
                let width = LANES.min(n - column);
                for row in (0..m).step_by(ROWS) {
                    let rows = ROWS.min(m - row);
                    let a_rows = &a[row * k..(row + rows) * k];
                    let a_row = |i: usize| &a_rows[i * k..][terms.clone()];
                    let out = &mut out[row * n + column..];
                    match rows {
                        1 => tile([a_row(0)], panel, out, n, width),
                        2 => tile([a_row(0), a_row(1)], panel, out, n, width),
                        3 => tile([a_row(0), a_row(1), a_row(2)], panel, out, n, width),
                        _ => tile([a_row(0), a_row(1), a_row(2), a_row(3)], panel, out, n, width),
                    }
                }
            }
        }
    }
}

/// Adds the product of `R` rows and one panel to `out`, whose rows are `stride` apart.
fn tile<T: Element, const R: usize>(
    rows: [&[T]; R],
    panel: &[T],
    out: &mut [T],
    stride: usize,
    width: usize,
) {
    let mut sums = [[T::default(); LANES]; R];
    let (columns, _) = panel.as_chunks::<LANES>();
    let rows = rows.map(|row| &row[..columns.len()]);
    for (term, b) in columns.iter().enumerate() {
        for (sum, row) in sums.iter_mut().zip(&rows) {
            for (s, &b) in sum.iter_mut().zip(b) {
                *s = s.plus_product(row[term], b);
            }
        }
    }
    for (r, sum) in sums.iter().enumerate() {
        for (o, &s) in out[r * stride..][..width].iter_mut().zip(sum) {
            *o = o.plus(s);
        }
    }
}

/// Batched product; `b` has the leading extents of `a`, or rank 2.
pub(crate) fn matmul<T: Element>(a: View<'_, T>, b: View<'_, T>) -> Vec<T> {
    let (rank, rank_b) = (a.shape.rank(), b.shape.rank());
    let (k, n) = (a.shape[rank - 1], b.shape[rank_b - 1]);
    let total =
        a.shape.elements().checked_div(k).unwrap_or_else(|| a.shape[..rank - 1].iter().product());
    // A right operand of rank 2 is shared: all rows of `a` form one matrix.
    let m = if rank_b == 2 { total } else { a.shape[rank - 2] };
    let mut out = vec![T::default(); total * n];
    if out.is_empty() || k == 0 {
        return out;
    }
    for (at, out) in out.chunks_exact_mut(m * n).enumerate() {
        let (a, b) = (&a.data[at * m * k..][..m * k], &b.data[at * k * n..][..k * n]);
        product_with(out, a, [m, k, n], |strip| {
            for (row, values) in b.chunks_exact(n).enumerate() {
                let values = &values[strip.first..][..strip.columns];
                for (to, from) in strip.row(row).zip(values.chunks(LANES)) {
                    to.copy_from_slice(from);
                }
            }
        });
    }
    out
}
