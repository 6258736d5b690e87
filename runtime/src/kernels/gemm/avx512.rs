//! Microkernels for AVX-512.
#![expect(unsafe_code, reason = "vector instructions")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions say where they are from")]

use super::even;
use super::micro::{Strip, by_tiles};
use crate::kernels::RingWord;
use std::arch::x86_64::*;

/// Runs AVX-512 microkernels.
pub(super) fn avx512<W: RingWord>(mut strip: Strip<'_, W>) {
    let lanes = 64 / W::BYTES;
    strip.check(lanes);
    // SAFETY: callers come from `Strip::run` with `Cpu::Avx512`, which a `Scratch` holds only where
    // the processor has these instructions; the lengths are checked above.
    unsafe {
        match strip.width / lanes {
            1 => by_tiles::<W, 1>(&mut strip),
            2 => by_tiles::<W, 2>(&mut strip),
            _ => unreachable!("panels are one or two vectors wide"),
        }
    }
}

by_tiles!("avx512f,avx512bw,avx512dq,avx512vl", [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);

/// Rows of the right operand that are asked of memory ahead of their use.
const AHEAD: usize = 16;

/// A tile of `R` rows and `V` vectors: one broadcast per row and `R V` products per step of depth.
///
/// With `FRESH` the right operand is read where it lies, and packed into the panel. A function of its own, so
/// that all sums stay in registers.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn multiply<W: RingWord, const R: usize, const V: usize, const FRESH: bool>(
    strip: &mut Strip<'_, W>,
    first: usize,
) {
    let lanes = 64 / W::BYTES;
    let keep: [usize; V] = std::array::from_fn(|v| strip.cols.saturating_sub(v * lanes).min(lanes));
    let left = strip.left.as_ptr();
    let (mut from, mut panel) = (strip.right.as_ptr(), strip.panel.as_mut_ptr());
    let Some(places) = strip.places[first..].first_chunk::<R>() else { return };
    let rows: [*const W; R] = std::array::from_fn(|r| left.wrapping_add(places[r]));
    let mut sums = [[_mm512_setzero_si512(); V]; R];
    let out = strip.out[first * strip.out_stride..].as_mut_ptr();
    let mut to = out;
    for _ in 0..R {
        for v in 0..V {
            _mm_prefetch::<_MM_HINT_ET0>(to.wrapping_add(v * lanes).cast());
        }
        to = to.wrapping_add(strip.out_stride);
    }
    let mut parts = strip.parts.iter();
    // One loop over all parts: with one inside another, sums would move between registers and memory.
    let (mut k, mut end) = (0, 0);
    loop {
        if k == end {
            let Some(part) = parts.next() else { break };
            (k, end) = (part.at, part.at.wrapping_add(part.len));
        }
        let mut right = [_mm512_setzero_si512(); V];
        for v in 0..V {
            let packed = panel.wrapping_add(v * lanes);
            let there = from.wrapping_add(v * lanes);
            _mm_prefetch::<_MM_HINT_T1>(there.wrapping_add(strip.right_next).cast());
            if FRESH {
                let later = there.wrapping_add(AHEAD * strip.right_stride);
                _mm_prefetch::<_MM_HINT_T0>(later.cast());
            }
            // SAFETY: the panel holds `V` vectors for each step of depth, and `right` holds the
            // columns that are kept.
            unsafe {
                if FRESH {
                    right[v] = load::<W>(there, keep[v]);
                    _mm512_storeu_si512(packed.cast(), right[v]);
                } else {
                    right[v] = _mm512_loadu_si512(packed.cast());
                }
            }
        }
        // Two products, then two sums: where they alternate, a Zen 4 core sends sums to the pipes that
        // products need, and a fifth of the speed is lost.
        for pair in 0..(R * V).div_ceil(2) {
            let mut products = [_mm512_setzero_si512(); 2];
            for i in 0..2 {
                let (r, v) = ((2 * pair + i) / V, (2 * pair + i) % V);
                if r < R {
                    // SAFETY: each row of the left operand has all parts.
                    let x = broadcast(unsafe { *rows[r].add(k) });
                    products[i] = product::<W>(x, right[v]);
                }
            }
            for i in 0..2 {
                let (r, v) = ((2 * pair + i) / V, (2 * pair + i) % V);
                if r < R {
                    sums[r][v] = add::<W>(sums[r][v], products[i]);
                }
            }
        }
        panel = panel.wrapping_add(V * lanes);
        from = from.wrapping_add(strip.right_stride);
        k = k.wrapping_add(1);
    }
    let mut to = out;
    for sums in sums {
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: only the words of a row below `cols` are touched.
            unsafe { store::<W>(to.wrapping_add(v * lanes), sum, keep[v], strip.add) };
        }
        to = to.wrapping_add(strip.out_stride);
    }
}

/// Loads the low `keep` words, zeros beyond them.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) unsafe fn load<W: RingWord>(from: *const W, keep: usize) -> __m512i {
    // SAFETY: the caller may read the `keep` words at `from`; masked lanes are not touched.
    unsafe {
        if W::BITS == 32 {
            _mm512_maskz_loadu_epi32(((1_u32 << keep) - 1) as u16, from.cast())
        } else {
            _mm512_maskz_loadu_epi64(((1_u32 << keep) - 1) as u8, from.cast())
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast<W: RingWord>(x: W) -> __m512i {
    if W::BITS == 32 {
        _mm512_set1_epi32(x.to_u64() as i32)
    } else {
        _mm512_set1_epi64(x.to_u64() as i64)
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn product<W: RingWord>(x: __m512i, y: __m512i) -> __m512i {
    if W::BITS == 32 { _mm512_mullo_epi32(x, y) } else { _mm512_mullo_epi64(x, y) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add<W: RingWord>(x: __m512i, y: __m512i) -> __m512i {
    if W::BITS == 32 { _mm512_add_epi32(x, y) } else { _mm512_add_epi64(x, y) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(in crate::kernels) fn multiply_add<W: RingWord>(
    sum: __m512i,
    x: __m512i,
    y: __m512i,
) -> __m512i {
    add::<W>(sum, product::<W>(x, y))
}

/// Stores the low `keep` words, or adds them.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) unsafe fn store<W: RingWord>(
    to: *mut W,
    sum: __m512i,
    keep: usize,
    add: bool,
) {
    // SAFETY: the caller owns the `keep` words at `to`; masked lanes are not touched.
    unsafe {
        if W::BITS == 32 {
            let (to, mask) = (to.cast::<i32>(), ((1_u32 << keep) - 1) as u16);
            let old = _mm512_maskz_loadu_epi32(mask, to);
            let sum = if add { _mm512_add_epi32(sum, old) } else { sum };
            _mm512_mask_storeu_epi32(to, mask, sum);
        } else {
            let (to, mask) = (to.cast::<i64>(), ((1_u32 << keep) - 1) as u8);
            let old = _mm512_maskz_loadu_epi64(mask, to);
            let sum = if add { _mm512_add_epi64(sum, old) } else { sum };
            _mm512_mask_storeu_epi64(to, mask, sum);
        }
    }
}
