//! Convolutions: products with the patches under the window, group by group.

use super::depthwise::{Plane, depthwise};
use super::gemm::{Patches, Rows, gemm};
use super::{RingWord, Scratch};
use mpcc_ir::Window;

/// `out = conv(x, w)`: `x: [n, c, h, w]`, `w: [o, c / groups, kh, kw]`, `out: [n, o, oh, ow]`.
///
/// Patches are made block by block while they are multiplied, never all at once. Same time for all
/// values.
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
    let [n, c, ih, iw] = x_shape;
    let [oh, ow] = window.output([ih, iw]).expect("the plan loader checks that a window fits");
    let (pixels, taps) = (oh * ow, window.kernel[0] * window.kernel[1]);
    let (cg, og) = (c / groups, out_channels / groups);
    assert_eq!([cg * groups, og * groups], [c, out_channels], "groups divide channels");
    assert_eq!(
        [out.len(), x.len(), w.len()],
        [n * out_channels * pixels, n * c * ih * iw, out_channels * cg * taps]
    );
    if out.is_empty() || x.is_empty() || taps == 0 {
        return out.fill(W::ZERO);
    }
    if cg == 1 && og <= 2 && !is_pointwise(window) {
        let plane = Plane { window, input: [ih, iw], output: [oh, ow] };
        let images = out.chunks_exact_mut(out_channels * pixels).zip(x.chunks_exact(c * ih * iw));
        return images.for_each(|(out, x)| depthwise(out, x, w, plane, og, scratch));
    }
    let blocks = out.chunks_exact_mut(og * pixels).zip(x.chunks_exact(cg * ih * iw));
    for (i, (out, x)) in blocks.enumerate() {
        let w = &w[i % groups * og * cg * taps..][..og * cg * taps];
        let shape = [og, cg * taps, pixels];
        if is_pointwise(window) {
            gemm(out, w, &Rows { b: x, n: pixels }, shape, scratch);
        } else {
            let patches = Patches { x, window, input: [ih, iw], output: [oh, ow] };
            gemm(out, w, &patches, shape, scratch);
        }
    }
}

/// Whether the patches are the image itself.
fn is_pointwise(window: &Window) -> bool {
    window.kernel == [1, 1] && window.strides == [1, 1] && window.pads == [0; 4]
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
        [n, c, ih, iw]: [usize; 4],
        out_channels: usize,
    ) -> Vec<W> {
        let [oh, ow] = window.output([ih, iw]).unwrap();
        let [kh, kw] = window.kernel;
        let (cg, og) = (c / groups, out_channels / groups);
        let mut out = vec![W::ZERO; n * out_channels * oh * ow];
        for (at, out) in out.iter_mut().enumerate() {
            let (ox, oy, o) = (at % ow, at / ow % oh, at / ow / oh % out_channels);
            let image = at / ow / oh / out_channels;
            for tap in 0..cg * kh * kw {
                let (ci, ky, kx) = (tap / kw / kh, tap / kw % kh, tap % kw);
                let Some(y) = window.input_at(0, oy, ky, ih) else { continue };
                let Some(xx) = window.input_at(1, ox, kx, iw) else { continue };
                let pixel = x[((image * c + o / og * cg + ci) * ih + y) * iw + xx];
                *out = out.add(w[o * cg * kh * kw + tap].mul(pixel));
            }
        }
        out
    }

    fn check<W: RingWord>(window: &Window, groups: usize, x_shape: [usize; 4], channels: usize) {
        let [n, c, ih, iw] = x_shape;
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
        both(window([3, 3], 1, 1, 1), 1, [1, 3, 9, 9], 5);
        both(window([7, 7], 2, 1, 3), 1, [1, 3, 23, 31], 9);
        both(window([3, 3], 2, 1, 1), 1, [2, 40, 14, 14], 17);
        both(window([3, 3], 1, 2, 2), 1, [1, 8, 12, 10], 8);
        both(window([1, 1], 1, 1, 0), 1, [2, 33, 7, 7], 20);
        both(window([1, 1], 2, 1, 0), 1, [1, 16, 8, 8], 8);
        both(window([2, 5], 1, 1, 0), 1, [1, 4, 6, 30], 3);
        both(window([1, 3], 1, 1, 1), 1, [1, 2, 1, 50], 4);
        both(window([1, 1], 1, 1, 0), 1, [1, 300, 1, 1], 10);
        both(window([3, 3], 1, 1, 3), 1, [1, 2, 4, 4], 4);
    }

    #[test]
    fn grouped_and_uneven_convolutions_match_the_definition() {
        both(window([3, 3], 1, 1, 1), 4, [1, 8, 10, 11], 12);
        both(window([3, 3], 1, 1, 1), 6, [2, 6, 10, 11], 6);
        both(window([3, 3], 2, 1, 1), 5, [1, 5, 15, 14], 5);
        both(window([5, 5], 3, 2, 4), 3, [1, 3, 21, 17], 6);
        both(window([5, 5], 1, 1, 2), 3, [1, 3, 7, 7], 9);
        both(window([1, 1], 1, 1, 0), 3, [1, 3, 7, 7], 3);
        let uneven =
            Window { kernel: [3, 2], strides: [2, 1], dilations: [1, 3], pads: [0, 4, 1, 2] };
        both(uneven, 1, [1, 3, 9, 8], 7);
        both(uneven, 4, [1, 4, 9, 8], 4);
    }
}
