//! Depthwise convolution: one channel in, one or two out.
//!
//! The padded channel is cut into one plane per phase of the stride. Within a phase every tap is a
//! shift, so a whole plane is one long line: the loop over it has no edges, and the words that fall
//! between rows are computed along and left behind.

use super::cpu::vectorised;
use super::scratch::at_least;
use super::{RingWord, Scratch};
use mpcc_ir::Window;

/// Words whose sums are held in registers while the taps pass by.
const LINE: usize = 64;

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
    let line = (oh * width).next_multiple_of(LINE);
    // The last line of taps may read beyond the last plane.
    let planes = sh * sw * height * width + LINE;
    let memory = at_least(W::registers(scratch), planes + line);
    let (planes, sums) = memory.split_at_mut(planes);
    split_phases(planes, x, plane);
    for (out, w) in out.chunks_exact_mut(oh * ow).zip(w.chunks_exact(kh * kw)) {
        taps(cpu, &mut sums[..line], planes, w, plane);
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
        let from = &x[y * iw..][..iw];
        let before = left.saturating_sub(start).div_ceil(sw).min(width);
        let (padding, inside) = row.split_at_mut(before);
        padding.fill(W::ZERO);
        let pixels = from.get(before * sw + start - left.min(before * sw + start)..);
        let mut pixels = pixels.unwrap_or_default().iter().step_by(sw);
        for word in inside {
            *word = pixels.next().copied().unwrap_or(W::ZERO);
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
    for (line, sums) in sums.as_chunks_mut::<LINE>().0.iter_mut().enumerate() {
        let mut total = [W::ZERO; LINE];
        for (tap, &weight) in w.iter().enumerate() {
            let (y, x) = (tap / kw * window.dilations[0], tap % kw * window.dilations[1]);
            let phase = y % sh * sw + x % sw;
            let from = (phase * height + y / sh) * width + x / sw + line * LINE;
            // A line that starts beyond the last plane holds nothing that is kept.
            let Some(pixels) = planes.get(from..from + LINE) else { continue };
            for (total, &pixel) in total.iter_mut().zip(pixels) {
                *total = total.add(weight.mul(pixel));
            }
        }
        *sums = total;
    }
}
