//! Joins chains of factors and terms: at most one product and one sum by a parameter are left of each.
//!
//! `scale`, `offset`, `mul`, `add` and `sub` by parameters merge with each other where nothing reads the
//! value between; a product moves in front of a sum, where the layer before can take it. Each merge of
//! products saves an opening. Numbers move by roundings to single precision.

use super::edit::{is_secret, map, replace, to_fixpoint};
use super::fold_params;
use mpcc_ir::Id;
use mpcc_ir::nn::{Graph, Op};

/// A product or sum with something that does not depend on an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Affine {
    /// Times a number.
    Scale(f64),
    /// Plus a number.
    Offset(f64),
    /// Times a parameter.
    Times(Id),
    /// Plus a parameter.
    Plus(Id),
    /// Minus a parameter.
    Minus(Id),
}

/// Reads node `id` as `change(x)` with a secret `x`.
pub(super) fn affine(graph: &Graph, id: Id) -> Option<(Id, Affine)> {
    let node = &graph.program[id];
    if let Op::Scale { by } = node.op {
        return is_secret(graph, node.args[0]).then_some((node.args[0], Affine::Scale(by)));
    }
    if let Op::Offset { by } = node.op {
        return is_secret(graph, node.args[0]).then_some((node.args[0], Affine::Offset(by)));
    }
    let &[a, b] = &node.args[..] else { return None };
    let (x, p) = match (is_secret(graph, a), is_secret(graph, b)) {
        (true, false) => (a, b),
        (false, true) if !matches!(node.op, Op::Sub) => (b, a),
        _ => return None,
    };
    if matches!(node.op, Op::Mul) {
        Some((x, Affine::Times(p)))
    } else if matches!(node.op, Op::Add) {
        Some((x, Affine::Plus(p)))
    } else if matches!(node.op, Op::Sub) {
        Some((x, Affine::Minus(p)))
    } else {
        None
    }
}

pub(super) fn run(graph: &mut Graph) {
    to_fixpoint(graph, step);
    fold_params::run(graph);
}

fn step(graph: &mut Graph, id: Id) -> bool {
    let Some((middle, outer)) = affine(graph, id) else { return false };
    let Some((x, inner)) = affine(graph, middle) else { return false };
    let uses = graph.program.use_counts();
    if uses[middle.index()] > 1 || uses[id.index()] == 0 {
        return false;
    }
    let Some((first, second)) = join(graph, id, inner, outer) else { return false };
    match second {
        None => write(graph, id, x, first),
        Some(second) => {
            // The value between gets its new meaning in place: nothing else reads it.
            write(graph, middle, x, first);
            write(graph, id, middle, second);
        }
    }
    true
}

/// `outer(inner(x))` as one change, or as a product and then a sum; `None` if it is so already.
fn join(
    graph: &mut Graph,
    at: Id,
    inner: Affine,
    outer: Affine,
) -> Option<(Affine, Option<Affine>)> {
    use Affine::{Minus, Offset, Plus, Scale, Times};
    let scaled = |graph: &mut Graph, p, by| map(graph, at, Op::Scale { by }, &[p]);
    let shifted = |graph: &mut Graph, p, by| map(graph, at, Op::Offset { by }, &[p]);
    let pair = |graph: &mut Graph, op, p, q| map(graph, at, op, &[p, q]);
    let one = |change| Some((change, None));
    match (inner, outer) {
        (Scale(a), Scale(b)) => one(Scale(a * b)),
        (Offset(a), Offset(b)) => one(Offset(a + b)),
        (Scale(s), Times(p)) | (Times(p), Scale(s)) => one(Times(scaled(graph, p, s))),
        (Times(p), Times(q)) => one(Times(pair(graph, Op::Mul, p, q))),
        (Offset(c), Plus(p)) | (Plus(p), Offset(c)) => one(Plus(shifted(graph, p, c))),
        (Offset(c), Minus(p)) | (Minus(p), Offset(c)) => one(Minus(shifted(graph, p, -c))),
        (Plus(p), Plus(q)) => one(Plus(pair(graph, Op::Add, p, q))),
        (Minus(p), Minus(q)) => one(Minus(pair(graph, Op::Add, p, q))),
        (Plus(p), Minus(q)) | (Minus(q), Plus(p)) => one(Plus(pair(graph, Op::Sub, p, q))),
        (Offset(c), Scale(s)) => Some((outer, Some(Offset(c * s)))),
        (Plus(p), Scale(s)) => Some((outer, Some(Plus(scaled(graph, p, s))))),
        (Minus(p), Scale(s)) => Some((outer, Some(Minus(scaled(graph, p, s))))),
        (Offset(c), Times(q)) => Some((outer, Some(Plus(scaled(graph, q, c))))),
        (Plus(p), Times(q)) => Some((outer, Some(Plus(pair(graph, Op::Mul, p, q))))),
        (Minus(p), Times(q)) => Some((outer, Some(Minus(pair(graph, Op::Mul, p, q))))),
        (Scale(_) | Times(_), Offset(_) | Plus(_) | Minus(_)) => None,
    }
}

/// Makes `id` compute `change(x)`.
fn write(graph: &mut Graph, id: Id, x: Id, change: Affine) {
    match change {
        Affine::Scale(by) => replace(graph, id, Op::Scale { by }, &[x]),
        Affine::Offset(by) => replace(graph, id, Op::Offset { by }, &[x]),
        Affine::Times(p) => replace(graph, id, Op::Mul, &[x, p]),
        Affine::Plus(p) => replace(graph, id, Op::Add, &[x, p]),
        Affine::Minus(p) => replace(graph, id, Op::Sub, &[x, p]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use insta::assert_snapshot;

    #[test]
    fn a_normalisation_is_one_product_and_one_sum() {
        let src = "nn {
          %0 = input port port0 : secret[1x2x3x3]
          %1 = param id w0 : weight[1x2x1x1]
          %2 = expand %1 : weight[1x2x3x3]
          %3 = sub %0, %2 : secret[1x2x3x3]
          %4 = mul %3, %2 : secret[1x2x3x3]
          %5 = scale %4 by 0.5 : secret[1x2x3x3]
          %6 = add %5, %2 : secret[1x2x3x3]
          %7 = offset %6 by 3 : secret[1x2x3x3]
          return %7
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x2x3x3]
          %1 = param id w0 : weight[1x2x1x1]
          %2 = expand %1 : weight[1x2x3x3]
          %3 = mul %0, %2 : secret[1x2x3x3]
          %4 = param id w1 : weight[1x2x1x1]
          %5 = expand %4 : weight[1x2x3x3]
          %6 = add %3, %5 : secret[1x2x3x3]
          return %6
        }
        ");
    }

    #[test]
    fn numbers_merge() {
        let src = "nn {
          %0 = input port port0 : secret[2]
          %1 = offset %0 by 1 : secret[2]
          %2 = scale %1 by 3 : secret[2]
          %3 = offset %2 by 0.5 : secret[2]
          %4 = scale %3 by 2 : secret[2]
          return %4
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[2]
          %1 = scale %0 by 6 : secret[2]
          %2 = offset %1 by 7 : secret[2]
          return %2
        }
        ");
    }

    #[test]
    fn a_value_that_others_read_stays() {
        let src = "nn {
          %0 = input port port0 : secret[2]
          %1 = scale %0 by 3 : secret[2]
          %2 = scale %1 by 2 : secret[2]
          %3 = add %1, %2 : secret[2]
          return %3
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[2]
          %1 = scale %0 by 3 : secret[2]
          %2 = scale %1 by 2 : secret[2]
          %3 = add %1, %2 : secret[2]
          return %3
        }
        ");
    }
}
