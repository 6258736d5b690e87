//! Spells element-wise operations with one public number as operations with an attribute.
//!
//! `mul`, `add`, `sub`, `max`, `min` and `prelu` with a public parameter whose entries are all equal
//! become `scale`, `offset`, `clip` or `leaky_relu`, which later passes fold into weights. A private
//! weight is never read here, even if it is one number: the plan would show it. No number moves.

use super::edit::{map, param_at, replace, tidy};
use mpcc_ir::Id;
use mpcc_ir::nn::{Graph, Op};

pub(super) fn run(graph: &mut Graph) {
    for id in graph.program.ids() {
        let &[a, b] = &graph.program[id].args[..] else { continue };
        if let Some(number) = public_scalar(graph, b) {
            spell(graph, id, a, number);
        } else if let Some(number) = public_scalar(graph, a) {
            spell_mirrored(graph, id, b, number);
        }
    }
    tidy(graph);
}

/// The value of a public tensor whose entries are all equal.
fn public_scalar(graph: &Graph, id: Id) -> Option<f64> {
    let node = &graph.program[id];
    if matches!(node.op, Op::Expand) {
        return public_scalar(graph, node.args[0]);
    }
    let param = param_at(graph, id).filter(|p| p.public)?;
    let (first, rest) = param.data.split_first()?;
    let equal = rest.iter().all(|x| x.to_bits() == first.to_bits());
    (equal && first.is_finite()).then(|| f64::from(*first))
}

/// `id` is `x op number`.
fn spell(graph: &mut Graph, id: Id, x: Id, number: f64) {
    let op = &graph.program[id].op;
    let op = if matches!(op, Op::Add) {
        Op::Offset { by: number }
    } else if matches!(op, Op::Sub) {
        Op::Offset { by: -number }
    } else if matches!(op, Op::Mul) {
        Op::Scale { by: number }
    } else if matches!(op, Op::Max) {
        Op::Clip { lo: number, hi: f64::INFINITY }
    } else if matches!(op, Op::Min) {
        Op::Clip { lo: f64::NEG_INFINITY, hi: number }
    } else if matches!(op, Op::PRelu) {
        Op::LeakyRelu { alpha: number }
    } else {
        return;
    };
    replace(graph, id, op, &[x]);
}

/// `id` is `number op x`.
fn spell_mirrored(graph: &mut Graph, id: Id, x: Id, number: f64) {
    let op = &graph.program[id].op;
    if matches!(op, Op::Sub) {
        let negated = map(graph, id, Op::Scale { by: -1.0 }, &[x]);
        replace(graph, id, Op::Offset { by: number }, &[negated]);
    } else if matches!(op, Op::Add | Op::Mul | Op::Max | Op::Min) {
        spell(graph, id, x, number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, after_with, graph};
    use insta::assert_snapshot;

    #[test]
    fn one_public_number_becomes_an_attribute() {
        let mut graph = graph(
            "nn {
              %0 = input port port0 : secret[2x2]
              %1 = param id w0 : public[1x1]
              %2 = expand %1 : public[2x2]
              %3 = mul %2, %0 : secret[2x2]
              %4 = sub %2, %3 : secret[2x2]
              %5 = max %4, %2 : secret[2x2]
              return %5
            }",
        );
        graph.params[0].data = vec![0.25];
        assert_snapshot!(after_with(super::run, graph), @"
        nn {
          %0 = input port port0 : secret[2x2]
          %1 = scale %0 by 0.25 : secret[2x2]
          %2 = scale %1 by -1 : secret[2x2]
          %3 = offset %2 by 0.25 : secret[2x2]
          %4 = clip %3 lo 0.25 hi inf : secret[2x2]
          return %4
        }
        ");
    }

    #[test]
    fn private_numbers_and_differing_entries_stay() {
        let src = "nn {
          %0 = input port port0 : secret[1x2]
          %1 = param id w0 : weight[1x1]
          %2 = expand %1 : weight[1x2]
          %3 = mul %0, %2 : secret[1x2]
          %4 = param id w1 : public[1x2]
          %5 = add %3, %4 : secret[1x2]
          return %5
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x2]
          %1 = param id w0 : weight[1x1]
          %2 = expand %1 : weight[1x2]
          %3 = mul %0, %2 : secret[1x2]
          %4 = param id w1 : public[1x2]
          %5 = add %3, %4 : secret[1x2]
          return %5
        }
        ");
    }
}
