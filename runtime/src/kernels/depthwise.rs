//! Depthwise convolution: one channel in, one or two out.
//!
//! The padded channel is cut into one plane per phase of the stride. Within a phase every tap is a
//! shift, so a whole plane is one long line: the loop over it has no edges, and the words that fall
//! between rows are computed along and left behind.

use super::cpu::vectorised;
use super::scratch::at_least;
use super::{RingWord, Scratch};
use mpcc_ir::Window;

/// Words whose sums stay in L1 while the taps pass by, three at a time.
const LINE: usize = 1024;

/// Geometry of one channel.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    /// How the window moves.
    pub(super) window: &'a Window,
    /// Height and width of the image.
    pub(super) input: [usize; 2],
    /// Height and width of the result.
    pub(super) output: [usize; 2],
}

impl Plane<'_> {
    /// Height and width of a phase's plane: all that taps of the result can reach.
    fn phase(self) -> [usize; 2] {
        std::array::from_fn(|axis| {
            let reach = (self.window.kernel[axis] - 1) * self.window.dilations[axis];
            self.output[axis] + reach / self.window.strides[axis]
        })
    }
}

/// `out[o] = conv(x, w[o])` for one channel `x` and each of the output channels.
pub(super) fn depthwise<W: RingWord>(
    out: &mut [W],
    x: &[W],
    w: &[W],
    plane: Plane<'_>,
    scratch: &mut Scratch,
) {
    let ([oh, ow], [kh, kw], [sh, sw]) = (plane.output, plane.window.kernel, plane.window.strides);
    let [height, width] = plane.phase();
    let cpu = scratch.cpu;
    // The words between rows that are computed along may lie beyond the last plane.
    let planes = sh * sw * height * width + width;
    let memory = at_least(W::registers(scratch), planes + oh * width);
    let (planes, sums) = memory.split_at_mut(planes);
    split_phases(planes, x, plane);
    for (out, w) in out.chunks_exact_mut(oh * ow).zip(w.chunks_exact(kh * kw)) {
        taps(cpu, sums, planes, w, plane);
        for (out, sums) in out.chunks_exact_mut(ow).zip(sums.chunks_exact(width)) {
            out.copy_from_slice(&sums[..ow]);
        }
    }
}

/// Writes the phases of the padded channel, one plane after the other.
fn split_phases<W: RingWord>(planes: &mut [W], x: &[W], plane: Plane<'_>) {
    let ([ih, iw], [sh, sw]) = (plane.input, plane.window.strides);
    let [top, left, ..] = plane.window.pads;
    let [height, width] = plane.phase();
    for (at, row) in planes.chunks_exact_mut(width).take(sh * sw * height).enumerate() {
        let (phase, y) = (at / height, at % height * sh);
        let (y, start) = (y + phase / sw, phase % sw);
        let Some(y) = y.checked_sub(top).filter(|&y| y < ih) else {
            row.fill(W::ZERO);
            continue;
        };
        let before = left.saturating_sub(start).div_ceil(sw).min(width);
        let pixels = x[y * iw..][..iw].get((before * sw + start).saturating_sub(left)..);
        spread(row, before, pixels.unwrap_or_default(), sw);
    }
}

/// Writes `before` zeros, every `step`-th pixel, and zeros up to the end of the row.
fn spread<W: RingWord>(row: &mut [W], before: usize, pixels: &[W], step: usize) {
    let count = pixels.len().div_ceil(step).min(row.len() - before);
    let (padding, rest) = row.split_at_mut(before);
    let (inside, after) = rest.split_at_mut(count);
    padding.fill(W::ZERO);
    after.fill(W::ZERO);
    match step {
        1 => inside.copy_from_slice(&pixels[..count]),
        2 => {
            for (word, pair) in inside.iter_mut().zip(pixels.chunks(2)) {
                *word = pair[0];
            }
        }
        _ => {
            for (word, &pixel) in inside.iter_mut().zip(pixels.iter().step_by(step)) {
                *word = pixel;
            }
        }
    }
}

vectorised! {
    fn taps<W>(sums: &mut [W], planes: &[W], w: &[W], plane: Plane<'_>) = taps_loop;
}

#[inline(always)]
fn taps_loop<W: RingWord>(sums: &mut [W], planes: &[W], w: &[W], plane: Plane<'_>) {
    let (window, [height, width]) = (plane.window, plane.phase());
    let ([_, kw], [sh, sw]) = (window.kernel, window.strides);
    let start = |tap: usize| {
        let (y, x) = (tap / kw * window.dilations[0], tap % kw * window.dilations[1]);
        (y % sh * sw + x % sw) * height * width + y / sh * width + x / sw
    };
    for (line, sums) in sums.chunks_mut(LINE).enumerate() {
        let len = sums.len();
        let pixels = |tap: usize| &planes[start(tap) + line * LINE..][..len];
        sums.fill(W::ZERO);
        let mut tap = 0;
        while tap + 3 <= w.len() {
            let [x, y, z] = [pixels(tap), pixels(tap + 1), pixels(tap + 2)];
            let [u, v, w] = [w[tap], w[tap + 1], w[tap + 2]];
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(u.mul(x[i])).add(v.mul(y[i])).add(w.mul(z[i]));
            }
            tap += 3;
        }
        for (tap, &w) in w.iter().enumerate().skip(tap) {
            for (sum, &x) in sums.iter_mut().zip(pixels(tap)) {
                *sum = sum.add(w.mul(x));
            }
        }
    }
}
