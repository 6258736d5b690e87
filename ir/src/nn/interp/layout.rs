//! Operations that move elements without computing.

use super::View;
use crate::shape::Shape;

/// Calls `f(i, offset)` for each index `i` of `shape` in row-major order, where `offset` is
/// `base + sum(index[axis] * strides[axis])`. The caller sees to it that no offset is negative.
pub(crate) fn strided_offsets(
    shape: &Shape,
    base: usize,
    strides: &[isize],
    mut f: impl FnMut(usize, usize),
) {
    if shape.elements() == 0 {
        return;
    }
    let Some((&inner, outer)) = shape.split_last() else { return f(0, base) };
    let step = strides[outer.len()];
    let mut index = vec![0; outer.len()];
    let mut start = base as isize;
    for row in 0..outer.iter().product() {
        for i in 0..inner {
            f(row * inner + i, (start + i as isize * step) as usize);
        }
        for axis in (0..outer.len()).rev() {
            index[axis] += 1;
            start += strides[axis];
            if index[axis] < outer[axis] {
                break;
            }
            start -= strides[axis] * outer[axis] as isize;
            index[axis] = 0;
        }
    }
}

/// The elements of `x` at strided offsets, one per index of `out`.
fn strided<T: Copy>(x: &[T], out: &Shape, base: usize, strides: &[isize]) -> Vec<T> {
    let mut result = Vec::with_capacity(out.elements());
    strided_offsets(out, base, strides, |_, offset| result.push(x[offset]));
    result
}

fn signed(strides: Vec<usize>) -> Vec<isize> {
    strides.into_iter().map(|s| s as isize).collect()
}

/// Result axis `i` is operand axis `perm[i]`.
pub(crate) fn transpose<T: Copy>(x: View<'_, T>, perm: &[usize], out: &Shape) -> Vec<T> {
    let strides = signed(x.shape.strides());
    let strides: Vec<isize> = perm.iter().map(|&axis| strides[axis]).collect();
    strided(x.data, out, 0, &strides)
}

/// Every `steps[i]`-th element from `starts[i]`.
pub(crate) fn slice<T: Copy>(
    x: View<'_, T>,
    starts: &[usize],
    steps: &[i64],
    out: &Shape,
) -> Vec<T> {
    let strides = x.shape.strides();
    let base = starts.iter().zip(&strides).map(|(at, stride)| at * stride).sum();
    let strides: Vec<isize> =
        strides.iter().zip(steps).map(|(&stride, &step)| stride as isize * step as isize).collect();
    strided(x.data, out, base, &strides)
}

/// Repeats along axes of extent 1.
pub(crate) fn expand<T: Copy>(x: View<'_, T>, out: &Shape) -> Vec<T> {
    let mut strides = signed(x.shape.strides());
    for (stride, extent) in strides.iter_mut().zip(x.shape.iter()) {
        if *extent == 1 {
            *stride = 0;
        }
    }
    strided(x.data, out, 0, &strides)
}

/// Elements of `value` in front, behind and between those of `x`.
pub(crate) fn pad<T: Copy>(
    x: View<'_, T>,
    before: &[usize],
    interior: &[usize],
    value: T,
    out: &Shape,
) -> Vec<T> {
    let mut result = vec![value; out.elements()];
    let strides = out.strides();
    let base = before.iter().zip(&strides).map(|(at, stride)| at * stride).sum();
    let spread: Vec<isize> =
        strides.iter().zip(interior).map(|(stride, gap)| (stride * (gap + 1)) as isize).collect();
    strided_offsets(x.shape, base, &spread, |at, offset| result[offset] = x.data[at]);
    result
}

/// Joins tensors along `axis`.
pub(crate) fn concat<T: Copy>(args: &[View<'_, T>], axis: usize, out: &Shape) -> Vec<T> {
    let outer: usize = out[..axis].iter().product();
    let mut result = Vec::with_capacity(out.elements());
    for row in 0..outer {
        for arg in args {
            let block: usize = arg.shape[axis..].iter().product();
            result.extend_from_slice(&arg.data[row * block..][..block]);
        }
    }
    result
}

/// `out[.., i, ..] = x[.., indices[i], ..]` along `axis`.
pub(crate) fn gather<T: Copy>(x: View<'_, T>, axis: usize, indices: &[u32]) -> Vec<T> {
    let outer: usize = x.shape[..axis].iter().product();
    let inner: usize = x.shape[axis + 1..].iter().product();
    let mut result = Vec::with_capacity(outer * indices.len() * inner);
    for row in 0..outer {
        for &index in indices {
            let at = (row * x.shape[axis] + index as usize) * inner;
            result.extend_from_slice(&x.data[at..][..inner]);
        }
    }
    result
}
