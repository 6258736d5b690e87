//! Products with very few rows or columns: bound by reading the large operand once.

use super::{Left, Right};
use crate::kernels::cpu::vectorised;
use crate::kernels::scratch::at_least;
use crate::kernels::{Cpu, RingWord};

/// Columns of the result that are worked on together: their sums stay in L1 or near it, and rows of the right
/// operand come in pieces long enough for the processor to fetch ahead.
const STRIP: usize = 4096;

/// Rows of the left operand that are copied at once where they do not lie one after another.
const COPIED: usize = 64;

/// A product with few columns: each result is a dot product along the depth.
pub(super) fn few_columns<W: RingWord>(
    cpu: Cpu,
    out: &mut [W],
    stride: usize,
    left: &Left<'_, W>,
    right: &Right<'_, W>,
    n: usize,
    memory: &mut Vec<W>,
) {
    let [m, k] = left.shape();
    let (columns, rows) = at_least(memory, (n + COPIED) * k).split_at_mut(n * k);
    for (at, line) in right.words.chunks(right.stride).take(k).enumerate() {
        for (column, &x) in columns.chunks_exact_mut(k).zip(&line[..n]) {
            column[at] = x;
        }
    }
    if let Some(a) = left.as_matrix() {
        return dots(cpu, out, stride, a, columns, k);
    }
    for (block, out) in out.chunks_mut(COPIED * stride).enumerate() {
        let first = block * COPIED;
        let rows = &mut rows[..COPIED.min(m - first) * k];
        left.copy_rows(first, rows);
        dots(cpu, out, stride, rows, columns, k);
    }
}

vectorised! {
    fn dots<W>(out: &mut [W], stride: usize, a: &[W], columns: &[W], k: usize) = dots_loop;
}

#[inline(always)]
fn dots_loop<W: RingWord>(out: &mut [W], stride: usize, a: &[W], columns: &[W], k: usize) {
    for (out, a) in out.chunks_mut(stride).zip(a.chunks_exact(k)) {
        for (out, column) in out.iter_mut().zip(columns.chunks_exact(k)) {
            *out = a.iter().zip(column).fold(W::ZERO, |sum, (&x, &y)| sum.add(x.mul(y)));
        }
    }
}

/// A product with few rows: the right operand passes by once.
pub(super) fn few_rows<W: RingWord>(
    cpu: Cpu,
    out: &mut [W],
    stride: usize,
    left: &Left<'_, W>,
    right: &Right<'_, W>,
    n: usize,
    memory: &mut Vec<W>,
) {
    let [m, k] = left.shape();
    if let Some(a) = left.as_matrix() {
        return pass_rows(cpu, out, stride, a, right, [k, n]);
    }
    let rows = at_least(memory, m * k);
    left.copy_rows(0, rows);
    pass_rows(cpu, out, stride, rows, right, [k, n]);
}

vectorised! {
    fn pass_rows<W>(out: &mut [W], stride: usize, a: &[W], right: &Right<'_, W>, shape: [usize; 2]) =
        pass_rows_loop;
}

/// Four rows of the right operand at a time.
#[inline(always)]
fn pass_rows_loop<W: RingWord>(
    out: &mut [W],
    stride: usize,
    a: &[W],
    right: &Right<'_, W>,
    [k, n]: [usize; 2],
) {
    for left in (0..n).step_by(STRIP) {
        let cols = STRIP.min(n - left);
        let row = |at: usize| &right.words[at * right.stride + left..][..cols];
        for top in (0..k).step_by(4) {
            for (out, a) in out.chunks_mut(stride).zip(a.chunks_exact(k)) {
                let out = &mut out[left..left + cols];
                if top == 0 {
                    out.fill(W::ZERO);
                }
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
