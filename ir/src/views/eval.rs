//! What a views operation computes on the operands that one role holds: plain loops over ring words.
//!
//! A bit is an element of `Z_2`: its sum is exclusive or, its product is and.

use super::{Op, Ty};
use crate::shape::Shape;
use crate::window::Window;

/// One operand: its elements, row-major and reduced, and its type.
pub(super) type Operand<'a> = (&'a [u64], &'a Ty);

/// `value` modulo `2^bits`.
pub(super) fn reduce(value: u64, bits: u8) -> u64 {
    value & (u64::MAX >> (64 - bits))
}

/// The operation on one role's operands; `None` for operations that travel or draw randomness.
pub(super) fn eval(op: &Op, args: &[Operand<'_>], out: &Ty) -> Option<Vec<u64>> {
    let mut words = match op {
        Op::Add => zip(args, u64::wrapping_add),
        Op::Sub => zip(args, u64::wrapping_sub),
        Op::Mul | Op::Select => zip(args, u64::wrapping_mul),
        Op::Neg => map(args, u64::wrapping_neg),
        Op::AddConst { by } => map(args, |a| a.wrapping_add(*by)),
        Op::MulConst { by } => map(args, |a| a.wrapping_mul(*by)),
        Op::ShiftLeft { by } => map(args, |a| a << by),
        Op::ShiftRight { by } => map(args, |a| a >> by),
        Op::Narrow | Op::Extend | Op::FromBit | Op::Reshape => args[0].0.to_vec(),
        Op::BitAt { index } => map(args, |a| a >> index),
        Op::Not => map(args, |a| a ^ 1),
        Op::Mux => {
            let pairs = args[1].0.iter().zip(args[2].0);
            args[0].0.iter().zip(pairs).map(|(c, (a, b))| (c & a) | ((c ^ 1) & b)).collect()
        }
        Op::Const { value } => vec![*value; out.shape.elements()],
        Op::Conv { window, groups } => conv(args, window, *groups, &out.shape),
        Op::MatMul => matmul(args, &out.shape),
        Op::Sum { .. } => sum(args[0], &out.shape),
        Op::Concat { axis } => concat(args, *axis, &out.shape),
        Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Expand
        | Op::Gather { .. } => moved(op, args[0], &out.shape),
        Op::InputDelta { .. }
        | Op::WeightDelta { .. }
        | Op::WeightPlain { .. }
        | Op::Random { .. }
        | Op::Deal { .. }
        | Op::Open
        | Op::AtP0
        | Op::OfP0
        | Op::WithoutP0
        | Op::Reveal { .. } => return None,
    };
    for word in &mut words {
        *word = reduce(*word, out.elem.bits());
    }
    Some(words)
}

fn map(args: &[Operand<'_>], f: impl Fn(u64) -> u64) -> Vec<u64> {
    args[0].0.iter().map(|a| f(*a)).collect()
}

fn zip(args: &[Operand<'_>], f: impl Fn(u64, u64) -> u64) -> Vec<u64> {
    args[0].0.iter().zip(args[1].0).map(|(a, b)| f(*a, *b)).collect()
}

/// Calls `f` with every index of `shape`, in row-major order.
fn for_each_index(shape: &Shape, mut f: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.rank()];
    for _ in 0..shape.elements() {
        f(&index);
        for axis in (0..shape.rank()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// Every element of the result is an element of the operand, or the value of a pad.
fn moved(op: &Op, (words, ty): Operand<'_>, out: &Shape) -> Vec<u64> {
    let strides = ty.shape.strides();
    let fill = if let Op::Pad { value, .. } = op { *value } else { 0 };
    let mut result = Vec::with_capacity(out.elements());
    for_each_index(out, |index| {
        let terms = index.iter().enumerate().map(|(axis, &at)| {
            source(op, axis, at, &ty.shape).map(|(axis, at)| at * strides[axis])
        });
        let at: Option<usize> = terms.sum();
        result.push(at.map_or(fill, |at| words[at]));
    });
    result
}

/// The operand's axis and index that the result's index `at` along `axis` reads; `None` in a pad.
fn source(op: &Op, axis: usize, at: usize, x: &Shape) -> Option<(usize, usize)> {
    if let Op::Transpose { perm } = op {
        return Some((perm[axis], at));
    }
    if let Op::Slice { starts, steps } = op {
        return Some((axis, (starts[axis] as i64 + steps[axis] * at as i64) as usize));
    }
    if let Op::Pad { before, interior, .. } = op {
        let (from, step) = (at.checked_sub(before[axis])?, interior[axis] + 1);
        return (from % step == 0 && from / step < x[axis]).then_some((axis, from / step));
    }
    if let Op::Gather { axis: along, indices } = op
        && *along == axis
    {
        return Some((axis, indices[at] as usize));
    }
    let repeats = *op == Op::Expand && x[axis] == 1;
    Some((axis, if repeats { 0 } else { at }))
}

fn sum((words, ty): Operand<'_>, out: &Shape) -> Vec<u64> {
    let (strides, mut result) = (out.strides(), vec![0_u64; out.elements()]);
    let mut rest = words.iter();
    for_each_index(&ty.shape, |index| {
        let at: usize = index
            .iter()
            .enumerate()
            .map(|(axis, &i)| if out[axis] == 1 { 0 } else { i * strides[axis] })
            .sum();
        result[at] = result[at].wrapping_add(rest.next().copied().unwrap_or(0));
    });
    result
}

fn concat(args: &[Operand<'_>], axis: usize, out: &Shape) -> Vec<u64> {
    let outer: usize = out[..axis].iter().product();
    let mut result = Vec::with_capacity(out.elements());
    for row in 0..outer {
        for (words, ty) in args {
            let len: usize = ty.shape[axis..].iter().product();
            result.extend_from_slice(&words[row * len..][..len]);
        }
    }
    result
}

fn matmul(args: &[Operand<'_>], out: &Shape) -> Vec<u64> {
    let ((a, a_ty), (b, b_ty)) = (args[0], args[1]);
    let (rank, shared) = (out.rank(), b_ty.shape.rank() == 2);
    let (m, n, k) = (out[rank - 2], out[rank - 1], a_ty.shape[rank - 1]);
    let mut result = vec![0_u64; out.elements()];
    for (row, out_row) in result.chunks_mut(n.max(1)).enumerate() {
        let b = if shared { b } else { &b[row / m * k * n..][..k * n] };
        for (x, b_row) in a[row * k..][..k].iter().zip(b.chunks(n.max(1))) {
            for (o, y) in out_row.iter_mut().zip(b_row) {
                *o = o.wrapping_add(x.wrapping_mul(*y));
            }
        }
    }
    result
}

fn conv(args: &[Operand<'_>], window: &Window, groups: usize, out: &Shape) -> Vec<u64> {
    let ((x, x_ty), (w, w_ty)) = (args[0], args[1]);
    let (x_at, w_at) = (x_ty.shape.strides(), w_ty.shape.strides());
    let (height, width) = (x_ty.shape[1], x_ty.shape[2]);
    let (per_group, out_per_group) = (w_ty.shape[2], out[3] / groups);
    let mut result = Vec::with_capacity(out.elements());
    for_each_index(out, |index| {
        let first = index[3] / out_per_group * per_group;
        let mut sum = 0_u64;
        for kh in 0..window.kernel[0] {
            let Some(ih) = window.input_at(0, index[1], kh, height) else { continue };
            for kw in 0..window.kernel[1] {
                let Some(iw) = window.input_at(1, index[2], kw, width) else { continue };
                let x_base = index[0] * x_at[0] + ih * x_at[1] + iw * x_at[2] + first;
                let w_base = kh * w_at[0] + kw * w_at[1] + index[3];
                for c in 0..per_group {
                    let product = x[x_base + c].wrapping_mul(w[w_base + c * w_at[2]]);
                    sum = sum.wrapping_add(product);
                }
            }
        }
        result.push(sum);
    });
    result
}
