//! Microkernels for AVX2.
//!
//! Sixteen registers hold six rows of two vectors of sums, two vectors of the right operand, and a pair
//! of products, of which one takes the place of the word that was multiplied.
//!
//! There is no product of 64-bit words. With `x = x0 + x1 2^32`, `x y = x0 y0 + (x0 y1 + x1 y0) 2^32`:
//! a vector of `x0 y0` is one product of the low halves, and one of `(x0 y1, x1 y0)` is a product of
//! 32-bit words, once the halves of `y` are swapped. The sums of both are kept apart until the end, so a
//! tile of ring 64 is one of ring 32 whose second vector is the first with its halves swapped.
#![expect(unsafe_code, reason = "vector instructions")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions say where they are from")]

use super::even;
use super::micro::{Strip, by_tiles};
use crate::kernels::RingWord;
use std::arch::x86_64::*;

/// Runs AVX2 microkernels.
pub(super) fn avx2<W: RingWord>(mut strip: Strip<'_, W>) {
    let lanes = 32 / W::BYTES;
    strip.check(lanes);
    // SAFETY: callers come from `Strip::run` with `Cpu::Avx2`, which a `Scratch` holds only where the
    // processor has these instructions; the lengths are checked above.
    unsafe {
        match (W::BITS, strip.width / lanes) {
            (32, 1) => by_tiles::<W, 1>(&mut strip),
            (32, 2) | (64, 1) => by_tiles::<W, 2>(&mut strip),
            _ => unreachable!("panels are one or two vectors wide, or one in ring 64"),
        }
    }
}

by_tiles!("avx2,bmi2", [1 2 3 4 5 6]);

/// Rows of the right operand that are asked of memory ahead of their use.
const AHEAD: usize = 16;

/// A tile of `R` rows and `V` vectors of sums: one broadcast per row and `R V` products per step of depth.
///
/// With `FRESH` the right operand is read where it lies, and packed into the panel. Only then is memory
/// asked ahead. A function of its own, so that all sums stay in registers.
#[inline(never)]
#[target_feature(enable = "avx2,bmi2")]
unsafe fn multiply<W: RingWord, const R: usize, const V: usize, const FRESH: bool>(
    strip: &mut Strip<'_, W>,
    first: usize,
) {
    let lanes = 32 / W::BYTES;
    let vectors = if W::BITS == 32 { V } else { 1 };
    let keep: [usize; V] = std::array::from_fn(|v| strip.cols.saturating_sub(v * lanes).min(lanes));
    let left = strip.left.as_ptr();
    let (mut from, mut panel) = (strip.right.as_ptr(), strip.panel.as_mut_ptr());
    let Some(places) = strip.places[first..].first_chunk::<R>() else { return };
    let rows: [*const W; R] = std::array::from_fn(|r| left.wrapping_add(places[r]));
    let mut sums = [[_mm256_setzero_si256(); V]; R];
    let out = strip.out[first * strip.out_stride..].as_mut_ptr();
    let mut to = out;
    for _ in 0..R {
        _mm_prefetch::<_MM_HINT_ET0>(to.cast());
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
        if FRESH {
            _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(strip.right_next).cast());
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD * strip.right_stride).cast());
        }
        let mut right = [_mm256_setzero_si256(); V];
        for v in 0..vectors {
            let packed = panel.wrapping_add(v * lanes).cast();
            // SAFETY: the panel holds `vectors` for each step of depth, and `right` holds the columns
            // that are kept.
            unsafe {
                if FRESH {
                    right[v] = load(from.wrapping_add(v * lanes), keep[v]);
                    _mm256_storeu_si256(packed, right[v]);
                } else {
                    right[v] = _mm256_loadu_si256(packed);
                }
            }
        }
        if W::BITS == 64 {
            right[V - 1] = _mm256_shuffle_epi32::<0b10_11_00_01>(right[0]);
        }
        // Two products, then two sums: see the microkernel for AVX-512.
        for pair in 0..(R * V).div_ceil(2) {
            let mut products = [_mm256_setzero_si256(); 2];
            for i in 0..2 {
                let (r, v) = ((2 * pair + i) / V, (2 * pair + i) % V);
                if r < R {
                    // SAFETY: each row of the left operand has all parts.
                    let x = broadcast(unsafe { *rows[r].add(k) });
                    products[i] = product::<W>(x, right[v], v);
                }
            }
            for i in 0..2 {
                let (r, v) = ((2 * pair + i) / V, (2 * pair + i) % V);
                if r < R {
                    sums[r][v] = add::<W>(sums[r][v], products[i], v);
                }
            }
        }
        panel = panel.wrapping_add(vectors * lanes);
        from = from.wrapping_add(strip.right_stride);
        k = k.wrapping_add(1);
    }
    let mut to = out;
    for mut sums in sums {
        if W::BITS == 64 {
            let crossed = sums[V - 1];
            let crossed = _mm256_add_epi64(crossed, _mm256_srli_epi64::<32>(crossed));
            sums[0] = _mm256_add_epi64(sums[0], _mm256_slli_epi64::<32>(crossed));
        }
        for v in 0..vectors {
            // SAFETY: only the words of a row below `cols` are touched.
            unsafe { store(to.wrapping_add(v * lanes), sums[v], keep[v], strip.add) };
        }
        to = to.wrapping_add(strip.out_stride);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn broadcast<W: RingWord>(x: W) -> __m256i {
    if W::BITS == 32 {
        _mm256_set1_epi32(x.to_u64() as i32)
    } else {
        _mm256_set1_epi64x(x.to_u64() as i64)
    }
}

/// Products of words; in ring 64 of their low halves for the first vector, crosswise for the second.
#[inline]
#[target_feature(enable = "avx2")]
fn product<W: RingWord>(x: __m256i, y: __m256i, v: usize) -> __m256i {
    if W::BITS == 64 && v == 0 { _mm256_mul_epu32(x, y) } else { _mm256_mullo_epi32(x, y) }
}

/// Sums of what [`product`] makes.
#[inline]
#[target_feature(enable = "avx2")]
fn add<W: RingWord>(x: __m256i, y: __m256i, v: usize) -> __m256i {
    if W::BITS == 64 && v == 0 { _mm256_add_epi64(x, y) } else { _mm256_add_epi32(x, y) }
}

/// The lanes of the low `keep` words.
#[inline]
#[target_feature(enable = "avx2")]
fn mask<W: RingWord>(keep: usize) -> __m256i {
    let kept = _mm256_set1_epi32((keep * W::BYTES / 4) as i32);
    _mm256_cmpgt_epi32(kept, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// Loads the low `keep` words, zeros beyond them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load<W: RingWord>(from: *const W, keep: usize) -> __m256i {
    // SAFETY: the caller may read the `keep` words at `from`; masked lanes are not touched.
    unsafe {
        if keep * W::BYTES == 32 {
            _mm256_loadu_si256(from.cast())
        } else {
            _mm256_maskload_epi32(from.cast(), mask::<W>(keep))
        }
    }
}

/// Stores the low `keep` words, or adds them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store<W: RingWord>(to: *mut W, sum: __m256i, keep: usize, add: bool) {
    // SAFETY: the caller owns the `keep` words at `to`; masked lanes are not touched.
    unsafe {
        let old = if add { load(to, keep) } else { _mm256_setzero_si256() };
        let sum =
            if W::BITS == 32 { _mm256_add_epi32(sum, old) } else { _mm256_add_epi64(sum, old) };
        if keep * W::BYTES == 32 {
            _mm256_storeu_si256(to.cast(), sum);
        } else {
            _mm256_maskstore_epi32(to.cast(), mask::<W>(keep), sum);
        }
    }
}
