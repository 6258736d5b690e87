//! Reductions along axes that keep extent 1.

use super::View;
use super::layout::strided_offsets;
use crate::shape::Shape;

/// Sum along `axes`, accumulated in double precision.
pub(super) fn sum(x: View<'_>, axes: &[usize], out: &Shape) -> Vec<f32> {
    let sums = fold(x, axes, out, 0.0f64, |sum, x| sum + f64::from(x));
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Mean along `axes`.
pub(super) fn mean(x: View<'_>, axes: &[usize], out: &Shape) -> Vec<f32> {
    let sums = fold(x, axes, out, 0.0f64, |sum, x| sum + f64::from(x));
    let count = x.shape.elements() / out.elements().max(1);
    sums.into_iter().map(|sum| (sum / count as f64) as f32).collect()
}

/// Maximum along `axes`; of no elements it is minus infinity.
pub(super) fn max(x: View<'_>, axes: &[usize], out: &Shape) -> Vec<f32> {
    fold(x, axes, out, f32::NEG_INFINITY, f32::max)
}

pub(crate) fn fold<S: Copy, T: Copy>(
    x: View<'_, S>,
    axes: &[usize],
    out: &Shape,
    start: T,
    f: impl Fn(T, S) -> T,
) -> Vec<T> {
    let mut result = vec![start; out.elements()];
    let mut strides: Vec<isize> = out.strides().into_iter().map(|s| s as isize).collect();
    for &axis in axes {
        strides[axis] = 0;
    }
    strided_offsets(x.shape, 0, &strides, |at, offset| {
        result[offset] = f(result[offset], x.data[at]);
    });
    result
}
