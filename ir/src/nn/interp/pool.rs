//! Pooling over windows of an image.

use super::View;
use crate::shape::Shape;
use crate::window::Window;

/// Maximum over each window; padding never wins, a window of padding alone gives minus infinity.
pub(super) fn max_pool(x: View<'_>, window: &Window, out: &Shape) -> Vec<f32> {
    pool(x, window, out, |taps| taps.fold(f32::NEG_INFINITY, f32::max))
}

/// Mean over each window; padding counts as zeros in the divisor if `count_pad`.
pub(super) fn avg_pool(x: View<'_>, window: &Window, count_pad: bool, out: &Shape) -> Vec<f32> {
    let taps_in_all = window.kernel[0] * window.kernel[1];
    pool(x, window, out, |taps| {
        let (count, sum) = taps.fold((0, 0.0), |(count, sum), x| (count + 1, sum + x));
        let divisor = if count_pad { taps_in_all } else { count.max(1) };
        sum / divisor as f32
    })
}

/// `f` of the elements under each window.
fn pool(
    x: View<'_>,
    window: &Window,
    out: &Shape,
    f: impl Fn(&mut dyn Iterator<Item = f32>) -> f32,
) -> Vec<f32> {
    let [height, width] = [x.shape[2], x.shape[3]];
    let mut result = Vec::with_capacity(out.elements());
    if height * width == 0 {
        return vec![0.0; out.elements()];
    }
    for plane in x.data.chunks_exact(height * width) {
        for oy in 0..out[2] {
            let ys: Vec<usize> =
                (0..window.kernel[0]).filter_map(|t| window.input_at(0, oy, t, height)).collect();
            for ox in 0..out[3] {
                let row = |y: usize| {
                    (0..window.kernel[1])
                        .filter_map(move |t| window.input_at(1, ox, t, width))
                        .map(move |x| plane[y * width + x])
                };
                result.push(f(&mut ys.iter().flat_map(|&y| row(y))));
            }
        }
    }
    result
}
