//! Moves a public factor over operations that commute with it into the next or last layer's weights.
//!
//! Downwards first: the division of an average, or of a hard swish, ends in the layer that reads it, and
//! nothing is multiplied at all. The way may pass only values with one reader. Saves the product by the
//! factor and the opening after it. Numbers move by the rounding of weights to single precision; values on
//! the way are larger or smaller by the factor.

use super::edit::{redirect, tidy};
use super::layer::{Channels, Layer, Side};
use mpcc_ir::Id;
use mpcc_ir::nn::{Graph, Op};

pub(super) fn run(graph: &mut Graph) {
    while graph.program.ids().any(|id| step(graph, id)) {
        tidy(graph);
    }
    tidy(graph);
}

fn step(graph: &mut Graph, id: Id) -> bool {
    let node = &graph.program[id];
    let Op::Scale { by } = node.op else { return false };
    let x = node.args[0];
    let moved = by.is_normal() && (move_down(graph, id, by) || move_up(graph, id, by));
    if moved {
        redirect(graph, id, x);
    }
    moved
}

/// Multiplies the weights of a layer below by the factor of `id`; says whether one was in reach.
fn move_down(graph: &mut Graph, id: Id, by: f64) -> bool {
    let uses = graph.program.use_counts();
    let mut at = id;
    let mut passed = Vec::new();
    while uses[at.index()] == 1 {
        let reads = |reader: &Id| graph.program[*reader].args.contains(&at);
        let Some(reader) = graph.program.ids().find(reads) else { return false };
        if let Some(layer) = Layer::at(graph, reader) {
            layer.scale(graph, Side::Inputs, &Channels::uniform(by));
            // The values on the way are now `by` times smaller than they were.
            rescale_terms(graph, &passed, 1.0 / by);
            return true;
        }
        if !commutes(&graph.program[reader].op, by) {
            return false;
        }
        passed.push(reader);
        at = reader;
    }
    false
}

/// Multiplies the weights of a layer above by the factor of `id`; says whether one was in reach.
fn move_up(graph: &mut Graph, id: Id, by: f64) -> bool {
    let uses = graph.program.use_counts();
    let mut at = graph.program[id].args[0];
    let mut passed = Vec::new();
    while uses[at.index()] == 1 {
        if let Some(layer) = Layer::at(graph, at) {
            layer.scale(graph, Side::Outputs, &Channels::uniform(by));
            rescale_terms(graph, &passed, by);
            return true;
        }
        if !commutes(&graph.program[at].op, by) {
            return false;
        }
        passed.push(at);
        at = graph.program[at].args[0];
    }
    false
}

/// Whether `op(by x) = by op'(x)`, where `op'` is `op` with its terms divided by `by`.
fn commutes(op: &Op, by: f64) -> bool {
    if let Op::Pad { value, .. } = op {
        return value.is_finite();
    }
    let linear = matches!(
        op,
        Op::MatMul
            | Op::Mul
            | Op::Scale { .. }
            | Op::Offset { .. }
            | Op::ReduceSum { .. }
            | Op::Reshape
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Expand
            | Op::Gather { .. }
    );
    let monotone = matches!(op, Op::Relu | Op::MaxPool { .. } | Op::ReduceMax { .. });
    linear || monotone && by > 0.0
}

/// Multiplies the terms that the nodes on the way add.
fn rescale_terms(graph: &mut Graph, passed: &[Id], factor: f64) {
    for id in passed {
        if let Op::Offset { by: term } | Op::Pad { value: term, .. } = &mut graph.program[*id].op {
            *term *= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use insta::assert_snapshot;

    #[test]
    fn the_division_of_a_mean_goes_into_the_classifier() {
        let src = "nn {
          %0 = input port port0 : secret[1x3x4x4]
          %1 = reduce_sum %0 axes [2, 3] : secret[1x3x1x1]
          %2 = scale %1 by 0.0625 : secret[1x3x1x1]
          %3 = reshape %2 : secret[1x3]
          %4 = param id w0 : weight[3x5]
          %5 = matmul %3, %4 : secret[1x5]
          return %5
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x3x4x4]
          %1 = reduce_sum %0 axes [2, 3] : secret[1x3x1x1]
          %2 = reshape %1 : secret[1x3]
          %3 = param id w0 : weight[3x5]
          %4 = matmul %2, %3 : secret[1x5]
          return %4
        }
        ");
    }

    #[test]
    fn factors_pass_relus_and_terms() {
        let src = "nn {
          %0 = input port port0 : secret[1x2x3x3]
          %1 = param id w0 : weight[2x2x1x1]
          %2 = conv %0, %1 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x2x3x3]
          %3 = offset %2 by 1 : secret[1x2x3x3]
          %4 = relu %3 : secret[1x2x3x3]
          %5 = scale %4 by 0.5 : secret[1x2x3x3]
          return %5
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x2x3x3]
          %1 = param id w0 : weight[2x2x1x1]
          %2 = conv %0, %1 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x2x3x3]
          %3 = offset %2 by 0.5 : secret[1x2x3x3]
          %4 = relu %3 : secret[1x2x3x3]
          return %4
        }
        ");
    }

    #[test]
    fn a_sign_does_not_pass_a_relu() {
        let src = "nn {
          %0 = input port port0 : secret[1x3]
          %1 = scale %0 by -2 : secret[1x3]
          %2 = relu %1 : secret[1x3]
          %3 = param id w0 : weight[3x1]
          %4 = matmul %2, %3 : secret[1x1]
          return %4
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x3]
          %1 = scale %0 by -2 : secret[1x3]
          %2 = relu %1 : secret[1x3]
          %3 = param id w0 : weight[3x1]
          %4 = matmul %2, %3 : secret[1x1]
          return %4
        }
        ");
    }
}
