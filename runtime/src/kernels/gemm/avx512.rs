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
    let depth = tile.b.len() / tile.width;
    assert!((1..=8).contains(&tile.rows) && (1..=tile.width).contains(&tile.cols));
    assert!(tile.out.len() >= (tile.rows - 1) * tile.out_stride + tile.cols);
    assert!(tile.a.len() >= (tile.rows - 1) * tile.a_stride + depth);
    // SAFETY: callers come from `Micro::run` with `Cpu::Avx512`, which a `Scratch` holds only where
    // the processor has these instructions; the lengths are checked above.
    unsafe {
        match tile.width / lanes {
            1 => by_rows::<W, 1>(&mut tile, depth),
            2 => by_rows::<W, 2>(&mut tile, depth),
            3 => by_rows::<W, 3>(&mut tile, depth),
            _ => unreachable!("the tiling has panels of one to three vectors"),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn by_rows<W: RingWord, const V: usize>(tile: &mut Micro<'_, W>, depth: usize) {
    // SAFETY: passed on to the caller.
    unsafe {
        match tile.rows {
            1 => multiply::<W, 1, V>(tile, depth),
            2 => multiply::<W, 2, V>(tile, depth),
            3 => multiply::<W, 3, V>(tile, depth),
            4 => multiply::<W, 4, V>(tile, depth),
            5 => multiply::<W, 5, V>(tile, depth),
            6 => multiply::<W, 6, V>(tile, depth),
            7 => multiply::<W, 7, V>(tile, depth),
            _ => multiply::<W, 8, V>(tile, depth),
        }
    }
}

/// A tile of `R` rows and `V` vectors: one broadcast per row and `R V` products per step of depth.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn multiply<W: RingWord, const R: usize, const V: usize>(
    tile: &mut Micro<'_, W>,
    depth: usize,
) {
    let lanes = 64 / W::BYTES;
    let (a, b) = (tile.a.as_ptr(), tile.b.as_ptr());
    let mut sums = [[_mm512_setzero_si512(); V]; R];
    for k in 0..depth {
        let mut right = [_mm512_setzero_si512(); V];
        for (v, right) in right.iter_mut().enumerate() {
            // SAFETY: the panel holds `depth` rows of `V` vectors.
            *right = unsafe { _mm512_loadu_si512(b.add((k * V + v) * lanes).cast()) };
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `r` of `a` has at least `depth` words.
            let x = broadcast(unsafe { *a.add(r * tile.a_stride + k) });
            for v in 0..V {
                sums[v] = multiply_add::<W>(sums[v], x, right[v]);
            }
        }
    }
    let out = tile.out.as_mut_ptr();
    for (r, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            let keep = tile.cols.saturating_sub(v * lanes).min(lanes);
            // SAFETY: only the words of row `r` below `cols` are touched.
            unsafe {
                let to = out.wrapping_add(r * tile.out_stride + v * lanes);
                store::<W>(to, sum, keep, tile.add);
            }
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
fn multiply_add<W: RingWord>(sum: __m512i, x: __m512i, y: __m512i) -> __m512i {
    if W::BITS == 32 {
        _mm512_add_epi32(sum, _mm512_mullo_epi32(x, y))
    } else {
        _mm512_add_epi64(sum, _mm512_mullo_epi64(x, y))
    }
}

/// Stores the low `keep` words, or adds them.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<W: RingWord>(to: *mut W, sum: __m512i, keep: usize, add: bool) {
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
