//! Drops local operations that undo each other or do nothing, and openings that nothing had to hide.
//!
//! - `narrow` to the ring that the operand has, `narrow(narrow(x))`, and narrowing of a rescaled value
//!   with no other reader, which is opened narrower instead: it saves the bits that are cut.
//! - a factor of one, a term of zero, and moves to the shape that is there already;
//! - `rescale(to_shares(x))` that drops no bit is `narrow(x)`: it saves an opening.
//!
//! Exact.

use super::{redirect, remove_dead};
use mpcc_ir::Id;
use mpcc_ir::masked::{MaskedProgram, Op};

pub(super) fn run(program: &mut MaskedProgram) {
    for id in program.ids() {
        shorten(program, id);
    }
    // Only now is it known which openings have one reader.
    remove_dead(program);
    for id in program.ids() {
        open_narrow(program, id);
    }
    let mut to = vec![None; program.nodes.len()];
    for id in program.ids() {
        let node = &program[id];
        let Some(&x) = node.args.first() else { continue };
        let moves = matches!(
            node.op,
            Op::Narrow | Op::Reshape | Op::Expand | Op::Slice { .. } | Op::Concat { .. }
        );
        let nothing = moves && node.args.len() == 1 && !reverses(&node.op)
            || matches!(node.op, Op::Scale { by: 1 } | Op::Offset { by: 0 });
        if nothing && program[x].ty == node.ty {
            to[id.index()] = Some(x);
        }
    }
    redirect(program, &to);
}

/// A slice of the operand's own shape that goes backwards along an axis.
fn reverses(op: &Op) -> bool {
    matches!(op, Op::Slice { steps, .. } if steps.iter().any(|s| *s < 0))
}

/// Skips what the operand's operation did, where it does not matter here.
fn shorten(program: &mut MaskedProgram, id: Id) {
    let Some(&x) = program[id].args.first() else { return };
    let Some(&inner) = program[x].args.first() else { return };
    match (&program[id].op, &program[x].op) {
        (Op::Narrow, Op::Narrow) => program[id].args[0] = inner,
        (Op::Rescale { by: 0, .. }, Op::ToShares) => {
            program[id].op = Op::Narrow;
            program[id].args[0] = inner;
        }
        _ => {}
    }
}

/// Opens a value in the ring that its only reader cuts it to.
fn open_narrow(program: &mut MaskedProgram, id: Id) {
    let (Op::Narrow, &[x]) = (&program[id].op, &program[id].args[..]) else { return };
    if matches!(program[x].op, Op::Rescale { .. }) && program.use_counts()[x.index()] == 1 {
        program[x].ty.ring = program[id].ty.ring;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use super::run;
    use insta::assert_snapshot;

    #[test]
    fn narrowing_is_opened_narrow() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = mul %0, %0 : shares<32q16>[4]
          %2 = rescale %1 by 8 mask m1 : masked<24q8>[4]
          %3 = narrow %2 : masked<20q8>[4]
          %4 = narrow %3 : masked<16q8>[4]
          %5 = reveal %4 port port0 : masked<16q8>[4]
          return %5
        }";
        assert_snapshot!(after(run, src), @r"
        program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = mul %0, %0 : shares<32q16>[4]
          %2 = rescale %1 by 8 mask m1 : masked<16q8>[4]
          %3 = reveal %2 port port0 : masked<16q8>[4]
          return %3
        }  ; 1 round, 8 B each way
        ");
    }

    #[test]
    fn shares_that_are_masked_again_are_not_opened() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = to_shares %0 : shares<32q8>[4]
          %2 = rescale %1 by 0 mask m1 : masked<20q8>[4]
          %3 = scale %2 by 1 : masked<20q8>[4]
          %4 = reshape %3 : masked<20q8>[4]
          %5 = reveal %4 port port0 : masked<20q8>[4]
          return %5
        }";
        assert_snapshot!(after(run, src), @r"
        program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = narrow %0 : masked<20q8>[4]
          %2 = reveal %1 port port0 : masked<20q8>[4]
          return %2
        }  ; 0 rounds, 0 B each way
        ");
    }

    #[test]
    fn what_changes_a_value_stays() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = scale %0 by 1 : masked<32q9>[4]
          %2 = slice %1 starts [3] steps [-1] : masked<32q9>[4]
          %3 = to_shares %2 : shares<32q9>[4]
          %4 = rescale %3 by 1 mask m1 : masked<20q8>[4]
          %5 = narrow %4 : masked<16q8>[4]
          %6 = reveal %5 port port0 : masked<16q8>[4]
          %7 = reveal %4 port port1 : masked<20q8>[4]
          return %6, %7
        }";
        assert_eq!(after(run, src), after(|_| (), src));
    }
}
