//! Convolution as a product with the image's windows laid out as columns.

use super::matmul::product_with;
use super::{Element, View};
use crate::shape::Shape;
use crate::window::Window;

/// `conv(x[n,c,h,w], w[o,c/groups,kh,kw], bias[o]?)`, result of shape `out`.
pub(crate) fn conv<T: Element>(
    args: &[View<'_, T>],
    window: &Window,
    groups: usize,
    out: &Shape,
) -> Vec<T> {
    let (x, weight) = (args[0], args[1]);
    let [extent_h, extent_w] = [x.shape[2], x.shape[3]];
    let (channels, taps) = (x.shape[1] / groups, window.kernel[0] * window.kernel[1]);
    let (m, k, n) = (out[1] / groups, channels * taps, out[2] * out[3]);
    let mut result = start(args.get(2), out);
    if result.is_empty() || k == 0 {
        return result;
    }
    if channels == 1 {
        depthwise(&mut result, x, weight, window, out);
        return result;
    }
    for (at, out_plane) in result.chunks_exact_mut(m * n).enumerate() {
        let image = &x.data[at * channels * extent_h * extent_w..];
        let a = &weight.data[at % groups * m * k..][..m * k];
        product_with(out_plane, a, [m, k, n], |strip| {
            let columns: Vec<[usize; 2]> = (strip.first..strip.first + strip.columns)
                .map(|column| [column / out[3], column % out[3]])
                .collect();
            for row in 0..k {
                let (channel, tap) = (row / taps, row % taps);
                let tap = [tap / window.kernel[1], tap % window.kernel[1]];
                let plane = &image[channel * extent_h * extent_w..][..extent_h * extent_w];
                let mut pixels = columns.iter();
                for entry in strip.row(row).flatten() {
                    let Some(pixel) = pixels.next() else { break };
                    let y = window.input_at(0, pixel[0], tap[0], extent_h);
                    let x = window.input_at(1, pixel[1], tap[1], extent_w);
                    *entry = y.zip(x).map_or(T::default(), |(y, x)| plane[y * extent_w + x]);
                }
            }
        });
    }
    result
}

/// A convolution whose groups have one input channel each: too thin for a matrix product.
fn depthwise<T: Element>(
    result: &mut [T],
    x: View<'_, T>,
    weight: View<'_, T>,
    window: &Window,
    out: &Shape,
) {
    let ([height, width], [out_height, out_width]) = ([x.shape[2], x.shape[3]], [out[2], out[3]]);
    let [kernel_h, kernel_w] = window.kernel;
    let multiplier = out[1] / x.shape[1];
    for (at, plane) in result.chunks_exact_mut(out_height * out_width).enumerate() {
        let image = &x.data[at / multiplier * height * width..][..height * width];
        let taps = &weight.data[at % out[1] * kernel_h * kernel_w..][..kernel_h * kernel_w];
        for (tap, &w) in taps.iter().enumerate() {
            let [tap_y, tap_x] = [tap / kernel_w, tap % kernel_w];
            let inside = |x: &usize| window.input_at(1, *x, tap_x, width);
            let Some(first) = (0..out_width).find(|x| inside(x).is_some()) else { continue };
            let count = (first..out_width).take_while(|x| inside(x).is_some()).count();
            let start = inside(&first).unwrap_or_default();
            for (y, row) in plane.chunks_exact_mut(out_width).enumerate() {
                let Some(y) = window.input_at(0, y, tap_y, height) else { continue };
                let from = &image[y * width + start..(y + 1) * width];
                let row = &mut row[first..first + count];
                if window.strides[1] == 1 {
                    row.iter_mut().zip(from).for_each(|(o, x)| *o = o.plus_product(w, *x));
                } else {
                    let from = from.iter().step_by(window.strides[1]);
                    row.iter_mut().zip(from).for_each(|(o, x)| *o = o.plus_product(w, *x));
                }
            }
        }
    }
}

/// The result before any product: zeros, or the bias of each channel.
fn start<T: Element>(bias: Option<&View<'_, T>>, out: &Shape) -> Vec<T> {
    let mut result = vec![T::default(); out.elements()];
    let pixels = out[2] * out[3];
    if let Some(bias) = bias.filter(|_| pixels > 0) {
        for (plane, value) in result.chunks_exact_mut(pixels).zip(bias.data.iter().cycle()) {
            plane.fill(*value);
        }
    }
    result
}
