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
