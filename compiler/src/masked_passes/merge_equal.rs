//! Computes equal values once: the same operation on the same operands, whatever the mask's number.
//!
//! Two openings of one value become one, and a weight that is read twice is masked once. Nothing moves.

use super::redirect;
use mpcc_ir::masked::{MaskedProgram, Op};
use mpcc_ir::{Id, MaskId};
use std::collections::BTreeMap;

pub(super) fn run(program: &mut MaskedProgram) {
    let mut seen: BTreeMap<String, Id> = BTreeMap::new();
    let mut to: Vec<Option<Id>> = vec![None; program.nodes.len()];
    for id in program.ids() {
        let node = &program[id];
        let args: Vec<Id> = node.args.iter().map(|a| to[a.index()].unwrap_or(*a)).collect();
        if matches!(node.op, Op::Input { .. } | Op::Reveal { .. }) {
            continue;
        }
        // The text of an operation says everything about it.
        let key = format!("{:?} {args:?} {}", unmasked(&node.op), node.ty);
        match seen.get(&key) {
            Some(&first) => to[id.index()] = Some(first),
            None => {
                seen.insert(key, id);
            }
        }
    }
    redirect(program, &to);
}

/// The operation with mask 0.
fn unmasked(op: &Op) -> Op {
    let mut op = op.clone();
    if let Op::Rescale { mask, .. } | Op::Lift { mask } | Op::Relu { mask } = &mut op {
        *mask = MaskId(0);
    } else if let Op::Weight { mask: Some(mask), .. } = &mut op {
        *mask = MaskId(0);
    }
    op
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use super::run;
    use insta::assert_snapshot;

    #[test]
    fn one_value_is_opened_once() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = to_shares %0 : shares<32q8>[4]
          %2 = rescale %1 by 4 mask m1 : masked<20q4>[4]
          %3 = to_shares %0 : shares<32q8>[4]
          %4 = rescale %3 by 4 mask m2 : masked<20q4>[4]
          %5 = add %2, %4 : masked<20q4>[4]
          %6 = reveal %5 port port0 : masked<20q4>[4]
          return %6
        }";
        assert_snapshot!(after(run, src), @r"
        program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = to_shares %0 : shares<32q8>[4]
          %2 = rescale %1 by 4 mask m1 : masked<20q4>[4]
          %3 = add %2, %2 : masked<20q4>[4]
          %4 = reveal %3 port port0 : masked<20q4>[4]
          return %4
        }  ; 1 round, 10 B each way
        ");
    }

    #[test]
    fn other_formats_are_other_values() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = to_shares %0 : shares<32q8>[4]
          %2 = rescale %1 by 4 mask m1 : masked<20q4>[4]
          %3 = rescale %1 by 4 mask m2 : masked<21q4>[4]
          %4 = narrow %3 : masked<20q4>[4]
          %5 = add %2, %4 : masked<20q4>[4]
          %6 = reveal %5 port port0 : masked<20q4>[4]
          return %6
        }";
        assert_eq!(after(run, src), after(|_| (), src));
    }
}
