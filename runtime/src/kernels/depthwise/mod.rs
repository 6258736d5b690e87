//! Convolutions in groups so small that a vector holds several: depthwise ones above all.
//!
//! Vectors run over channels. A few pixels of a line are summed at once, so that a word of the window
//! is read once for all; pixels near an edge are summed one by one, over the taps inside the image.

#[cfg(target_arch = "x86_64")]
mod avx512;

use super::cpu::vectorised;
use super::scratch::at_least;
use super::{Cpu, RingWord, Scratch};
use mpcc_ir::Window;
use std::ops::Range;

/// Geometry of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Geometry<'a> {
    /// How the window moves.
    pub(super) window: &'a Window,
    /// Height and width of the image.
    pub(super) input: [usize; 2],
    /// Height and width of the result.
    pub(super) output: [usize; 2],
    /// Channels of the image.
    pub(super) channels: usize,
}

impl Geometry<'_> {
    /// The taps along `axis` that lie in the image for output `out`.
    fn inside(self, axis: usize, out: usize) -> Range<usize> {
        let (step, pad) = (self.window.dilations[axis], self.window.pads[axis]);
        let (taps, at) = (self.window.kernel[axis], out * self.window.strides[axis]);
        let end = (self.input[axis] + pad).saturating_sub(at).div_ceil(step).min(taps);
        pad.saturating_sub(at).div_ceil(step).min(end)..end
    }

    /// The outputs along `axis` whose taps all lie in the image.
    fn whole(self, axis: usize) -> Range<usize> {
        let (step, pad) = (self.window.strides[axis], self.window.pads[axis]);
        let reach = (self.window.kernel[axis] - 1) * self.window.dilations[axis];
        let end = (self.input[axis] + pad).saturating_sub(reach).div_ceil(step);
        let end = end.min(self.output[axis]);
        pad.div_ceil(step).min(end)..end
    }
}

/// Whether groups of `cg` channels with `og` results each are for [`depthwise`].
pub(super) fn takes<W: RingWord>(cpu: Cpu, cg: usize, og: usize) -> bool {
    let lanes = 64 / W::BYTES;
    let several = cpu >= Cpu::Avx512 && cg <= og && og < lanes && lanes.is_multiple_of(og);
    several || (cg == 1 && og <= 2)
}

/// `out = conv(x, w)` of one image, with `og` results of each `cg` channels.
pub(super) fn depthwise<W: RingWord>(
    out: &mut [W],
    x: &[W],
    w: &[W],
    geometry: Geometry<'_>,
    [cg, og]: [usize; 2],
    scratch: &mut Scratch,
) {
    let cpu = scratch.cpu;
    if og == 1 || cpu >= Cpu::Avx512 {
        return lines(cpu, out, x, w, geometry, [cg, og]);
    }
    // Channels with several results become as many channels.
    let mut memory = std::mem::take(W::images(scratch));
    let copies = at_least(&mut memory, x.len() * og);
    for (copies, &word) in copies.chunks_exact_mut(og).zip(x) {
        copies.fill(word);
    }
    let channels = geometry.channels * og;
    lines(cpu, out, copies, w, Geometry { channels, ..geometry }, [1, 1]);
    *W::images(scratch) = memory;
}

fn lines<W: RingWord>(
    cpu: Cpu,
    out: &mut [W],
    x: &[W],
    w: &[W],
    geometry: Geometry<'_>,
    each: [usize; 2],
) {
    let outputs = geometry.channels / each[0] * each[1];
    for (y, out) in out.chunks_exact_mut(geometry.output[1] * outputs).enumerate() {
        let mut line = Line { out, x, w, geometry, each, outputs, y };
        #[cfg(target_arch = "x86_64")]
        if cpu >= Cpu::Avx512 {
            avx512::line(&mut line);
            continue;
        }
        portable(cpu, &mut line);
    }
}

vectorised! {
    fn portable<W>(line: &mut Line<'_, W>) = portable_loop;
}

#[inline(always)]
fn portable_loop<W: RingWord>(line: &mut Line<'_, W>) {
    match (W::BYTES, line.geometry.channels) {
        (4, 16..) => line.blocks::<16, 4>(),
        (8, 8..) => line.blocks::<8, 4>(),
        _ => line.blocks::<1, 8>(),
    }
}

/// A line of the result.
struct Line<'a, W> {
    out: &'a mut [W],
    x: &'a [W],
    w: &'a [W],
    geometry: Geometry<'a>,
    /// Channels of a group that are read and written; portable loops take one and one.
    each: [usize; 2],
    /// Channels of the result.
    outputs: usize,
    y: usize,
}

impl<W: RingWord> Line<'_, W> {
    /// All channels, `N` at a time and `P` pixels at once; the last block may overlap the one before.
    #[inline(always)]
    fn blocks<const N: usize, const P: usize>(&mut self) {
        let c = self.geometry.channels;
        let rows = self.geometry.inside(0, self.y);
        let whole = self.geometry.whole(1);
        for block in 0..c.div_ceil(N) {
            let channel = (block * N).min(c - N);
            let mut pixel = 0;
            while pixel < self.geometry.output[1] {
                if pixel >= whole.start && pixel + P <= whole.end {
                    let columns = 0..self.geometry.window.kernel[1];
                    self.pixels::<N, P>(channel, pixel, &rows, &columns);
                    pixel += P;
                } else {
                    let columns = self.geometry.inside(1, pixel);
                    self.pixels::<N, 1>(channel, pixel, &rows, &columns);
                    pixel += 1;
                }
            }
        }
    }

    /// `N` channels of `P` pixels, over some rows and columns of the window.
    #[inline(always)]
    fn pixels<const N: usize, const P: usize>(
        &mut self,
        channel: usize,
        pixel: usize,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) {
        let Window { kernel: [_, kw], strides, dilations, pads } = *self.geometry.window;
        let (c, width) = (self.geometry.channels, self.geometry.input[1]);
        let mut sums = [[W::ZERO; N]; P];
        for ky in rows.clone() {
            let y = self.y * strides[0] + ky * dilations[0] - pads[0];
            for kx in columns.clone() {
                let x = pixel * strides[1] + kx * dilations[1] - pads[1];
                let from = &self.x[(y * width + x) * c + channel..];
                let w = &self.w[(ky * kw + kx) * c + channel..][..N];
                for (p, sums) in sums.iter_mut().enumerate() {
                    let from = &from[p * strides[1] * c..][..N];
                    for i in 0..N {
                        sums[i] = sums[i].add(w[i].mul(from[i]));
                    }
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            self.out[(pixel + p) * c + channel..][..N].copy_from_slice(sums);
        }
    }
}
