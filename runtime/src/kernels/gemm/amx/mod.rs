//! Products with AMX: matrix instructions on bytes, several times as fast as vectors of words.
//!
//! A word is cut into digits of eight bits: `a b = sum of a_i b_j 2^(8 (i + j))` over the pairs with
//! `i + j` below the number of digits, the others vanish in the ring. Each sum of digits `i + j` has
//! its own accumulator tile of 16 x 16 32-bit sums, which are joined once per block. For 32-bit words
//! sums may wrap, as the ring does. For 64-bit words those of the lower half must not:
//! `4 DEPTH 255^2 < 2^32`; those of the upper half may.
#![expect(unsafe_code, reason = "matrix instructions")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions say where they are from")]

mod digits;
mod tiles;

use super::left::Part;
use super::{Left, Right};
use crate::kernels::RingWord;
use crate::kernels::scratch::{Line, at_least};
use digits::{pack_left, pack_right};
use std::arch::x86_64::*;
pub(in crate::kernels) use tiles::available;
use tiles::{Configured, high_sums, low_sums};

/// Rows of the right operand per block.
const DEPTH: usize = 512;
/// Columns of the right operand per block.
const COLS: usize = 384;
/// Rows and columns of a tile of the result.
const SIDE: usize = 16;
/// Depth of one tile: a row of 64 digits.
const STEP: usize = 64;

/// Whether the shape fills tiles well enough.
pub(super) fn pays([m, k, n]: [usize; 3]) -> bool {
    m >= 8 && k >= 24 && n >= 12
}

/// The memory of a product: panels of digits, and words on their way there.
pub(super) struct Memory<'a, W> {
    pub(super) tiles: &'a mut Vec<Line>,
    pub(super) words: &'a mut Vec<W>,
}

/// `out = left right`, see [`super::gemm`].
pub(super) fn gemm<W: RingWord>(
    out: &mut [W],
    stride: usize,
    left: &Left<'_, W>,
    right: &Right<'_, W>,
    n: usize,
    memory: &mut Memory<'_, W>,
) {
    let [m, k] = left.shape();
    let most = DEPTH.min(k).div_ceil(STEP) * W::BYTES * SIDE;
    let panels = COLS.min(n).div_ceil(SIDE);
    let lines = at_least(memory.tiles, (panels + 1) * most + 4 * SIDE);
    let (left_tiles, rest) = lines.split_at_mut(most);
    let (sums, right_tiles) = rest.split_at_mut(4 * SIDE);
    let words = at_least(memory.words, (4 * panels * SIDE).max(SIDE * DEPTH));
    let mut parts = [Part::default(); DEPTH];
    let _tiles = Configured::new();
    for from in (0..n).step_by(COLS) {
        let cols = COLS.min(n - from);
        for top in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - top);
            let panel = depth.div_ceil(STEP) * W::BYTES * SIDE;
            pack_right(right_tiles, words, right, [top, depth], [from, cols]);
            let count = left.parts(top..top + depth, &mut parts);
            for first in (0..m).step_by(SIDE) {
                let rows = SIDE.min(m - first);
                let mut places = [0; SIDE];
                left.places(first, &mut places[..rows]);
                for (&place, row) in places[..rows].iter().zip(words.chunks_exact_mut(depth)) {
                    left.copy(place, &parts[..count], row);
                }
                pack_left(left_tiles, words, depth, [rows, depth]);
                for at in (0..cols).step_by(SIDE) {
                    let right = &right_tiles[at / SIDE * panel..][..panel];
                    let shape = [rows, SIDE.min(cols - at), stride];
                    let out = &mut out[first * stride + from + at..];
                    multiply(out, shape, &left_tiles[..panel], right, sums, top > 0);
                }
            }
        }
    }
}

/// One tile of the result: `out = left right` or `out += left right`.
///
/// `shape` is rows and columns that are stored, and words between rows of `out`.
fn multiply<W: RingWord>(
    out: &mut [W],
    [rows, cols, stride]: [usize; 3],
    left: &[Line],
    right: &[Line],
    sums: &mut [Line],
    add: bool,
) {
    assert!(out.len() >= (rows - 1) * stride + cols && cols <= SIDE && rows <= SIDE);
    assert!(left.len() == right.len() && sums.len() == 4 * SIDE);
    let steps = left.len() / (W::BYTES * SIDE);
    assert!(steps > 0 && left.len() == steps * W::BYTES * SIDE);
    // SAFETY: the lengths are checked above; AMX is there, so is AVX-512.
    unsafe {
        low_sums(left.as_ptr(), right.as_ptr(), sums.as_mut_ptr(), steps, W::BYTES * 1024);
        join(out, [rows, cols, stride], sums, 0, add);
        if W::BITS == 64 {
            high_sums(left.as_ptr(), right.as_ptr(), sums.as_mut_ptr(), steps);
            join(out, [rows, cols, stride], sums, 32, true);
        }
    }
}

/// Adds sum tile `s`, times `2^(base + 8 s)`, to the result.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn join<W: RingWord>(
    out: &mut [W],
    [rows, cols, stride]: [usize; 3],
    sums: &[Line],
    base: u32,
    add: bool,
) {
    for row in 0..rows {
        let out = &mut out[row * stride..][..cols];
        let sums: [&Line; 4] = std::array::from_fn(|s| &sums[s * SIDE + row]);
        if W::BITS == 32 {
            let mut total = load_line(sums[0]);
            for (by, line) in (8_u32..).step_by(8).zip(&sums[1..]) {
                total = _mm512_add_epi32(total, _mm512_sll_epi32(load_line(line), count(by)));
            }
            store_sums(out, total, add);
        } else {
            for (half, out) in out.chunks_mut(SIDE / 2).enumerate() {
                let mut total = _mm512_setzero_si512();
                for (by, line) in (base..).step_by(8).zip(sums) {
                    let wide = _mm512_sll_epi64(load_wide(line, half), count(by));
                    total = _mm512_add_epi64(total, wide);
                }
                store_sums(out, total, add);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn count(by: u32) -> __m128i {
    _mm_cvtsi32_si128(by.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_line(line: &Line) -> __m512i {
    // SAFETY: a line is one vector.
    unsafe { _mm512_load_si512((&raw const *line).cast()) }
}

/// Half of the 32-bit sums of a line, zero-extended.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_wide(line: &Line, half: usize) -> __m512i {
    let line = load_line(line);
    _mm512_cvtepu32_epi64(match half {
        0 => _mm512_castsi512_si256(line),
        _ => _mm512_extracti64x4_epi64::<1>(line),
    })
}

/// Writes the lowest lanes to `out`, as many as it has words, or adds them.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_sums<W: RingWord>(out: &mut [W], sums: __m512i, add: bool) {
    let mask = (1_u32 << out.len()).wrapping_sub(1);
    // SAFETY: the masks have as many ones as `out` has words.
    unsafe {
        if W::BITS == 32 {
            let (to, mask) = (out.as_mut_ptr().cast(), mask as u16);
            let old = _mm512_maskz_loadu_epi32(mask, to);
            let sums = if add { _mm512_add_epi32(old, sums) } else { sums };
            _mm512_mask_storeu_epi32(to, mask, sums);
        } else {
            let (to, mask) = (out.as_mut_ptr().cast(), mask as u8);
            let old = _mm512_maskz_loadu_epi64(mask, to);
            let sums = if add { _mm512_add_epi64(old, sums) } else { sums };
            _mm512_mask_storeu_epi64(to, mask, sums);
        }
    }
}
