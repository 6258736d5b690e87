//! Products with very few rows or columns: bound by reading the large operand once.

use super::Columns;
use crate::kernels::cpu::vectorised;
use crate::kernels::{Cpu, RingWord};

/// Columns of the result that are worked on together: their sums stay in L1.
const STRIP: usize = 2048;

/// A product with few columns: each result is a dot product along the depth.
///
/// `memory` has room for the right operand transposed and one line.
pub(super) fn few_columns<W: RingWord>(
    cpu: Cpu,
    out: &mut [W],
    a: &[W],
    b: &impl Columns<W>,
    [k, n]: [usize; 2],
    memory: &mut [W],
) {
    let (line, columns) = memory.split_at_mut(n);
    for row in 0..k {
        b.line(row, 0..n, line);
        for (column, &x) in columns.chunks_exact_mut(k).zip(&*line) {
            column[row] = x;
        }
    }
    dots(cpu, out, a, columns, [k, n]);
}

vectorised! {
    fn dots<W>(out: &mut [W], a: &[W], columns: &[W], shape: [usize; 2]) = dots_loop;
}

#[inline(always)]
fn dots_loop<W: RingWord>(out: &mut [W], a: &[W], columns: &[W], [k, n]: [usize; 2]) {
    for (out, a) in out.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
        for (out, column) in out.iter_mut().zip(columns.chunks_exact(k)) {
            *out = a.iter().zip(column).fold(W::ZERO, |sum, (&x, &y)| sum.add(x.mul(y)));
        }
    }
}

vectorised! {
    /// A product with few rows: the right operand passes by once, four of its rows at a time.
    pub(super) fn few_rows<W>(out: &mut [W], a: &[W], b: &[W], shape: [usize; 2]) = pass_rows;
}

#[inline(always)]
fn pass_rows<W: RingWord>(out: &mut [W], a: &[W], b: &[W], [k, n]: [usize; 2]) {
    out.fill(W::ZERO);
    for left in (0..n).step_by(STRIP) {
        let cols = STRIP.min(n - left);
        let row = |at: usize| &b[at * n + left..][..cols];
        for top in (0..k).step_by(4) {
            for (out, a) in out.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
                let out = &mut out[left..left + cols];
                if top + 4 <= k {
                    let [p, q, r, s] = [row(top), row(top + 1), row(top + 2), row(top + 3)];
                    for (j, out) in out.iter_mut().enumerate() {
                        let low = a[top].mul(p[j]).add(a[top + 1].mul(q[j]));
                        let high = a[top + 2].mul(r[j]).add(a[top + 3].mul(s[j]));
                        *out = out.add(low).add(high);
                    }
                } else {
                    for (at, &x) in a.iter().enumerate().skip(top) {
                        for (out, &y) in out.iter_mut().zip(row(at)) {
                            *out = out.add(x.mul(y));
                        }
                    }
                }
            }
        }
    }
}
