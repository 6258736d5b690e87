//! Microkernels for AVX-512, and the portable one compiled for AVX2.
#![expect(unsafe_code, reason = "vector instructions")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions say where they are from")]

use super::micro::Micro;
use crate::kernels::RingWord;
use std::arch::x86_64::*;

/// Runs the portable microkernel compiled for AVX2.
pub(super) fn avx2<W: RingWord>(tile: Micro<'_, W>) {
    #[target_feature(enable = "avx2,bmi2")]
    fn run<W: RingWord>(tile: Micro<'_, W>) {
        tile.portable();
    }
    // SAFETY: callers come from `Micro::run` with `Cpu::Avx2`, which a `Scratch` holds only where the
    // processor has these instructions.
    unsafe { run(tile) }
}

/// Runs an AVX-512 microkernel.
pub(super) fn avx512<W: RingWord>(mut tile: Micro<'_, W>) {
    let lanes = 64 / W::BYTES;
    let depth: usize = tile.parts.iter().map(|part| part.len).sum();
    let rows = tile.places.len();
    assert!((1..=14).contains(&rows) && (1..=tile.width).contains(&tile.cols) && depth > 0);
    assert!(tile.parts.iter().all(|part| part.len > 0));
    assert!(tile.out.len() >= (rows - 1) * tile.out_stride + tile.cols);
    assert!(tile.width < tile.cols + lanes);
    assert!(tile.panel.len() >= depth * tile.width);
    assert!(tile.right.len() >= (depth - 1) * tile.right_stride + tile.cols);
    let place = tile.places.iter().max().unwrap_or(&0);
    let end = tile.parts.iter().map(|part| part.at + part.len).max().unwrap_or(0);
    assert!(tile.left.len() >= place + end);
    // SAFETY: callers come from `Micro::run` with `Cpu::Avx512`, which a `Scratch` holds only where
    // the processor has these instructions; the lengths are checked above.
    unsafe {
        match (tile.width / lanes, tile.fresh) {
            (1, false) => by_rows::<W, 1, false>(&mut tile),
            (1, true) => by_rows::<W, 1, true>(&mut tile),
            (2, false) => by_rows::<W, 2, false>(&mut tile),
            (2, true) => by_rows::<W, 2, true>(&mut tile),
            _ => unreachable!("panels are one or two vectors wide"),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn by_rows<W: RingWord, const V: usize, const FRESH: bool>(tile: &mut Micro<'_, W>) {
    // SAFETY: passed on to the caller.
    unsafe {
        match tile.places.len() {
            1 => multiply::<W, 1, V, FRESH>(tile),
            2 => multiply::<W, 2, V, FRESH>(tile),
            3 => multiply::<W, 3, V, FRESH>(tile),
            4 => multiply::<W, 4, V, FRESH>(tile),
            5 => multiply::<W, 5, V, FRESH>(tile),
            6 => multiply::<W, 6, V, FRESH>(tile),
            7 => multiply::<W, 7, V, FRESH>(tile),
            8 => multiply::<W, 8, V, FRESH>(tile),
            9 => multiply::<W, 9, V, FRESH>(tile),
            10 => multiply::<W, 10, V, FRESH>(tile),
            11 => multiply::<W, 11, V, FRESH>(tile),
            12 => multiply::<W, 12, V, FRESH>(tile),
            13 => multiply::<W, 13, V, FRESH>(tile),
            _ => multiply::<W, 14, V, FRESH>(tile),
        }
    }
}

/// Rows of the right operand that are asked of memory ahead of their use.
const AHEAD: usize = 16;

/// A tile of `R` rows and `V` vectors: one broadcast per row and `R V` products per step of depth.
///
/// With `FRESH` the right operand is read where it lies, and packed into the panel. A function of its own, so
/// that all sums stay in registers.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn multiply<W: RingWord, const R: usize, const V: usize, const FRESH: bool>(
    tile: &mut Micro<'_, W>,
) {
    let lanes = 64 / W::BYTES;
    let keep: [usize; V] = std::array::from_fn(|v| tile.cols.saturating_sub(v * lanes).min(lanes));
    let left = tile.left.as_ptr();
    let (mut from, mut panel) = (tile.right.as_ptr(), tile.panel.as_mut_ptr());
    let rows: [*const W; R] = std::array::from_fn(|r| left.wrapping_add(tile.places[r]));
    let mut sums = [[_mm512_setzero_si512(); V]; R];
    let out = tile.out.as_mut_ptr();
    for r in 0..R {
        for v in 0..V {
            // SAFETY: all vectors of a tile begin in `out`.
            unsafe {
                let to = out.add(r * tile.out_stride + v * lanes);
                _mm_prefetch::<_MM_HINT_ET0>(to.cast());
            }
        }
    }
    let mut parts = tile.parts.iter();
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
            // SAFETY: the panel holds `V` vectors for each step of depth, and `right` holds the
            // columns that are kept.
            unsafe {
                if FRESH {
                    let there = from.wrapping_add(v * lanes);
                    _mm_prefetch::<_MM_HINT_T0>(
                        there.wrapping_add(AHEAD * tile.right_stride).cast(),
                    );
                    right[v] = load::<W>(there, keep[v]);
                    _mm512_storeu_si512(packed.cast(), right[v]);
                } else {
                    right[v] = _mm512_loadu_si512(packed.cast());
                }
            }
        }
        // Two products, then their sums: so ordered, a Zen 4 core finds a free pipe for each of them, and
        // for a fifth fewer where they alternate.
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
        from = from.wrapping_add(tile.right_stride);
        k = k.wrapping_add(1);
    }
    for (r, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            // SAFETY: only the words of row `r` below `cols` are touched.
            unsafe {
                let to = out.wrapping_add(r * tile.out_stride + v * lanes);
                store::<W>(to, sum, keep[v], tile.add);
            }
        }
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
