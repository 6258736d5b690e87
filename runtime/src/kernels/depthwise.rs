//! Depthwise convolution: one channel in, one or two out.
//!
//! The padded channel is cut into one plane per phase of the stride. Within a phase every tap is a
//! shift, so a whole plane is one long line: the loop over it has no edges, and the words that fall
//! between rows are computed along and left behind.

use super::cpu::vectorised;
use super::gemm::every;
use super::scratch::at_least;
use super::{RingWord, Scratch};
use mpcc_ir::Window;

/// Words whose sums stay in L1 while the taps pass by, three at a time.
const LINE: usize = 1024;
/// Lines are a multiple of this, so that loops over them end with whole vectors.
const GRAIN: usize = 64;

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

    /// First word in the phases that tap `tap` reads.
    fn start(self, tap: usize) -> usize {
        let ([_, kw], [sh, sw]) = (self.window.kernel, self.window.strides);
        let y = tap / kw * self.window.dilations[0];
        let x = tap % kw * self.window.dilations[1];
        let [height, width] = self.phase();
        (y % sh * sw + x % sw) * height * width + y / sh * width + x / sw
    }

    /// Along `axis`, for phase `phase`: the first entry that lies in the image, the pixel it holds,
    /// and the number of entries in the image.
    fn inside(self, axis: usize, phase: usize) -> [usize; 3] {
        let (step, pad) = (self.window.strides[axis], self.window.pads[axis]);
        let room = self.phase()[axis];
        let first = pad.saturating_sub(phase).div_ceil(step).min(room);
        let pixel = (first * step + phase).saturating_sub(pad);
        let count = self.input[axis].saturating_sub(pixel).div_ceil(step).min(room - first);
        [first, pixel, count]
    }
}

/// `out[c, o] = conv(x[c], w[c, o])` for all channels `c` of an image and `outputs` results of each.
pub(super) fn depthwise<W: RingWord>(
    out: &mut [W],
    x: &[W],
    w: &[W],
    plane: Plane<'_>,
    outputs: usize,
    scratch: &mut Scratch,
) {
    let ([oh, ow], [ih, iw], [sh, sw]) = (plane.output, plane.input, plane.window.strides);
    let taps = plane.window.kernel[0] * plane.window.kernel[1];
    let [height, width] = plane.phase();
    let cpu = scratch.cpu;
    let line = (oh * width).next_multiple_of(GRAIN);
    // The words that are computed along may lie beyond the last plane.
    let planes = sh * sw * height * width + width + GRAIN;
    let mut bits = std::mem::take(&mut scratch.bits);
    let starts = at_least(&mut bits, taps);
    starts.iter_mut().enumerate().for_each(|(tap, start)| *start = plane.start(tap) as u64);
    let memory = at_least(W::registers(scratch), planes + line);
    let (planes, sums) = memory.split_at_mut(planes);
    // Padding is written here, once for all channels.
    planes.fill(W::ZERO);
    let channels = out.chunks_exact_mut(outputs * oh * ow).zip(x.chunks_exact(ih * iw));
    for ((out, x), w) in channels.zip(w.chunks_exact(outputs * taps)) {
        split_phases(planes, x, plane);
        for (out, w) in out.chunks_exact_mut(oh * ow).zip(w.chunks_exact(taps)) {
            add_taps(cpu, sums, planes, w, starts);
            for (out, sums) in out.chunks_exact_mut(ow).zip(sums.chunks_exact(width)) {
                out.copy_from_slice(&sums[..ow]);
            }
        }
    }
    scratch.bits = bits;
}

/// Writes the pixels of a channel to their phases, one plane after the other.
fn split_phases<W: RingWord>(planes: &mut [W], x: &[W], plane: Plane<'_>) {
    let ([_, iw], [sh, sw]) = (plane.input, plane.window.strides);
    let [height, width] = plane.phase();
    for py in 0..sh {
        let [top, y, rows] = plane.inside(0, py);
        for px in 0..sw {
            let [left, from, count] = plane.inside(1, px);
            if count == 0 {
                continue;
            }
            let to = &mut planes[((py * sw + px) * height + top) * width..];
            for (row, to) in to.chunks_exact_mut(width).take(rows).enumerate() {
                every(&mut to[left..left + count], &x[(y + row * sh) * iw + from..], sw);
            }
        }
    }
}

vectorised! {
    /// `sums[i] = sum over t of w[t] planes[starts[t] + i]`.
    fn add_taps<W>(sums: &mut [W], planes: &[W], w: &[W], starts: &[u64]) = add_taps_loop;
}

#[inline(always)]
fn add_taps_loop<W: RingWord>(sums: &mut [W], planes: &[W], w: &[W], starts: &[u64]) {
    for (line, sums) in sums.chunks_mut(LINE).enumerate() {
        let sums = sums.as_chunks_mut::<GRAIN>().0;
        sums.fill([W::ZERO; GRAIN]);
        let pixels =
            |tap: usize| planes[starts[tap] as usize + line * LINE..].as_chunks::<GRAIN>().0.iter();
        let mut tap = 0;
        while tap + 3 <= w.len() {
            let all = pixels(tap).zip(pixels(tap + 1)).zip(pixels(tap + 2));
            let [u, v, w] = [w[tap], w[tap + 1], w[tap + 2]];
            for (sums, ((x, y), z)) in sums.iter_mut().zip(all) {
                for i in 0..GRAIN {
                    sums[i] = sums[i].add(u.mul(x[i])).add(v.mul(y[i])).add(w.mul(z[i]));
                }
            }
            tap += 3;
        }
        for (tap, &w) in w.iter().enumerate().skip(tap) {
            for (sums, x) in sums.iter_mut().zip(pixels(tap)) {
                for i in 0..GRAIN {
                    sums[i] = sums[i].add(w.mul(x[i]));
                }
            }
        }
    }
}
