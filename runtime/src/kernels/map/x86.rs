//! The interpreter compiled for AVX2 and AVX-512, and the special instructions in AVX-512.
#![expect(unsafe_code, reason = "vector instructions")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions say where they are from")]

use super::Buffer;
use super::interpret::Tile;
use super::pack::{Portable, Special};
use crate::kernels::RingWord;
use crate::mask::Masks;
use mpcc_ir::plan::TileProgram;
use std::arch::x86_64::*;
use std::ops::Range;

/// Runs a program on one tile with AVX2.
pub(super) fn run_avx2<W: RingWord>(
    tile: &mut Tile<'_, W>,
    program: &TileProgram,
    values: &[u32],
    masks: &Masks,
    operands: &mut [Buffer<'_>],
) {
    #[target_feature(enable = "avx2,bmi2")]
    fn run<W: RingWord>(
        tile: &mut Tile<'_, W>,
        program: &TileProgram,
        values: &[u32],
        masks: &Masks,
        operands: &mut [Buffer<'_>],
    ) {
        tile.run_with::<Portable>(program, values, masks, operands);
    }
    // SAFETY: called for `Cpu::Avx2`, which a `Scratch` holds only where the processor has it.
    unsafe { run(tile, program, values, masks, operands) }
}

/// Runs a program on one tile with AVX-512.
pub(super) fn run_avx512<W: RingWord>(
    tile: &mut Tile<'_, W>,
    program: &TileProgram,
    values: &[u32],
    masks: &Masks,
    operands: &mut [Buffer<'_>],
) {
    #[target_feature(enable = "avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
    fn run<W: RingWord>(
        tile: &mut Tile<'_, W>,
        program: &TileProgram,
        values: &[u32],
        masks: &Masks,
        operands: &mut [Buffer<'_>],
    ) {
        tile.run_with::<Avx512>(program, values, masks, operands);
    }
    // SAFETY: called for `Cpu::Avx512`, which a `Scratch` holds only where the processor has it.
    unsafe { run(tile, program, values, masks, operands) }
}

/// AVX-512 F, BW, DQ and VL. Named by [`run_avx512`] alone, so the processor has them.
struct Avx512;

impl Special for Avx512 {
    fn bit_at<W: RingWord>(bits: &mut [u64], a: &[W], index: u8) {
        // SAFETY: see `Avx512`.
        unsafe { bit_at(bits, a, W::from_u64(1).shl(u32::from(index))) }
    }

    fn select<W: RingWord>(words: &mut [W], dst: Range<usize>, a: Range<usize>, bits: &[u64]) {
        assert!(dst.len() == a.len() && dst.len() <= bits.len() * 64);
        assert!(dst.end <= words.len() && a.end <= words.len());
        let words = words.as_mut_ptr();
        // SAFETY: see `Avx512`; both ranges are inside `words`, and each vector is read before its
        // place is written.
        unsafe { select(words.add(dst.start), words.add(a.start), dst.len(), bits) }
    }

    fn from_bit<W: RingWord>(dst: &mut [W], bits: &[u64]) {
        // SAFETY: see `Avx512`.
        unsafe { from_bit(dst, bits) }
    }

    fn pack<W: RingWord>(packed: &mut [u8], words: &[W], width: u8) {
        let Some((layout, whole)) = Layout::of::<W>(width, words.len()) else {
            return Portable::pack(packed, words, width);
        };
        let (head, tail) = packed.split_at_mut(whole * usize::from(width) / 8);
        // SAFETY: see `Avx512`.
        unsafe { pack(head, &words[..whole], &layout) };
        Portable::pack(tail, &words[whole..], width);
    }

    fn unpack<W: RingWord>(words: &mut [W], packed: &[u8], width: u8) {
        let Some((layout, whole)) = Layout::of::<W>(width, words.len()) else {
            return Portable::unpack(words, packed, width);
        };
        let (head, tail) = packed.split_at(whole * usize::from(width) / 8);
        // SAFETY: see `Avx512`.
        unsafe { unpack(&mut words[..whole], head, &layout) };
        Portable::unpack(&mut words[whole..], tail, width);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn bit_at<W: RingWord>(bits: &mut [u64], a: &[W], which: W) {
    let lanes = 64 / W::BYTES;
    for (bits, a) in bits.iter_mut().zip(a.chunks_exact(64)) {
        *bits = 0;
        for (v, a) in a.chunks_exact(lanes).enumerate() {
            // SAFETY: `a` is one vector long.
            let a = unsafe { _mm512_loadu_si512(a.as_ptr().cast()) };
            let picked = if W::BITS == 32 {
                let which = _mm512_set1_epi32(which.to_u64() as i32);
                u64::from(_mm512_test_epi32_mask(a, which))
            } else {
                let which = _mm512_set1_epi64(which.to_u64() as i64);
                u64::from(_mm512_test_epi64_mask(a, which))
            };
            *bits |= picked << (v * lanes);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn select<W: RingWord>(dst: *mut W, a: *const W, len: usize, bits: &[u64]) {
    let lanes = 64 / W::BYTES;
    for at in (0..len / lanes * lanes).step_by(lanes) {
        let keep = bits[at / 64] >> (at % 64);
        // SAFETY: `at + lanes <= len`, the length of both stretches.
        unsafe {
            let (dst, a) = (dst.add(at), a.add(at));
            if W::BITS == 32 {
                let kept = _mm512_maskz_loadu_epi32(keep as u16, a.cast());
                _mm512_storeu_si512(dst.cast(), kept);
            } else {
                let kept = _mm512_maskz_loadu_epi64(keep as u8, a.cast());
                _mm512_storeu_si512(dst.cast(), kept);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn from_bit<W: RingWord>(dst: &mut [W], bits: &[u64]) {
    let lanes = 64 / W::BYTES;
    for (dst, bits) in dst.chunks_exact_mut(64).zip(bits) {
        for (v, dst) in dst.chunks_exact_mut(lanes).enumerate() {
            let bits = bits >> (v * lanes);
            let words = if W::BITS == 32 {
                _mm512_maskz_set1_epi32(bits as u16, 1)
            } else {
                _mm512_maskz_set1_epi64(bits as u8, 1)
            };
            // SAFETY: `dst` is one vector long.
            unsafe { _mm512_storeu_si512(dst.as_mut_ptr().cast(), words) };
        }
    }
}

/// How one vector of words lies in packed bytes.
///
/// The vector is seen as eight 64-bit lanes of `lane` bits each: one word, or two narrow ones side by
/// side. So it is `lane` bytes when packed, at most 64.
struct Layout {
    /// Bits of a word.
    width: u32,
    /// Bits of a lane.
    lane: u32,
}

impl Layout {
    /// The layout and the number of words that fill whole vectors, where this form pays.
    fn of<W: RingWord>(width: u8, words: usize) -> Option<(Self, usize)> {
        let lane = if W::BITS == 32 { 2 * width } else { width };
        let vectors = words * W::BYTES / 64;
        let layout = Self { width: u32::from(width), lane: u32::from(lane) };
        let pays = (8..=64).contains(&lane) && vectors > 0;
        pays.then_some((layout, vectors * 64 / W::BYTES))
    }

    /// The bytes of one packed vector.
    fn bytes(&self) -> (usize, u64) {
        (self.lane as usize, u64::MAX >> (64 - self.lane))
    }

    /// The low `width` bits of a lane's (only or lower) word.
    #[target_feature(enable = "avx512f")]
    fn keep(&self) -> __m512i {
        _mm512_set1_epi64((u64::MAX >> (64 - self.width)) as i64)
    }
}

/// Most lanes that meet in one 64-bit word of packed bytes, save the first.
const MEET: usize = 8;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pack<W: RingWord>(packed: &mut [u8], words: &[W], layout: &Layout) {
    let (keep, (bytes, mask)) = (layout.keep(), layout.bytes());
    let up = _mm512_set1_epi64(i64::from(layout.width));
    // Packed word `j` starts inside lane `64 j / lane`; the lanes after it are shifted in above.
    let first: [u32; 8] = std::array::from_fn(|j| 64 * j as u32 / layout.lane);
    let skipped: [u32; 8] = std::array::from_fn(|j| 64 * j as u32 % layout.lane);
    let (first_index, skip) = (vector(first), vector(skipped));
    let meet = (63_u32.div_ceil(layout.lane) as usize).min(MEET);
    let mut shifts = [_mm512_setzero_si512(); MEET];
    for (t, shift) in shifts.iter_mut().enumerate() {
        *shift = vector(std::array::from_fn(|j| {
            let next = t as u32 + 1;
            let outside = first[j] + next > 7;
            if outside { 64 } else { next * layout.lane - skipped[j] }
        }));
    }
    for (to, words) in packed.chunks_exact_mut(bytes).zip(words.chunks_exact(64 / W::BYTES)) {
        // SAFETY: `words` is one vector long.
        let words = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
        let low = _mm512_and_si512(words, keep);
        let lanes = if W::BITS == 32 {
            let high = _mm512_and_si512(_mm512_srli_epi64::<32>(words), keep);
            _mm512_or_si512(low, _mm512_sllv_epi64(high, up))
        } else {
            low
        };
        let mut out = _mm512_srlv_epi64(_mm512_permutexvar_epi64(first_index, lanes), skip);
        let mut index = first_index;
        for &shift in &shifts[..meet] {
            index = _mm512_add_epi64(index, _mm512_set1_epi64(1));
            let next = _mm512_sllv_epi64(_mm512_permutexvar_epi64(index, lanes), shift);
            out = _mm512_or_si512(out, next);
        }
        // SAFETY: `to` is as long as the mask has ones.
        unsafe { _mm512_mask_storeu_epi8(to.as_mut_ptr().cast(), mask, out) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn unpack<W: RingWord>(words: &mut [W], packed: &[u8], layout: &Layout) {
    let (keep, (bytes, mask)) = (layout.keep(), layout.bytes());
    let width = _mm512_set1_epi64(i64::from(layout.width));
    let start: [u32; 8] = std::array::from_fn(|k| k as u32 * layout.lane);
    let low_index = vector(start.map(|bit| bit / 64));
    let high_index = _mm512_add_epi64(low_index, _mm512_set1_epi64(1));
    let down = vector(start.map(|bit| bit % 64));
    let up = vector(start.map(|bit| 64 - bit % 64));
    for (words, from) in words.chunks_exact_mut(64 / W::BYTES).zip(packed.chunks_exact(bytes)) {
        // SAFETY: `from` is as long as the mask has ones.
        let from = unsafe { _mm512_maskz_loadu_epi8(mask, from.as_ptr().cast()) };
        let low = _mm512_srlv_epi64(_mm512_permutexvar_epi64(low_index, from), down);
        let high = _mm512_sllv_epi64(_mm512_permutexvar_epi64(high_index, from), up);
        let lanes = _mm512_or_si512(low, high);
        let mut out = _mm512_and_si512(lanes, keep);
        if W::BITS == 32 {
            let second = _mm512_and_si512(_mm512_srlv_epi64(lanes, width), keep);
            out = _mm512_or_si512(out, _mm512_slli_epi64::<32>(second));
        }
        // SAFETY: `words` is one vector long.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), out) };
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn vector(lanes: [u32; 8]) -> __m512i {
    let lanes = lanes.map(i64::from);
    // SAFETY: eight 64-bit lanes are one vector.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}
