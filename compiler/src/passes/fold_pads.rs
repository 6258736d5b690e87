//! Lets a convolution or pooling window do its own padding.
//!
//! A `pad` of height and width by the value that the window ignores anyway (zero for `conv` and for an
//! `avg_pool` that counts padding, minus infinity for `max_pool`) becomes part of the window. Saves a
//! copy of the image and keeps infinities out of the program. No number moves.

use super::edit::{replace, tidy};
use mpcc_ir::Window;
use mpcc_ir::nn::{Graph, Op};

pub(super) fn run(graph: &mut Graph) {
    for id in graph.program.ids() {
        let Some(&padded) = graph.program[id].args.first() else { continue };
        let Some(op) = with_pads(&graph.program[id].op, &graph.program[padded].op) else {
            continue;
        };
        let mut args = graph.program[id].args.clone();
        args[0] = graph.program[padded].args[0];
        replace(graph, id, op, &args);
    }
    tidy(graph);
}

/// `op` with the padding of `pad` in its window.
fn with_pads(op: &Op, pad: &Op) -> Option<Op> {
    let Op::Pad { before, after, interior, value } = pad else { return None };
    let &[0, 0, top, left] = &before[..] else { return None };
    let &[0, 0, bottom, right] = &after[..] else { return None };
    if interior.iter().any(|gap| *gap != 0) {
        return None;
    }
    let widen = |window: &Window| {
        let [t, l, b, r] = window.pads;
        Window { pads: [t + top, l + left, b + bottom, r + right], ..*window }
    };
    if let (Op::Conv { window, groups }, 0.0) = (op, *value) {
        return Some(Op::Conv { window: widen(window), groups: *groups });
    }
    if let (Op::AvgPool { window, count_pad }, 0.0) = (op, *value)
        && (*count_pad || window.pads == [0; 4])
    {
        return Some(Op::AvgPool { window: widen(window), count_pad: true });
    }
    if let (Op::MaxPool { window }, f64::NEG_INFINITY) = (op, *value) {
        return Some(Op::MaxPool { window: widen(window) });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use insta::assert_snapshot;

    #[test]
    fn padding_goes_into_the_window() {
        let src = "nn {
          %0 = input port port0 : secret[1x1x4x4]
          %1 = pad %0 before [0, 0, 1, 1] after [0, 0, 1, 0] interior [0, 0, 0, 0] value -0 : secret[1x1x6x5]
          %2 = param id w0 : weight[1x1x3x3]
          %3 = conv %1, %2 window 3x3 stride 1x1 dilate 1x1 pad [0, 1, 0, 0] groups 1 : secret[1x1x4x4]
          %4 = pad %3 before [0, 0, 0, 0] after [0, 0, 1, 1] interior [0, 0, 0, 0] value -inf : secret[1x1x5x5]
          %5 = max_pool %4 window 3x3 stride 2x2 dilate 1x1 pad [0, 0, 0, 0] : secret[1x1x2x2]
          return %5
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x1x4x4]
          %1 = param id w0 : weight[1x1x3x3]
          %2 = conv %0, %1 window 3x3 stride 1x1 dilate 1x1 pad [1, 2, 1, 0] groups 1 : secret[1x1x4x4]
          %3 = max_pool %2 window 3x3 stride 2x2 dilate 1x1 pad [0, 0, 1, 1] : secret[1x1x2x2]
          return %3
        }
        ");
    }

    #[test]
    fn padding_that_counts_stays() {
        let src = "nn {
          %0 = input port port0 : secret[1x1x4x4]
          %1 = pad %0 before [0, 0, 1, 1] after [0, 0, 0, 0] interior [0, 0, 0, 0] value 0 : secret[1x1x5x5]
          %2 = max_pool %1 window 2x2 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] : secret[1x1x4x4]
          return %2
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x1x4x4]
          %1 = pad %0 before [0, 0, 1, 1] after [0, 0, 0, 0] interior [0, 0, 0, 0] value 0 : secret[1x1x5x5]
          %2 = max_pool %1 window 2x2 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] : secret[1x1x4x4]
          return %2
        }
        ");
    }
}
