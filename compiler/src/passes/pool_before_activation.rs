//! Turns `max_pool(relu(x))` into `relu(max_pool(x))`, and likewise for all activations that never fall.
//!
//! Done where nothing else reads the activation and pooling leaves fewer elements. A 2 by 2 pool saves
//! three of four activations, each of which costs an opening; a 3 by 3 pool of stride 2 the same. No
//! number moves: a monotone function commutes with the maximum.

use super::edit::{push, replace, to_fixpoint};
use mpcc_ir::Id;
use mpcc_ir::nn::{Graph, Op};

pub(super) fn run(graph: &mut Graph) {
    to_fixpoint(graph, step);
}

fn step(graph: &mut Graph, id: Id) -> bool {
    let program = &graph.program;
    let pool = &program[id];
    if !matches!(pool.op, Op::MaxPool { .. } | Op::ReduceMax { .. }) {
        return false;
    }
    let active = pool.args[0];
    let activation = &program[active];
    let fewer = pool.ty.shape.elements() < activation.ty.shape.elements();
    if !fewer || !is_monotone(&activation.op) || program.use_counts()[active.index()] > 1 {
        return false;
    }
    let (op, shape) = (pool.op.clone(), pool.ty.shape.clone());
    let (activation, x) = (activation.op.clone(), activation.args[0]);
    let pooled = push(graph, id, op, &[x], shape);
    // The activation keeps its layer's name, the pool its own.
    graph.program[id].origin = graph.program[active].origin;
    replace(graph, id, activation, &[pooled]);
    true
}

/// Whether a greater input never gives a lesser output.
fn is_monotone(op: &Op) -> bool {
    if let Op::LeakyRelu { alpha: slope } | Op::HardSigmoid { alpha: slope, .. } = op {
        return *slope >= 0.0;
    }
    matches!(op, Op::Relu | Op::Clip { .. })
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use insta::assert_snapshot;

    #[test]
    fn a_pool_comes_before_its_relu() {
        let src = "nn {
          name \"relu\"
          name \"pool\"
          %0 = input port port0 : secret[1x1x4x4]
          %1 = relu %0 : secret[1x1x4x4] @0
          %2 = clip %1 lo 0 hi 6 : secret[1x1x4x4] @0
          %3 = max_pool %2 window 2x2 stride 2x2 dilate 1x1 pad [0, 0, 0, 0] : secret[1x1x2x2] @1
          return %3
        }";
        assert_snapshot!(after(super::run, src), @r#"
        nn {
          name "relu"
          name "pool"
          %0 = input port port0 : secret[1x1x4x4]
          %1 = max_pool %0 window 2x2 stride 2x2 dilate 1x1 pad [0, 0, 0, 0] : secret[1x1x2x2] @1
          %2 = relu %1 : secret[1x1x2x2] @0
          %3 = clip %2 lo 0 hi 6 : secret[1x1x2x2] @0
          return %3
        }
        "#);
    }

    #[test]
    fn an_activation_that_others_read_stays() {
        let src = "nn {
          %0 = input port port0 : secret[1x4]
          %1 = relu %0 : secret[1x4]
          %2 = reduce_max %1 axes [1] : secret[1x1]
          return %1, %2
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x4]
          %1 = relu %0 : secret[1x4]
          %2 = reduce_max %1 axes [1] : secret[1x1]
          return %1, %2
        }
        ");
    }

    #[test]
    fn a_slope_that_falls_stays() {
        let src = "nn {
          %0 = input port port0 : secret[1x4]
          %1 = leaky_relu %0 alpha -1 : secret[1x4]
          %2 = reduce_max %1 axes [1] : secret[1x1]
          return %2
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x4]
          %1 = leaky_relu %0 alpha -1 : secret[1x4]
          %2 = reduce_max %1 axes [1] : secret[1x1]
          return %2
        }
        ");
    }
}
