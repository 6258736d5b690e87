//! Cuts words into byte digits, in the layouts that the matrix instructions read.
#![expect(unsafe_code, reason = "vector instructions")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions say where they are from")]

use super::{SIDE, STEP};
use crate::kernels::RingWord;
use crate::kernels::gemm::Right;
use crate::kernels::scratch::Line;
use std::arch::x86_64::*;

/// Digits of up to 16 rows: for each step of depth and each digit a tile of 16 rows of 64 digits.
pub(super) fn pack_left<W: RingWord>(
    tiles: &mut [Line],
    a: &[W],
    stride: usize,
    [rows, depth]: [usize; 2],
) {
    for (step, tiles) in
        tiles.chunks_exact_mut(W::BYTES * SIDE).take(depth.div_ceil(STEP)).enumerate()
    {
        let take = STEP.min(depth - step * STEP);
        for row in 0..SIDE {
            let words = if row < rows { &a[row * stride + step * STEP..][..take] } else { &[] };
            // SAFETY: AMX is there, so is AVX-512.
            unsafe { pack_row(tiles, row, words) };
        }
    }
}

/// Writes the digits of up to 64 words into row `row` of the tiles of one step.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pack_row<W: RingWord>(tiles: &mut [Line], row: usize, words: &[W]) {
    for half in 0..W::BYTES / 4 {
        let mut digits: [__m512i; 4] = std::array::from_fn(|v| {
            let from = words.get(v * 16..).unwrap_or_default();
            split_digits(load_half(&from[..from.len().min(16)], half))
        });
        transpose_quarters(&mut digits);
        for (i, digit) in digits.into_iter().enumerate() {
            store_line(&mut tiles[(half * 4 + i) * SIDE + row], digit);
        }
    }
}

/// The lower (`half` 0) or upper 32 bits of up to 16 words, zeros beyond them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn load_half<W: RingWord>(words: &[W], half: usize) -> __m512i {
    let mask = (1_u32 << words.len()).wrapping_sub(1);
    // SAFETY: the masks have as many ones as there are words.
    unsafe {
        if W::BITS == 32 {
            return _mm512_maskz_loadu_epi32(mask as u16, words.as_ptr().cast());
        }
        let from = words.as_ptr().cast::<i64>();
        let mut low = _mm512_maskz_loadu_epi64(mask as u8, from);
        let mut high = _mm512_maskz_loadu_epi64((mask >> 8) as u8, from.wrapping_add(8));
        if half == 1 {
            (low, high) = (_mm512_srli_epi64::<32>(low), _mm512_srli_epi64::<32>(high));
        }
        let low = _mm512_castsi256_si512(_mm512_cvtepi64_epi32(low));
        _mm512_inserti64x4::<1>(low, _mm512_cvtepi64_epi32(high))
    }
}

/// Of 16 words of 32 bits: quarter `i` becomes the digits `i` of all.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn split_digits(words: __m512i) -> __m512i {
    let bytes = _mm512_set4_epi32(0x0f0b_0703, 0x0e0a_0602, 0x0d09_0501, 0x0c08_0400);
    let dwords = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    _mm512_permutexvar_epi32(dwords, _mm512_shuffle_epi8(words, bytes))
}

/// Exchanges quarter `j` of vector `i` with quarter `i` of vector `j`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_quarters(v: &mut [__m512i; 4]) {
    let low = [_mm512_shuffle_i64x2::<0x44>(v[0], v[1]), _mm512_shuffle_i64x2::<0x44>(v[2], v[3])];
    let high = [_mm512_shuffle_i64x2::<0xee>(v[0], v[1]), _mm512_shuffle_i64x2::<0xee>(v[2], v[3])];
    *v = [
        _mm512_shuffle_i64x2::<0x88>(low[0], low[1]),
        _mm512_shuffle_i64x2::<0xdd>(low[0], low[1]),
        _mm512_shuffle_i64x2::<0x88>(high[0], high[1]),
        _mm512_shuffle_i64x2::<0xdd>(high[0], high[1]),
    ];
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_line(line: &mut Line, bytes: __m512i) {
    // SAFETY: a line is one vector.
    unsafe { _mm512_store_si512((&raw mut *line).cast(), bytes) }
}

/// Digits of a block of the right operand: for each 16 columns, step and digit a tile whose row `r`
/// holds, column by column, the digits of rows `4 r` to `4 r + 3`.
pub(super) fn pack_right<W: RingWord>(
    tiles: &mut [Line],
    words: &mut [W],
    b: &Right<'_, W>,
    [top, depth]: [usize; 2],
    [from, cols]: [usize; 2],
) {
    let panel = depth.div_ceil(STEP) * W::BYTES * SIDE;
    let width = cols.next_multiple_of(SIDE);
    let words = &mut words[..4 * width];
    for quad in (0..depth.next_multiple_of(STEP)).step_by(4) {
        for (row, line) in (quad..).zip(words.chunks_exact_mut(width)) {
            if row < depth {
                line[..cols].copy_from_slice(&b.words[(top + row) * b.stride + from..][..cols]);
            } else {
                line.fill(W::ZERO);
            }
        }
        let at = quad / STEP * W::BYTES * SIDE + quad % STEP / 4;
        // SAFETY: AMX is there, so is AVX-512.
        unsafe { pack_quad(tiles, words, [panel, at, width]) };
    }
}

/// Writes four rows of words into the panels; `at` is their line in the first tile of a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pack_quad<W: RingWord>(tiles: &mut [Line], words: &[W], [panel, at, width]: [usize; 3]) {
    for (tiles, left) in tiles.chunks_exact_mut(panel).zip((0..width).step_by(SIDE)) {
        for half in 0..W::BYTES / 4 {
            let rows: [__m512i; 4] =
                std::array::from_fn(|r| load_half(&words[r * width + left..][..SIDE], half));
            for (i, digit) in transpose_bytes(rows).into_iter().enumerate() {
                store_line(&mut tiles[at + (half * 4 + i) * SIDE], digit);
            }
        }
    }
}

/// In each 32-bit lane: byte `i` of word `j` becomes byte `j` of word `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose_bytes([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let odd_bytes = 0xaaaa_aaaa_aaaa_aaaa;
    let odd_pairs = 0xaaaa_aaaa;
    let even = |x, y| _mm512_mask_blend_epi8(odd_bytes, x, _mm512_slli_epi32::<8>(y));
    let odd = |x, y| _mm512_mask_blend_epi8(odd_bytes, _mm512_srli_epi32::<8>(x), y);
    let low = |x, y| _mm512_mask_blend_epi16(odd_pairs, x, _mm512_slli_epi32::<16>(y));
    let high = |x, y| _mm512_mask_blend_epi16(odd_pairs, _mm512_srli_epi32::<16>(x), y);
    let (p, q, r, s) = (even(a, b), even(c, d), odd(a, b), odd(c, d));
    [low(p, q), low(r, s), high(p, q), high(r, s)]
}
