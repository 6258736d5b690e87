//! Computes equal things once.
//!
//! Two nodes with the same operation, operands and shape become one, and so do two reads of one
//! parameter and two public parameters with the same entries (the ones and divisors of average pools).
//! Private parameters are never compared. Saves whatever the second node cost. No number moves.

use super::edit::{param_at, tidy};
use mpcc_ir::nn::{Graph, Op};
use mpcc_ir::text::OpText;
use mpcc_ir::{Id, Shape};
use std::collections::BTreeMap;

/// What two equal nodes have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// Mnemonic and fields.
    op: String,
    args: Vec<Id>,
    shape: Shape,
    /// The entries of a public parameter, as bits.
    entries: Vec<u32>,
}

pub(super) fn run(graph: &mut Graph) {
    let mut seen: BTreeMap<Key, Id> = BTreeMap::new();
    let mut first: Vec<Id> = graph.program.ids().collect();
    for id in graph.program.ids() {
        for arg in &mut graph.program[id].args {
            *arg = first[arg.index()];
        }
        first[id.index()] = *seen.entry(key(graph, id)).or_insert(id);
    }
    for output in &mut graph.program.outputs {
        *output = first[output.index()];
    }
    tidy(graph);
}

fn key(graph: &Graph, id: Id) -> Key {
    let node = &graph.program[id];
    let mut key = Key {
        op: node.op.mnemonic().to_owned(),
        args: node.args.clone(),
        shape: node.ty.shape.clone(),
        entries: Vec::new(),
    };
    match param_at(graph, id).filter(|param| param.public) {
        Some(param) => {
            key.op = String::from("public");
            key.entries = param.data.iter().map(|x| x.to_bits()).collect();
        }
        None => node.op.print_fields(&mut key.op),
    }
    // Operands of a sum or product in either order are the same.
    if matches!(node.op, Op::Add | Op::Mul | Op::Max | Op::Min) {
        key.args.sort_unstable();
    }
    key
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, after_with, graph};
    use insta::assert_snapshot;

    #[test]
    fn equal_nodes_are_one() {
        let mut graph = graph(
            "nn {
              %0 = input port port0 : secret[2]
              %1 = param id w0 : public[2]
              %2 = param id w1 : public[2]
              %3 = mul %0, %1 : secret[2]
              %4 = mul %2, %0 : secret[2]
              %5 = relu %3 : secret[2]
              %6 = relu %4 : secret[2]
              %7 = sub %5, %6 : secret[2]
              return %7, %6
            }",
        );
        graph.params[1].data = graph.params[0].data.clone();
        assert_snapshot!(after_with(super::run, graph), @"
        nn {
          %0 = input port port0 : secret[2]
          %1 = param id w0 : public[2]
          %2 = mul %0, %1 : secret[2]
          %3 = relu %2 : secret[2]
          %4 = sub %3, %3 : secret[2]
          return %4, %3
        }
        ");
    }

    #[test]
    fn private_parameters_and_other_fields_stay() {
        let src = "nn {
          %0 = input port port0 : secret[2]
          %1 = param id w0 : weight[2]
          %2 = param id w1 : weight[2]
          %3 = sub %1, %2 : weight[2]
          %4 = mul %0, %3 : secret[2]
          %5 = scale %4 by 2 : secret[2]
          %6 = scale %4 by 3 : secret[2]
          return %5, %6
        }";
        let mut graph = graph(src);
        graph.params[1].data = graph.params[0].data.clone();
        assert_snapshot!(after_with(super::run, graph), @"
        nn {
          %0 = input port port0 : secret[2]
          %1 = param id w0 : weight[2]
          %2 = param id w1 : weight[2]
          %3 = sub %1, %2 : weight[2]
          %4 = mul %0, %3 : secret[2]
          %5 = scale %4 by 2 : secret[2]
          %6 = scale %4 by 3 : secret[2]
          return %5, %6
        }
        ");
        assert_eq!(after(super::run, src).lines().count(), src.lines().count());
    }
}
