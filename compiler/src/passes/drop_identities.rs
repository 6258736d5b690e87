//! Removes operations that change nothing and joins neighbours that undo each other.
//!
//! Reshapes, transposes and expansions of each other become one; a transpose that only moves axes of
//! extent one becomes a reshape; `relu` of `relu` is dropped; a `clip` at zero alone is a `relu`. Saves
//! copies, and an opening per dropped activation. No number moves.

use super::edit::{redirect, replace, to_fixpoint};
use mpcc_ir::nn::{Graph, Op};
use mpcc_ir::{Id, Shape};

pub(super) fn run(graph: &mut Graph) {
    to_fixpoint(graph, step);
}

/// Changes node `id`; says whether it did.
fn step(graph: &mut Graph, id: Id) -> bool {
    let program = &graph.program;
    let node = &program[id];
    let Some(&x) = node.args.first() else { return false };
    // What was dropped in this sweep stays in the program until it ends.
    let is_read =
        program.outputs.contains(&id) || program.nodes.iter().any(|n| n.args.contains(&id));
    if is_read && is_identity(&node.op, &node.args, &program[x].ty.shape, &node.ty.shape) {
        redirect(graph, id, x);
        return true;
    }
    if let Some(op) = simpler(&node.op, &program[x].ty.shape) {
        graph.program[id].op = op;
        return true;
    }
    let Some(&inner) = program[x].args.first() else { return false };
    let Some(op) = joined(&node.op, &program[x].op) else { return false };
    replace(graph, id, op, &[inner]);
    true
}

/// Whether the result is the first operand, element for element.
fn is_identity(op: &Op, args: &[Id], x: &Shape, result: &Shape) -> bool {
    let same = x == result;
    if let Op::Transpose { perm } = op {
        return perm.iter().copied().eq(0..perm.len());
    }
    if let Op::Slice { starts, steps } = op {
        return same && starts.iter().all(|s| *s == 0) && steps.iter().all(|s| *s == 1);
    }
    if let Op::Gather { indices, .. } = op {
        return same && indices.iter().copied().eq(0..indices.len() as u32);
    }
    if let Op::MaxPool { window } | Op::AvgPool { window, .. } = op {
        return same && window.kernel == [1, 1] && window.pads == [0; 4];
    }
    if matches!(op, Op::Scale { by: 1.0 } | Op::Offset { by: 0.0 }) {
        return true;
    }
    if let Op::Clip { lo, hi } = op {
        return *lo == f64::NEG_INFINITY && *hi == f64::INFINITY;
    }
    let keeps_elements = matches!(
        op,
        Op::Reshape
            | Op::Expand
            | Op::Pad { .. }
            | Op::ReduceSum { .. }
            | Op::ReduceMax { .. }
            | Op::ReduceMean { .. }
    );
    same && (keeps_elements || matches!(op, Op::Concat { .. }) && args.len() == 1)
}

/// A cheaper operation for the same operand.
fn simpler(op: &Op, x: &Shape) -> Option<Op> {
    if let Op::Transpose { perm } = op {
        let moved: Vec<&usize> = perm.iter().filter(|&&axis| x[axis] != 1).collect();
        return moved.is_sorted().then_some(Op::Reshape);
    }
    if let Op::Clip { lo: 0.0, hi: f64::INFINITY } = op {
        return Some(Op::Relu);
    }
    None
}

/// `outer(inner(x))` as one operation.
fn joined(outer: &Op, inner: &Op) -> Option<Op> {
    if let (Op::Transpose { perm: p }, Op::Transpose { perm: q }) = (outer, inner) {
        return Some(Op::Transpose { perm: p.iter().map(|&axis| q[axis]).collect() });
    }
    if let (Op::Clip { lo, hi }, Op::Clip { lo: first, hi: most }) = (outer, inner) {
        let bound = |x: &f64| x.max(*lo).min(*hi);
        return Some(Op::Clip { lo: bound(first), hi: bound(most) });
    }
    let same = matches!(
        (outer, inner),
        (Op::Reshape, Op::Reshape) | (Op::Expand, Op::Expand) | (Op::Relu, Op::Relu)
    );
    same.then(|| outer.clone())
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use insta::assert_snapshot;

    #[test]
    fn neighbours_undo_each_other() {
        let src = "nn {
          %0 = input port port0 : secret[2x3x1]
          %1 = transpose %0 perm [1, 0, 2] : secret[3x2x1]
          %2 = transpose %1 perm [1, 0, 2] : secret[2x3x1]
          %3 = transpose %2 perm [0, 2, 1] : secret[2x1x3]
          %4 = reshape %3 : secret[6]
          %5 = reshape %4 : secret[3x2]
          %6 = clip %5 lo 0 hi inf : secret[3x2]
          %7 = relu %6 : secret[3x2]
          return %7
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[2x3x1]
          %1 = reshape %0 : secret[3x2]
          %2 = relu %1 : secret[3x2]
          return %2
        }
        ");
    }

    #[test]
    fn operations_that_change_nothing_go() {
        let src = "nn {
          %0 = input port port0 : secret[1x3]
          %1 = pad %0 before [0, 0] after [0, 0] interior [0, 0] value 0 : secret[1x3]
          %2 = concat %1 axis 1 : secret[1x3]
          %3 = reduce_sum %2 axes [0] : secret[1x3]
          %4 = slice %3 starts [0, 0] steps [1, 1] : secret[1x3]
          %5 = expand %4 : secret[1x3]
          %6 = scale %5 by 1 : secret[1x3]
          return %6
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x3]
          return %0
        }
        ");
    }

    #[test]
    fn two_clips_are_one() {
        let src = "nn {
          %0 = input port port0 : secret[9]
          %1 = clip %0 lo -0.5 hi inf : secret[9]
          %2 = clip %1 lo -1 hi 0.25 : secret[9]
          return %2
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[9]
          %1 = clip %0 lo -0.5 hi 0.25 : secret[9]
          return %1
        }
        ");
    }

    #[test]
    fn operations_that_move_elements_stay() {
        let src = "nn {
          %0 = input port port0 : secret[2x3]
          %1 = transpose %0 perm [1, 0] : secret[3x2]
          %2 = slice %1 starts [2, 0] steps [-1, 1] : secret[3x2]
          %3 = gather %2 axis 0 indices [0, 2, 1] : secret[3x2]
          return %3
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[2x3]
          %1 = transpose %0 perm [1, 0] : secret[3x2]
          %2 = slice %1 starts [2, 0] steps [-1, 1] : secret[3x2]
          %3 = gather %2 axis 0 indices [0, 2, 1] : secret[3x2]
          return %3
        }
        ");
    }
}
