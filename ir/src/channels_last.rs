//! Convolutions with channels last, as the levels below nn have them: image `[n, h, w, c]`, filter
//! `[kh, kw, c/groups, o]`, result `[n, oh, ow, o]`.
//!
//! Rows of an image then lie together: a convolution can start on the rows that it has, and kernels read whole
//! runs of channels. ONNX and the nn level have channels first: `[n, c, h, w]` and `[o, c/groups, kh, kw]`.

use crate::nn::interp::{Element, View, conv, layout};
use crate::shape::Shape;
use crate::window::Window;

/// The permutation of axes from `[n, c, h, w]` to `[n, h, w, c]`.
pub const IMAGE: [usize; 4] = [0, 2, 3, 1];
/// The permutation of axes from `[n, h, w, c]` back to `[n, c, h, w]`.
pub const IMAGE_BACK: [usize; 4] = [0, 3, 1, 2];
/// The permutation of axes from `[o, c/groups, kh, kw]` to `[kh, kw, c/groups, o]`.
pub const FILTER: [usize; 4] = [2, 3, 1, 0];
/// The permutation of axes from `[kh, kw, c/groups, o]` back to `[o, c/groups, kh, kw]`.
const FILTER_BACK: [usize; 4] = [3, 2, 0, 1];

/// Checks the shapes of image, filter, bias if there is one, and result.
///
/// # Errors
/// Says which rule is broken.
pub(crate) fn check(
    args: &[&Shape],
    window: &Window,
    groups: usize,
    result: &Shape,
) -> Result<(), String> {
    let (&[x, w], bias) = (args.first_chunk().ok_or("wrong number of operands")?, &args[2..]);
    let (&[n, height, width, c], &[kh, kw, per_group, o]) = (&x[..], &w[..]) else {
        return Err("conv wants an image and a filter of rank 4".into());
    };
    let grouped = groups > 0 && per_group.checked_mul(groups) == Some(c) && o % groups == 0;
    if !grouped || [kh, kw] != window.kernel {
        return Err("channels, groups and kernel do not match the filter".into());
    }
    if bias.len() > 1 || bias.iter().any(|b| b[..] != [o]) {
        return Err("the bias has one entry per output channel".into());
    }
    let [oh, ow] = window.output([height, width]).ok_or("no window fits")?;
    let shape = Shape::of(&[n, oh, ow, o]);
    if shape == *result { Ok(()) } else { Err(format!("the result's shape is {shape}")) }
}

/// `conv(x, w, bias?)`, result of shape `out`, by way of the convolution with channels first.
pub(crate) fn evaluate<T: Element>(
    args: &[View<'_, T>],
    window: &Window,
    groups: usize,
    out: &Shape,
) -> Vec<T> {
    let (x, w) = (args[0], args[1]);
    let (x_shape, w_shape) = (permuted(x.shape, &IMAGE_BACK), permuted(w.shape, &FILTER_BACK));
    let x = layout::transpose(x, &IMAGE_BACK, &x_shape);
    let w = layout::transpose(w, &FILTER_BACK, &w_shape);
    let mut views = vec![View { shape: &x_shape, data: &x }, View { shape: &w_shape, data: &w }];
    views.extend(args.get(2));
    let first = permuted(out, &IMAGE_BACK);
    let result = conv::conv(&views, window, groups, &first);
    layout::transpose(View { shape: &first, data: &result }, &IMAGE, out)
}

/// The row-major elements of a tensor of `shape`, moved: axis `i` of the result is axis `perm[i]` of `shape`.
pub fn transpose<T: Copy>(data: &[T], shape: &Shape, perm: &[usize]) -> Vec<T> {
    layout::transpose(View { shape, data }, perm, &permuted(shape, perm))
}

/// The shape whose axis `i` is axis `perm[i]` of `shape`.
pub fn permuted(shape: &Shape, perm: &[usize]) -> Shape {
    Shape(perm.iter().map(|&axis| shape[axis]).collect())
}
