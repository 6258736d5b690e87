//! Products with very few rows or columns: bound by reading the large operand once.

use super::left::Part;
use super::{DEPTH, Left, Right};
use crate::kernels::cpu::vectorised;
use crate::kernels::scratch::at_least;
use crate::kernels::{Cpu, RingWord};

/// Columns of the result that are worked on together: their sums stay in L1.
const STRIP: usize = 2048;

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
    let (columns, row) = at_least(memory, (n + 1) * k).split_at_mut(n * k);
    for (at, line) in right.words.chunks(right.stride).take(k).enumerate() {
        for (column, &x) in columns.chunks_exact_mut(k).zip(&line[..n]) {
            column[at] = x;
        }
    }
    if let Some(a) = left.as_matrix().filter(|_| stride == n) {
        return dots(cpu, &mut out[..m * n], a, columns, [k, n]);
    }
    for (at, out) in out.chunks_mut(stride).take(m).enumerate() {
        let a = whole_row(left, at, row);
        dots(cpu, &mut out[..n], a, columns, [k, n]);
    }
}

/// A row of the left operand, in `memory` if its words do not follow one another.
fn whole_row<'a, W: RingWord>(left: &Left<'a, W>, row: usize, memory: &'a mut [W]) -> &'a [W] {
    let [_, k] = left.shape();
    let mut place = [0];
    left.places(row, &mut place);
    if left.taps[2] == k {
        return &left.words[place[0]..][..k];
    }
    let mut parts = [Part::default(); DEPTH];
    for (block, to) in memory[..k].chunks_mut(DEPTH).enumerate() {
        let top = block * DEPTH;
        let count = left.parts(top..top + to.len(), &mut parts);
        left.copy(place[0], &parts[..count], to);
    }
    &memory[..k]
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

/// A product with few rows: the right operand passes by once for each.
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
    let (first, second) = at_least(memory, 2 * k).split_at_mut(k);
    let (out, rest) = out.split_at_mut(stride.min(out.len()));
    let a = whole_row(left, 0, first);
    if m == 1 {
        return pass_one(cpu, &mut out[..n], a, right.words, right.stride);
    }
    let b = whole_row(left, 1, second);
    pass_two(cpu, [&mut out[..n], &mut rest[..n]], [a, b], right.words, right.stride);
}

vectorised! {
    fn pass_one<W>(out: &mut [W], a: &[W], right: &[W], stride: usize) = pass_one_loop;
}

vectorised! {
    fn pass_two<W>(out: [&mut [W]; 2], a: [&[W]; 2], right: &[W], stride: usize) = pass_rows;
}

#[inline(always)]
fn pass_one_loop<W: RingWord>(out: &mut [W], a: &[W], right: &[W], stride: usize) {
    pass_rows([out], [a], right, stride);
}

/// Four rows of the right operand at a time.
#[inline(always)]
fn pass_rows<W: RingWord, const M: usize>(
    out: [&mut [W]; M],
    a: [&[W]; M],
    right: &[W],
    stride: usize,
) {
    let k = a.first().map_or(0, |a| a.len());
    let n = out.first().map_or(0, |out| out.len());
    let mut out = out;
    for left in (0..n).step_by(STRIP) {
        let cols = STRIP.min(n - left);
        let row = |at: usize| &right[at * stride + left..][..cols];
        out.iter_mut().for_each(|out| out[left..left + cols].fill(W::ZERO));
        for top in (0..k).step_by(4) {
            for (out, a) in out.iter_mut().zip(&a) {
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
