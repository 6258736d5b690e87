//! Lines of convolutions in small groups, with AVX-512.
#![expect(unsafe_code, reason = "vector instructions")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions say where they are from")]

use super::Line;
use crate::kernels::RingWord;
use crate::kernels::gemm::avx512::{load, multiply_add, store};
use crate::kernels::gemm::even;
use std::arch::x86_64::*;
use std::ops::Range;

/// Pixels that are summed at once.
const PIXELS: usize = 8;

/// Computes a line of the result.
pub(super) fn line<W: RingWord>(line: &mut Line<'_, W>) {
    let g = line.geometry;
    let [kh, kw] = g.window.kernel;
    let ([cg, og], outputs) = (line.each, line.outputs);
    assert!(cg <= og && (64 / W::BYTES).is_multiple_of(og) && g.channels.is_multiple_of(cg));
    assert!(line.x.len() >= g.input[0] * g.input[1] * g.channels);
    assert!(line.w.len() >= kh * kw * cg * outputs && line.out.len() >= g.output[1] * outputs);
    // SAFETY: only `Scratch::with_cpu` chooses these instructions, where the processor has them; the
    // lengths are checked above.
    unsafe { blocks(line) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn blocks<W: RingWord>(line: &mut Line<'_, W>) {
    let g = line.geometry;
    let (lanes, width) = (64 / W::BYTES, g.output[1]);
    let [cg, og] = line.each;
    let alone = line.each == [1, 1];
    let plain = alone && g.window.strides[1] == 1 && g.window.dilations[1] == 1;
    let whole = g.whole(1);
    let at_once = lanes / og * cg;
    let mut block = Block {
        from: 0,
        to: 0,
        read: at_once,
        keep: lanes,
        rows: g.inside(0, line.y),
        lanes: first_channels::<W>(cg, og),
    };
    while block.to < line.outputs {
        block.keep = lanes.min(line.outputs - block.to);
        block.read = at_once.min(g.channels - block.from);
        // SAFETY: pixels and taps lie in the line and the image.
        unsafe {
            match (plain, g.window.kernel[1]) {
                (true, 3) => slide_over::<W, 3>(line, &block, 0..width),
                (true, 5) => slide_over::<W, 5>(line, &block, 0..width),
                _ => {
                    for pixel in (0..whole.start).chain(whole.end..width) {
                        let taps = g.inside(1, pixel);
                        if alone {
                            sum::<W, 1, false>(line, &block, pixel, taps);
                        } else {
                            sum::<W, 1, true>(line, &block, pixel, taps);
                        }
                    }
                    if alone {
                        sum_over::<W, false>(line, &block, whole.clone());
                    } else {
                        sum_over::<W, true>(line, &block, whole.clone());
                    }
                }
            }
        }
        (block.from, block.to) = (block.from + at_once, block.to + lanes);
    }
}

/// Channels of a line, and the rows of the window inside the image.
struct Block {
    /// The first channel that is read, and the first that is written.
    from: usize,
    to: usize,
    /// How many of each.
    read: usize,
    keep: usize,
    rows: Range<usize>,
    /// For each lane the first channel of its group, counted from `from`.
    lanes: __m512i,
}

#[target_feature(enable = "avx512f")]
fn first_channels<W: RingWord>(cg: usize, og: usize) -> __m512i {
    let lane = |i: usize| i / og * cg;
    if W::BITS == 32 {
        let lanes: [i32; 16] = std::array::from_fn(|i| lane(i) as i32);
        // SAFETY: the array is as long as a vector.
        unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
    } else {
        let lanes: [i64; 8] = std::array::from_fn(|i| lane(i) as i64);
        // SAFETY: the array is as long as a vector.
        unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
    }
}

/// Word `lanes[i] + by` of `x` in each lane `i`.
#[inline]
#[target_feature(enable = "avx512f")]
fn spread<W: RingWord>(x: __m512i, lanes: __m512i, by: usize) -> __m512i {
    if W::BITS == 32 {
        let lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(by as i32));
        _mm512_permutexvar_epi32(lanes, x)
    } else {
        let lanes = _mm512_add_epi64(lanes, _mm512_set1_epi64(by as i64));
        _mm512_permutexvar_epi64(lanes, x)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn slide_over<W: RingWord, const K: usize>(
    line: &mut Line<'_, W>,
    block: &Block,
    pixels: Range<usize>,
) {
    for (begin, end) in even(pixels.len(), PIXELS) {
        let pixel = pixels.start + begin;
        // SAFETY: passed on to the caller.
        unsafe {
            match end - begin {
                1 => slide::<W, 1, K>(line, block, pixel),
                2 => slide::<W, 2, K>(line, block, pixel),
                3 => slide::<W, 3, K>(line, block, pixel),
                4 => slide::<W, 4, K>(line, block, pixel),
                5 => slide::<W, 5, K>(line, block, pixel),
                6 => slide::<W, 6, K>(line, block, pixel),
                7 => slide::<W, 7, K>(line, block, pixel),
                _ => slide::<W, 8, K>(line, block, pixel),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn sum_over<W: RingWord, const G: bool>(
    line: &mut Line<'_, W>,
    block: &Block,
    pixels: Range<usize>,
) {
    let taps = 0..line.geometry.window.kernel[1];
    for (begin, end) in even(pixels.len(), PIXELS) {
        let (pixel, taps) = (pixels.start + begin, taps.clone());
        // SAFETY: passed on to the caller.
        unsafe {
            match end - begin {
                1 => sum::<W, 1, G>(line, block, pixel, taps),
                2 => sum::<W, 2, G>(line, block, pixel, taps),
                3 => sum::<W, 3, G>(line, block, pixel, taps),
                4 => sum::<W, 4, G>(line, block, pixel, taps),
                5 => sum::<W, 5, G>(line, block, pixel, taps),
                6 => sum::<W, 6, G>(line, block, pixel, taps),
                7 => sum::<W, 7, G>(line, block, pixel, taps),
                _ => sum::<W, 8, G>(line, block, pixel, taps),
            }
        }
    }
}

/// `P` pixels under a window of `K` columns that moves one pixel at a time: each pixel of the image is
/// loaded once for all taps of a row.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn slide<W: RingWord, const P: usize, const K: usize>(
    line: &mut Line<'_, W>,
    block: &Block,
    pixel: usize,
) {
    let g = line.geometry;
    let (c, width, keep) = (g.channels, g.input[1], block.keep);
    let first = pixel.wrapping_sub(g.window.pads[1]);
    let mut sums = [_mm512_setzero_si512(); P];
    for ky in block.rows.clone() {
        let y = line.y * g.window.strides[0] + ky * g.window.dilations[0] - g.window.pads[0];
        let x = line.x.as_ptr().wrapping_add(y * width * c + block.from);
        let w = line.w.as_ptr().wrapping_add(ky * K * c + block.from);
        // SAFETY: the row of the window has `K` taps of all channels.
        let taps: [__m512i; K] =
            std::array::from_fn(|k| unsafe { load::<W>(w.wrapping_add(k * c), keep) });
        for i in 0..P + K - 1 {
            let column = first.wrapping_add(i);
            if column < width {
                // SAFETY: the pixel lies in the image.
                let x = unsafe { load::<W>(x.wrapping_add(column * c), keep) };
                for k in 0..K {
                    if (k..k + P).contains(&i) {
                        sums[i - k] = multiply_add::<W>(sums[i - k], x, taps[k]);
                    }
                }
            }
        }
    }
    let out = line.out.as_mut_ptr().wrapping_add(pixel * c + block.to);
    for (p, sum) in sums.into_iter().enumerate() {
        // SAFETY: the pixel lies in the line.
        unsafe { store::<W>(out.wrapping_add(p * c), sum, keep, false) };
    }
}

/// `P` pixels under any window, over some of its columns; with `G` for groups of several channels.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn sum<W: RingWord, const P: usize, const G: bool>(
    line: &mut Line<'_, W>,
    block: &Block,
    pixel: usize,
    columns: Range<usize>,
) {
    let g = line.geometry;
    let (c, width, outputs, [cg, _]) = (g.channels, g.input[1], line.outputs, line.each);
    let step = g.window.strides[1] * c;
    let mut sums = [_mm512_setzero_si512(); P];
    for ky in block.rows.clone() {
        let y = line.y * g.window.strides[0] + ky * g.window.dilations[0] - g.window.pads[0];
        for kx in columns.clone() {
            let at = pixel * g.window.strides[1] + kx * g.window.dilations[1] - g.window.pads[1];
            let x = line.x.as_ptr().wrapping_add((y * width + at) * c + block.from);
            // SAFETY: the image has what this tap reads for all pixels.
            let x: [__m512i; P] =
                std::array::from_fn(|p| unsafe { load::<W>(x.wrapping_add(p * step), block.read) });
            for i in 0..if G { cg } else { 1 } {
                let tap = ((ky * g.window.kernel[1] + kx) * cg + i) * outputs + block.to;
                // SAFETY: the window has this tap.
                let w = unsafe { load::<W>(line.w.as_ptr().wrapping_add(tap), block.keep) };
                for p in 0..P {
                    let x = if G { spread::<W>(x[p], block.lanes, i) } else { x[p] };
                    sums[p] = multiply_add::<W>(sums[p], x, w);
                }
            }
        }
    }
    let out = line.out.as_mut_ptr().wrapping_add(pixel * outputs + block.to);
    for (p, sum) in sums.into_iter().enumerate() {
        // SAFETY: the pixel lies in the line.
        unsafe { store::<W>(out.wrapping_add(p * outputs), sum, block.keep, false) };
    }
}
