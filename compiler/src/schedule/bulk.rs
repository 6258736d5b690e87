//! Steps of linear operations and of data movement.

use mpcc_ir::plan::{Span, StepOp};
use mpcc_ir::shape::Shape;
use mpcc_ir::views::Op;

/// An operand or result of a bulk operation.
pub(super) struct Tensor<'a> {
    pub(super) shape: &'a Shape,
    pub(super) span: Span,
}

/// The steps that compute `op`. More than one where a result is put together from parts.
pub(super) fn steps(
    op: &Op,
    args: &[Tensor<'_>],
    out: &Tensor<'_>,
    word_bytes: u64,
) -> Vec<StepOp> {
    let x = &args[0];
    match op {
        Op::Conv { window, groups } => vec![StepOp::Conv {
            window: *window,
            groups: *groups,
            x_shape: [x.shape[0], x.shape[1], x.shape[2], x.shape[3]],
            out_channels: out.shape[1],
            x: x.span,
            w: args[1].span,
            out: out.span,
        }],
        Op::MatMul => vec![matmul(x, &args[1], out)],
        Op::Sum { axes } => vec![sum(axes, x, out)],
        Op::Transpose { perm } => {
            let from = signed(&x.shape.strides());
            vec![copy(x, 0, perm.iter().map(|axis| from[*axis]).collect(), out)]
        }
        Op::Slice { starts, steps } => {
            let from = x.shape.strides();
            let offset = starts.iter().zip(&from).map(|(start, stride)| start * stride).sum();
            let strides = signed(&from).iter().zip(steps).map(|(a, b)| a * b).collect();
            vec![copy(x, offset, strides, out)]
        }
        Op::Expand => {
            let from = signed(&x.shape.strides());
            let repeated = |axis: usize| if x.shape[axis] == 1 { 0 } else { from[axis] };
            vec![copy(x, 0, (0..x.shape.rank()).map(repeated).collect(), out)]
        }
        Op::Pad { before, interior, value, .. } => pad(before, interior, *value, x, out),
        Op::Concat { axis } => concat(*axis, args, out),
        Op::Gather { axis, indices } => vec![StepOp::Gather {
            outer: x.shape[..*axis].iter().product(),
            extent: x.shape[*axis],
            inner: x.shape[axis + 1..].iter().product(),
            indices: indices.clone(),
            src: x.span,
            dst: out.span,
        }],
        other => unreachable!("`{other:?}` is not a bulk operation of {word_bytes}-byte words"),
    }
}

/// A product as several steps that each write their own part of the result: as many channels, or
/// rows, as make `parts` nearly equal parts of a multiple of [`ROWS`]. What cannot be cut stays whole.
pub(super) fn split(step: StepOp, parts: usize) -> Vec<StepOp> {
    match step {
        StepOp::Conv { window, groups: 1, x_shape, out_channels, x, w, out }
            if parts > 1 && x_shape[0] == 1 =>
        {
            let part = |(first, count): (usize, usize)| StepOp::Conv {
                window,
                groups: 1,
                x_shape,
                out_channels: count,
                x,
                w: cut(w, first, count, out_channels),
                out: cut(out, first, count, out_channels),
            };
            row_ranges(out_channels, parts).map(part).collect()
        }
        StepOp::Conv { window, groups, x_shape, out_channels, x, w, out }
            if parts > 1 && x_shape[0] == 1 =>
        {
            let [channels, outputs] = [x_shape[1] / groups, out_channels / groups];
            let part = |(first, count): (usize, usize)| StepOp::Conv {
                window,
                groups: count,
                x_shape: [1, count * channels, x_shape[2], x_shape[3]],
                out_channels: count * outputs,
                x: cut(x, first, count, groups),
                w: cut(w, first, count, groups),
                out: cut(out, first, count, groups),
            };
            row_ranges(groups, parts).map(part).collect()
        }
        StepOp::MatMul { batch: 1, mkn: [m, k, n], shared_b, a, b, out } if parts > 1 => {
            let part = |(first, count): (usize, usize)| StepOp::MatMul {
                batch: 1,
                mkn: [count, k, n],
                shared_b,
                a: cut(a, first, count, m),
                b,
                out: cut(out, first, count, m),
            };
            row_ranges(m, parts).map(part).collect()
        }
        StepOp::MatMul { batch, mkn, shared_b: false, a, b, out } if parts > 1 => {
            let part = |(first, count): (usize, usize)| StepOp::MatMul {
                batch: count,
                mkn,
                shared_b: false,
                a: cut(a, first, count, batch),
                b: cut(b, first, count, batch),
                out: cut(out, first, count, batch),
            };
            let size = batch.div_ceil(parts);
            ranges(batch, size).map(part).collect()
        }
        other => vec![other],
    }
}

/// Rows of a product that kernels work on together, at least.
const ROWS: usize = 16;

fn row_ranges(rows: usize, parts: usize) -> impl Iterator<Item = (usize, usize)> {
    ranges(rows, rows.div_ceil(parts).next_multiple_of(ROWS))
}

/// First and number of each range of at most `size`.
fn ranges(all: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..all).step_by(size.max(1)).map(move |first| (first, size.min(all - first)))
}

/// The bytes of `count` rows from `first` on, of a buffer of `rows`.
fn cut(span: Span, first: usize, count: usize, rows: usize) -> Span {
    let row = span.len / rows.max(1) as u64;
    Span { at: span.at + first as u64 * row, len: count as u64 * row, ..span }
}

fn signed(strides: &[usize]) -> Vec<i64> {
    strides.iter().map(|s| *s as i64).collect()
}

fn copy(x: &Tensor<'_>, src_offset: usize, src_strides: Vec<i64>, out: &Tensor<'_>) -> StepOp {
    StepOp::Strided {
        shape: out.shape.to_vec(),
        src: x.span,
        src_offset,
        src_strides,
        dst: out.span,
        dst_offset: 0,
        dst_strides: signed(&out.shape.strides()),
    }
}

fn matmul(a: &Tensor<'_>, b: &Tensor<'_>, out: &Tensor<'_>) -> StepOp {
    let (ra, rb) = (a.shape.rank(), b.shape.rank());
    let [m, k, n] = [a.shape[ra - 2], a.shape[ra - 1], b.shape[rb - 1]];
    let leading: usize = a.shape[..ra - 2].iter().product();
    // One right operand for all: the rows of all left operands stand under one another.
    let (batch, m) = if rb == 2 { (1, leading * m) } else { (leading, m) };
    StepOp::MatMul { batch, mkn: [m, k, n], shared_b: false, a: a.span, b: b.span, out: out.span }
}

/// A sum over neighbouring axes; `legalise` leaves no others.
fn sum(axes: &[usize], x: &Tensor<'_>, out: &Tensor<'_>) -> StepOp {
    let first = axes.iter().copied().min().unwrap_or(0);
    let last = axes.iter().copied().max().unwrap_or(0);
    StepOp::Sum {
        outer: x.shape[..first].iter().product(),
        terms: x.shape[first..=last].iter().product(),
        inner: x.shape[last + 1..].iter().product(),
        src: x.span,
        dst: out.span,
    }
}

fn pad(
    before: &[usize],
    interior: &[usize],
    value: u64,
    x: &Tensor<'_>,
    out: &Tensor<'_>,
) -> Vec<StepOp> {
    let to = out.shape.strides();
    let fill = StepOp::Fill { dst: out.span, value };
    let copy = StepOp::Strided {
        shape: x.shape.to_vec(),
        src: x.span,
        src_offset: 0,
        src_strides: signed(&x.shape.strides()),
        dst: out.span,
        dst_offset: before.iter().zip(&to).map(|(b, stride)| b * stride).sum(),
        dst_strides: to.iter().zip(interior).map(|(s, gap)| (s * (gap + 1)) as i64).collect(),
    };
    vec![fill, copy]
}

fn concat(axis: usize, args: &[Tensor<'_>], out: &Tensor<'_>) -> Vec<StepOp> {
    let to = out.shape.strides();
    let mut at = 0;
    let part = |arg: &Tensor<'_>| {
        let dst_offset = at * to[axis];
        at += arg.shape[axis];
        StepOp::Strided {
            shape: arg.shape.to_vec(),
            src: arg.span,
            src_offset: 0,
            src_strides: signed(&arg.shape.strides()),
            dst: out.span,
            dst_offset,
            dst_strides: signed(&to),
        }
    };
    args.iter().map(part).collect()
}
