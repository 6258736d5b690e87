//! Steps of linear operations and of data movement.

use mpcc_ir::Window;
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
            out_channels: out.shape[3],
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

/// A step as several that each write their own part of the result: rows that lie together, as near to `parts`, the
/// first element and number of elements of each, as rows allow. A part reads no more than what its rows need, so
/// that it can start when that is there. What cannot be cut stays whole.
pub(super) fn split(step: StepOp, parts: &[(usize, usize)], word_bytes: u64) -> Vec<StepOp> {
    if parts.len() <= 1 {
        return vec![step];
    }
    match step {
        StepOp::Conv { window, groups, x_shape, out_channels, x, w, out } => {
            let Some(rows) = Rows::of(window, [x_shape[1], x_shape[2]]) else { return vec![step] };
            let [oh, ow] = rows.output;
            let part = |(image, first, count): (usize, usize, usize)| {
                let (window, top, height) = rows.part(first, count);
                StepOp::Conv {
                    window,
                    groups,
                    x_shape: [1, height, x_shape[2], x_shape[3]],
                    out_channels,
                    x: cut(x, image * x_shape[1] + top, height, x_shape[0] * x_shape[1]),
                    w,
                    out: cut(out, image * oh + first, count, x_shape[0] * oh),
                }
            };
            let ranges = row_ranges(parts, ow * out_channels, x_shape[0] * oh);
            ranges.flat_map(|range| by_image(range, oh)).map(part).collect()
        }
        StepOp::MatMul { batch: 1, mkn: [m, k, n], shared_b, a, b, out } => {
            let part = |(first, count): (usize, usize)| StepOp::MatMul {
                batch: 1,
                mkn: [count, k, n],
                shared_b,
                a: cut(a, first, count, m),
                b,
                out: cut(out, first, count, m),
            };
            row_ranges(parts, ROWS * n, m.div_ceil(ROWS))
                .map(|(first, count)| (first * ROWS, (count * ROWS).min(m - first * ROWS)))
                .map(part)
                .collect()
        }
        StepOp::MatMul { batch, mkn, shared_b: false, a, b, out } => {
            let part = |(first, count): (usize, usize)| StepOp::MatMul {
                batch: count,
                mkn,
                shared_b: false,
                a: cut(a, first, count, batch),
                b: cut(b, first, count, batch),
                out: cut(out, first, count, batch),
            };
            row_ranges(parts, mkn[0] * mkn[2], batch).map(part).collect()
        }
        StepOp::Strided { .. } => split_moves(step, parts, word_bytes),
        other => vec![other],
    }
}

/// Rows of a product that kernels work on together, at least.
const ROWS: usize = 16;

/// First row and number of rows of each range of elements: a row belongs to the range that it ends in, the last rows
/// to the last range.
fn row_ranges(
    parts: &[(usize, usize)],
    row: usize,
    rows: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    let ends = parts.iter().map(move |(at, count)| (at + count).div_ceil(row.max(1)).min(rows));
    ends.filter_map(move |end| {
        let range = (first, end.saturating_sub(first));
        first = end.max(first);
        (range.1 > 0).then_some(range)
    })
}

/// The image, first row and number of rows of each image's part of a range over `rows` of each.
fn by_image((first, count): (usize, usize), rows: usize) -> Vec<(usize, usize, usize)> {
    let end = first + count;
    (first / rows..end.div_ceil(rows))
        .map(|image| {
            let (top, bottom) = (first.max(image * rows), end.min((image + 1) * rows));
            (image, top - image * rows, bottom - top)
        })
        .collect()
}

/// Rows of a convolution's input and output.
struct Rows {
    window: Window,
    input: usize,
    output: [usize; 2],
}

impl Rows {
    /// `None` where a window could lie in the padding alone, and a part would have no input.
    fn of(window: Window, [height, width]: [usize; 2]) -> Option<Self> {
        let output = window.output([height, width])?;
        let reach = reach(&window);
        let touches = height > 0 && window.pads[0] < reach && window.pads[2] < reach;
        touches.then_some(Self { window, input: height, output })
    }

    /// The window for output rows `first..first + count`, and the first and the number of input rows that it moves
    /// over: rows of padding are its own.
    fn part(&self, first: usize, count: usize) -> (Window, usize, usize) {
        let Window { strides, pads, .. } = self.window;
        // Counted from the first row of the padding.
        let start = first * strides[0];
        let end = start + (count - 1) * strides[0] + reach(&self.window);
        let inside = |row: usize| row.saturating_sub(pads[0]).min(self.input);
        let (top, bottom) = (inside(start), inside(end));
        let above = pads[0].saturating_sub(start);
        let below = end - start - above - (bottom - top);
        let own = [above, pads[1], below, pads[3]];
        (Window { pads: own, ..self.window }, top, bottom - top)
    }
}

/// Rows that a window covers.
fn reach(window: &Window) -> usize {
    (window.kernel[0] - 1) * window.dilations[0] + 1
}

/// Moves cut along their first long axis.
fn split_moves(step: StepOp, parts: &[(usize, usize)], word_bytes: u64) -> Vec<StepOp> {
    let StepOp::Strided { shape, src, src_offset, src_strides, dst, dst_offset, dst_strides } =
        &step
    else {
        return vec![step];
    };
    let axis = shape.iter().position(|extent| *extent > 1).unwrap_or(0);
    let elements: usize = parts.iter().map(|(_, count)| count).sum();
    let whole = shape.iter().product::<usize>() == elements;
    if !whole || shape.is_empty() {
        // A part of the result: a padded image, or one operand of a concatenation.
        return vec![step];
    }
    let part = |(first, count): (usize, usize)| {
        let mut shape = shape.clone();
        shape[axis] = count;
        let moved = |span: Span, offset: usize, strides: &[i64]| {
            let offset = offset as i64 + first as i64 * strides[axis];
            touched(span, offset, &shape, strides, word_bytes)
        };
        let (src, src_offset) = moved(*src, *src_offset, src_strides);
        let (dst, dst_offset) = moved(*dst, *dst_offset, dst_strides);
        let (src_strides, dst_strides) = (src_strides.clone(), dst_strides.clone());
        StepOp::Strided { shape, src, src_offset, src_strides, dst, dst_offset, dst_strides }
    };
    let row = shape[axis + 1..].iter().product();
    row_ranges(parts, row, shape[axis]).map(part).collect()
}

/// The part of a span that a strided view touches, and the view's offset in it.
fn touched(
    span: Span,
    offset: i64,
    shape: &[usize],
    strides: &[i64],
    word_bytes: u64,
) -> (Span, usize) {
    let reach = |negative: bool| -> i64 {
        let steps = shape.iter().zip(strides).filter(|(_, stride)| (**stride < 0) == negative);
        steps.map(|(extent, stride)| (*extent as i64 - 1) * stride).sum()
    };
    let (low, high) = (offset + reach(true), offset + reach(false));
    let at = span.at + low as u64 * word_bytes;
    let len = (high - low + 1) as u64 * word_bytes;
    (Span { at, len, ..span }, (offset - low) as usize)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row of every part reads what the same row of the whole convolution reads.
    #[test]
    fn parts_of_a_convolution_see_the_rows_of_the_whole() {
        let mut parts_seen = 0;
        for (kernel, stride, dilation) in
            [(1, 1, 1), (3, 1, 1), (7, 2, 1), (3, 2, 2), (2, 3, 1), (1, 2, 1)]
        {
            for (above, below) in [(0, 0), (1, 1), (0, 2), (3, 0)] {
                for height in [1, 5, 8, 14] {
                    let window = Window {
                        kernel: [kernel, 1],
                        strides: [stride, 1],
                        dilations: [dilation, 1],
                        pads: [above, 0, below, 0],
                    };
                    let Some(rows) = Rows::of(window, [height, 4]) else { continue };
                    let [oh, ow] = rows.output;
                    for parts in 1..=4 {
                        let mut next = 0;
                        let cuts = even(oh * ow * 8, parts);
                        for (first, count) in row_ranges(&cuts, ow * 8, oh) {
                            assert_eq!(first, next);
                            next += count;
                            parts_seen += 1;
                            let (own, top, part_height) = rows.part(first, count);
                            assert_eq!(own.output([part_height, 4]), Some([count, 4]));
                            for (row, tap) in
                                (0..count).flat_map(|r| (0..kernel).map(move |t| (r, t)))
                            {
                                let part = own.input_at(0, row, tap, part_height).map(|y| y + top);
                                assert_eq!(part, window.input_at(0, first + row, tap, height));
                            }
                        }
                        assert_eq!(next, oh);
                    }
                }
            }
        }
        assert!(parts_seen > 350, "{parts_seen}");
    }

    fn even(elements: usize, parts: usize) -> Vec<(usize, usize)> {
        let size = elements.div_ceil(parts);
        (0..elements).step_by(size).map(|first| (first, size.min(elements - first))).collect()
    }

    #[test]
    fn a_range_of_rows_is_cut_at_the_ends_of_images() {
        assert_eq!(by_image((0, 4), 8), [(0, 0, 4)]);
        assert_eq!(by_image((4, 14), 8), [(0, 4, 4), (1, 0, 8), (2, 0, 2)]);
        assert_eq!(by_image((8, 8), 8), [(1, 0, 8)]);
    }

    #[test]
    fn parts_of_a_move_touch_their_own_rows() {
        let span = |at, len| Span { region: mpcc_ir::plan::Region::Run, at, len };
        // Every second column of 100 x 200, backwards, in words of 4 bytes.
        let step = StepOp::Strided {
            shape: vec![1, 100, 100, 2],
            src: span(0, 160_000),
            src_offset: 398,
            src_strides: vec![40_000, 400, -4, 1],
            dst: span(160_000, 80_000),
            dst_offset: 0,
            dst_strides: vec![20_000, 200, 2, 1],
        };
        let parts = split(step, &even(20_000, 3), 4);
        let spans = |step: &StepOp| {
            let StepOp::Strided { shape, src, src_offset, dst, dst_offset, .. } = step else {
                panic!("{step:?}")
            };
            (shape[1], (src.at, src.len, *src_offset), (dst.at, dst.len, *dst_offset))
        };
        let found: Vec<_> = parts.iter().map(spans).collect();
        let row = |first: u64, count: u64| {
            let src = (first * 1600 + 8, count * 1600 - 8, 396);
            (count as usize, src, (160_000 + first * 800, count * 800, 0))
        };
        assert_eq!(found, [row(0, 34), row(34, 33), row(67, 33)]);
    }
}
