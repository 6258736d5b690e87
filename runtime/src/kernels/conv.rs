//! Convolutions of images whose channels come last: products with the patches under the window.
//!
//! Patches are not made: an image with its padding around it holds each of them as a few runs of words,
//! which the products read in place. Where there is padding, bands of the image are copied into it.

use super::depthwise::{self, Geometry, depthwise};
use super::gemm::{Left, Right, gemm};
use super::scratch::at_least;
use super::{RingWord, Scratch};
use mpcc_ir::Window;

/// Pixels of the result per band, about: so many hide what begins with each.
const BAND: usize = 1024;

/// `out = conv(x, w)`: `x: [n, h, w, c]`, `w: [kh, kw, c / groups, o]`, `out: [n, oh, ow, o]`.
///
/// Group `g` reads the channels from `g c / groups` on and writes those from `g o / groups` on. Same time
/// for all values.
///
/// # Panics
/// If a length does not match its shape. The plan loader has checked them, so it would be a bug.
#[expect(clippy::too_many_arguments, reason = "the fields of the plan's step")]
pub fn conv<W: RingWord>(
    out: &mut [W],
    x: &[W],
    w: &[W],
    window: &Window,
    groups: usize,
    x_shape: [usize; 4],
    out_channels: usize,
    scratch: &mut Scratch,
) {
    let [n, ih, iw, c] = x_shape;
    let [oh, ow] = window.output([ih, iw]).expect("the plan loader checks that a window fits");
    let (pixels, taps) = (oh * ow, window.kernel[0] * window.kernel[1]);
    let (cg, og) = (c / groups, out_channels / groups);
    assert_eq!([cg * groups, og * groups], [c, out_channels], "groups divide channels");
    assert_eq!(
        [out.len(), x.len(), w.len()],
        [n * pixels * out_channels, n * ih * iw * c, taps * cg * out_channels]
    );
    if out.is_empty() || x.is_empty() || taps == 0 {
        return out.fill(W::ZERO);
    }
    let geometry = Geometry { window, input: [ih, iw], output: [oh, ow], channels: c };
    if depthwise::takes::<W>(scratch.cpu, cg, og) {
        let images = out.chunks_exact_mut(pixels * out_channels).zip(x.chunks_exact(ih * iw * c));
        return images.for_each(|(out, x)| depthwise(out, x, w, geometry, [cg, og], scratch));
    }
    let products = |out: &mut [W], x: &[W], rows, height, width, scratch: &mut Scratch| {
        for group in 0..groups {
            let left = geometry.patches(&x[group * cg..], rows, [height, width], cg);
            let right = Right { words: &w[group * og..], stride: out_channels };
            gemm(&mut out[group * og..], out_channels, &left, &right, og, scratch);
        }
    };
    if window.pads == [0; 4] {
        return products(out, x, [n, oh, ow], ih, iw, scratch);
    }
    let mut memory = std::mem::take(W::images(scratch));
    // Bands are some lines of an image, or some images.
    let lines = BAND.div_ceil(ow).min(oh);
    let images = if lines < oh { 1 } else { BAND.div_ceil(pixels).min(n) };
    for image in (0..n).step_by(images) {
        let images = images.min(n - image);
        for line in (0..oh).step_by(lines) {
            let lines = lines.min(oh - line);
            let [height, width] = geometry.reach([lines, ow]);
            let band = at_least(&mut memory, images * height * width * c);
            let each = band.chunks_exact_mut(height * width * c);
            for (band, x) in each.zip(x[image * ih * iw * c..].chunks_exact(ih * iw * c)) {
                geometry.pad(band, x, line * window.strides[0], width);
            }
            let from = (image * oh + line) * ow * out_channels;
            let out = &mut out[from..][..images * lines * ow * out_channels];
            products(out, band, [images, lines, ow], height, width, scratch);
        }
    }
    *W::images(scratch) = memory;
}

impl Geometry<'_> {
    /// Height and width of the padded image that so many lines and pixels of the result read.
    fn reach(self, output: [usize; 2]) -> [usize; 2] {
        let Window { kernel, strides, dilations, .. } = self.window;
        std::array::from_fn(|axis| {
            (output[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        })
    }

    /// Writes the lines of the padded image from `top` on, `width` pixels of each.
    fn pad<W: RingWord>(self, band: &mut [W], x: &[W], top: usize, width: usize) {
        let ([ih, iw], c, pads) = (self.input, self.channels, self.window.pads);
        let left = pads[1].min(width);
        let inside = iw.min(width - left);
        for (y, line) in (top..).zip(band.chunks_exact_mut(width * c)) {
            let Some(y) = y.checked_sub(pads[0]).filter(|&y| y < ih) else {
                line.fill(W::ZERO);
                continue;
            };
            let (before, rest) = line.split_at_mut(left * c);
            let (pixels, after) = rest.split_at_mut(inside * c);
            before.fill(W::ZERO);
            pixels.copy_from_slice(&x[y * iw * c..][..inside * c]);
            after.fill(W::ZERO);
        }
    }

    /// The patches of `depth` channels in images of that height and width, whose padding is in them.
    fn patches<W: RingWord>(
        self,
        words: &[W],
        rows: [usize; 3],
        [height, width]: [usize; 2],
        depth: usize,
    ) -> Left<'_, W> {
        let Window { kernel: [kh, kw], strides, dilations, .. } = *self.window;
        let c = self.channels;
        let line = width * c;
        let row_steps = [height * line, strides[0] * line, strides[1] * c];
        let tap_steps = [dilations[0] * line, dilations[1] * c];
        // Taps side by side are one run of words where there is nothing between them.
        let taps = if depth == c && (dilations[1] == 1 || kw == 1) {
            [kh, 1, kw * c]
        } else {
            [kh, kw, depth]
        };
        Left { words, rows, row_steps, taps, tap_steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Cpu;
    use crate::kernels::testing::random;

    fn naive<W: RingWord>(
        x: &[W],
        w: &[W],
        window: &Window,
        groups: usize,
        [n, ih, iw, c]: [usize; 4],
        out_channels: usize,
    ) -> Vec<W> {
        let [oh, ow] = window.output([ih, iw]).unwrap();
        let [kh, kw] = window.kernel;
        let (cg, og) = (c / groups, out_channels / groups);
        let mut out = vec![W::ZERO; n * oh * ow * out_channels];
        for (at, out) in out.iter_mut().enumerate() {
            let (o, pixel) = (at % out_channels, at / out_channels);
            let (ox, oy, image) = (pixel % ow, pixel / ow % oh, pixel / ow / oh);
            for tap in 0..kh * kw * cg {
                let (ci, kx, ky) = (tap % cg, tap / cg % kw, tap / cg / kw);
                let Some(y) = window.input_at(0, oy, ky, ih) else { continue };
                let Some(xx) = window.input_at(1, ox, kx, iw) else { continue };
                let pixel = x[((image * ih + y) * iw + xx) * c + o / og * cg + ci];
                *out = out.add(w[tap * out_channels + o].mul(pixel));
            }
        }
        out
    }

    fn check<W: RingWord>(window: &Window, groups: usize, x_shape: [usize; 4], channels: usize) {
        let [n, ih, iw, c] = x_shape;
        let x = random::<W>(n * c * ih * iw, 1);
        let w = random::<W>(channels * (c / groups) * window.kernel[0] * window.kernel[1], 2);
        let want = naive(&x, &w, window, groups, x_shape, channels);
        for cpu in Cpu::ALL {
            let mut out = random::<W>(want.len(), 3);
            let mut scratch = Scratch::with_cpu(cpu);
            conv(&mut out, &x, &w, window, groups, x_shape, channels, &mut scratch);
            assert!(out == want, "{window:?}, {groups} groups of {x_shape:?}, {cpu:?}");
        }
    }

    fn both(window: Window, groups: usize, x_shape: [usize; 4], channels: usize) {
        check::<u32>(&window, groups, x_shape, channels);
        check::<u64>(&window, groups, x_shape, channels);
    }

    fn window(kernel: [usize; 2], stride: usize, dilation: usize, pad: usize) -> Window {
        Window { kernel, strides: [stride; 2], dilations: [dilation; 2], pads: [pad; 4] }
    }

    #[test]
    fn dense_convolutions_match_the_definition() {
        both(window([3, 3], 1, 1, 1), 1, [1, 9, 9, 3], 5);
        both(window([7, 7], 2, 1, 3), 1, [1, 23, 31, 3], 9);
        both(window([3, 3], 2, 1, 1), 1, [2, 14, 14, 40], 17);
        both(window([3, 3], 1, 2, 2), 1, [1, 12, 10, 8], 8);
        both(window([1, 1], 1, 1, 0), 1, [2, 7, 7, 33], 20);
        both(window([1, 1], 2, 1, 0), 1, [1, 8, 8, 16], 8);
        both(window([2, 5], 1, 1, 0), 1, [1, 6, 30, 4], 3);
        both(window([1, 3], 1, 1, 1), 1, [1, 1, 50, 2], 4);
        both(window([1, 1], 1, 1, 0), 1, [1, 1, 1, 300], 10);
        both(window([3, 3], 1, 1, 3), 1, [1, 4, 4, 2], 4);
    }

    /// Loops of their own for few results or pixels, and copies where pixels crowd a cache.
    #[test]
    fn thin_and_deep_convolutions_match_the_definition() {
        both(window([3, 3], 1, 1, 1), 1, [1, 9, 9, 80], 4);
        both(window([3, 3], 1, 2, 1), 1, [1, 9, 9, 40], 2);
        both(window([3, 3], 1, 1, 0), 1, [2, 3, 3, 70], 40);
        both(window([3, 3], 1, 1, 1), 2, [1, 2, 1, 12], 40);
        both(window([1, 1], 1, 1, 0), 1, [1, 5, 7, 1024], 70);
        both(window([3, 3], 1, 1, 1), 1, [1, 4, 4, 512], 33);
        both(window([3, 3], 1, 1, 1), 32, [1, 4, 4, 1024], 1024);
    }

    /// Calls for a part of an image have pads of their own; bands and blocks end where they may.
    #[test]
    fn parts_and_large_images_match_the_definition() {
        let part = |top, bottom| Window { pads: [top, 1, bottom, 1], ..window([3, 3], 1, 1, 0) };
        both(part(1, 0), 1, [1, 5, 14, 20], 40);
        both(part(0, 0), 1, [1, 6, 14, 20], 40);
        both(part(0, 1), 1, [3, 3, 7, 70], 33);
        both(part(1, 0), 24, [2, 4, 19, 24], 24);
        both(part(0, 0), 24, [1, 4, 19, 24], 48);
        both(part(1, 1), 2, [1, 1, 50, 6], 10);
        both(window([3, 3], 1, 1, 1), 1, [1, 40, 37, 5], 18);
        both(window([1, 1], 2, 1, 0), 1, [3, 41, 39, 3], 12);
        both(window([3, 3], 2, 1, 1), 1, [5, 31, 32, 2], 11);
    }

    #[test]
    fn grouped_and_uneven_convolutions_match_the_definition() {
        both(window([3, 3], 1, 1, 1), 4, [1, 10, 11, 8], 12);
        both(window([3, 3], 1, 1, 1), 6, [2, 10, 11, 6], 6);
        both(window([3, 3], 2, 1, 1), 5, [1, 15, 14, 5], 5);
        both(window([5, 5], 3, 2, 4), 3, [1, 21, 17, 3], 6);
        both(window([5, 5], 1, 1, 2), 3, [1, 7, 7, 3], 9);
        both(window([1, 1], 1, 1, 0), 3, [1, 7, 7, 3], 3);
        both(window([3, 3], 1, 1, 1), 7, [1, 9, 12, 28], 28);
        both(window([3, 3], 2, 1, 1), 5, [2, 9, 12, 10], 20);
        both(window([3, 3], 1, 2, 2), 3, [1, 9, 12, 24], 24);
        both(window([3, 3], 1, 1, 1), 2, [1, 9, 12, 80], 6);
        let uneven =
            Window { kernel: [3, 2], strides: [2, 1], dilations: [1, 3], pads: [0, 4, 1, 2] };
        both(uneven, 1, [1, 9, 8, 3], 7);
        both(uneven, 4, [1, 9, 8, 4], 4);
    }
}
