//! Computes at compile time what depends on parameters alone.
//!
//! Every operation whose operands are parameters becomes a parameter. One is kept: an `expand` that
//! secret element-wise operations read, so that a bias per channel is not stored per pixel. Arithmetic
//! on such expanded parameters moves in front of the `expand`. Saves the operation, and the opening of
//! weights that it would need. Values move by one rounding to single precision.

use super::edit::{
    self, Like, is_element_wise, is_secret, map, param_at, push, replace, to_fixpoint,
};
use mpcc_ir::nn::interp::fold_node;
use mpcc_ir::nn::{Graph, Op, Visibility};
use mpcc_ir::{Id, Shape};

pub(super) fn run(graph: &mut Graph) {
    // All arithmetic moves before any `expand` is folded: its readers come later in the program.
    to_fixpoint(graph, move_before_expand);
    to_fixpoint(graph, fold);
}

/// `f(expand(p), expand(q))` becomes `expand(f(p, q))`, where `p` and `q` are expanded to the smallest
/// shape that holds both.
fn move_before_expand(graph: &mut Graph, id: Id) -> bool {
    if is_secret(graph, id) || !is_element_wise(&graph.program[id].op) {
        return false;
    }
    let args = graph.program[id].args.clone();
    let Some(sources) = args.iter().map(|a| expanded(graph, *a)).collect::<Option<Vec<Id>>>()
    else {
        return false;
    };
    let joint = joint_shape(graph, &sources);
    if joint == graph.program[id].ty.shape {
        return false;
    }
    let mut widen = |source: &Id| {
        if graph.program[*source].ty.shape == joint {
            *source
        } else {
            push(graph, id, Op::Expand, &[*source], joint.clone())
        }
    };
    let operands: Vec<Id> = sources.iter().map(&mut widen).collect();
    let op = graph.program[id].op.clone();
    let small = map(graph, id, op, &operands);
    replace(graph, id, Op::Expand, &[small]);
    true
}

/// The greatest extent of each axis; ranks are equal.
fn joint_shape(graph: &Graph, ids: &[Id]) -> Shape {
    let mut joint = graph.program[ids[0]].ty.shape.clone();
    for id in ids {
        for (most, extent) in joint.0.iter_mut().zip(graph.program[*id].ty.shape.iter()) {
            *most = (*most).max(*extent);
        }
    }
    joint
}

/// The operand of an `expand`.
fn expanded(graph: &Graph, id: Id) -> Option<Id> {
    let node = &graph.program[id];
    matches!(node.op, Op::Expand).then(|| node.args[0])
}

fn fold(graph: &mut Graph, id: Id) -> bool {
    let is_small = matches!(graph.program[id].op, Op::Expand) && !is_wanted_in_full(graph, id);
    if is_secret(graph, id) || is_small {
        return false;
    }
    let Some(tensor) = fold_node(graph, id) else { return false };
    let args = graph.program[id].args.clone();
    let public = graph.program[id].ty.visibility == Visibility::Public;
    let name =
        args.iter().find_map(|a| param_at(graph, *a)).map_or(String::new(), |p| p.name.clone());
    let like = Like { shape: tensor.shape, public };
    let folded = edit::param(graph, id, name, tensor.data, &like);
    let op = graph.program[folded].op.clone();
    replace(graph, id, op, &[]);
    true
}

/// Whether a reader of this `expand` cannot do with the small operand.
fn is_wanted_in_full(graph: &Graph, id: Id) -> bool {
    let nodes = &graph.program.nodes;
    nodes.iter().filter(|node| node.args.contains(&id)).any(|node| {
        let secret = node.ty.visibility == Visibility::Secret;
        // Another `expand` is joined with this one by `drop_identities`.
        !(matches!(node.op, Op::Expand) || is_element_wise(&node.op) && secret)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use insta::assert_snapshot;

    #[test]
    fn a_transposed_weight_is_stored_transposed() {
        let src = "nn {
          %0 = input port port0 : secret[1x3]
          %1 = param id w0 : weight[2x3]
          %2 = transpose %1 perm [1, 0] : weight[3x2]
          %3 = scale %2 by 0.5 : weight[3x2]
          %4 = matmul %0, %3 : secret[1x2]
          return %4
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x3]
          %1 = param id w0 : weight[3x2]
          %2 = matmul %0, %1 : secret[1x2]
          return %2
        }
        ");
    }

    #[test]
    fn arithmetic_on_a_bias_stays_small() {
        let src = "nn {
          %0 = input port port0 : secret[1x2x3x3]
          %1 = param id w0 : weight[1x2x1x1]
          %2 = expand %1 : weight[1x2x3x3]
          %3 = param id w1 : weight[1x1x1x3]
          %4 = expand %3 : weight[1x2x3x3]
          %5 = mul %2, %4 : weight[1x2x3x3]
          %6 = offset %5 by 1 : weight[1x2x3x3]
          %7 = add %0, %6 : secret[1x2x3x3]
          return %7
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x2x3x3]
          %1 = param id w0 : weight[1x2x1x3]
          %2 = expand %1 : weight[1x2x3x3]
          %3 = add %0, %2 : secret[1x2x3x3]
          return %3
        }
        ");
    }

    #[test]
    fn an_expanded_weight_of_a_product_is_stored_in_full() {
        let src = "nn {
          %0 = input port port0 : secret[2x3]
          %1 = param id w0 : public[3x1]
          %2 = expand %1 : public[3x4]
          %3 = matmul %0, %2 : secret[2x4]
          return %3
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[2x3]
          %1 = param id w0 : public[3x4]
          %2 = matmul %0, %1 : secret[2x4]
          return %2
        }
        ");
    }

    #[test]
    fn what_depends_on_an_input_stays() {
        let src = "nn {
          %0 = input port port0 : secret[2]
          %1 = scale %0 by 2 : secret[2]
          return %1
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[2]
          %1 = scale %0 by 2 : secret[2]
          return %1
        }
        ");
    }
}
