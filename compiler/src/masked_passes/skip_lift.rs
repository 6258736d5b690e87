//! Reads the operand of a lift directly where a reader cuts the lifted value down again.
//!
//! `narrow(lift(u))` to no more bits than `u` has, `relu(lift(u))` and `lift(lift(u))` need no lift. If it
//! was the lift's only reader, an opening in the wide ring is saved. Exact: a lift does not change
//! the value.

use super::remove_dead;
use mpcc_ir::masked::{MaskedProgram, Op};

pub(super) fn run(program: &mut MaskedProgram) {
    for id in program.ids() {
        let node = &program[id];
        let readers = matches!(node.op, Op::Narrow | Op::Relu { .. } | Op::Lift { .. });
        let Some(&x) = node.args.first().filter(|_| readers) else { continue };
        if !matches!(program[x].op, Op::Lift { .. }) {
            continue;
        }
        let u = program[x].args[0];
        if !matches!(node.op, Op::Narrow) || node.ty.ring <= program[u].ty.ring {
            program[id].args[0] = u;
        }
    }
    remove_dead(program);
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use super::run;
    use insta::assert_snapshot;

    #[test]
    fn a_lift_that_is_cut_down_is_gone() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<16q4>[4]
          %1 = lift %0 mask m1 : masked<32q4>[4]
          %2 = narrow %1 : masked<15q4>[4]
          %3 = relu %2 mask m2 : masked<20q4>[4]
          %4 = reveal %3 port port0 : masked<20q4>[4]
          return %4
        }";
        assert_snapshot!(after(run, src), @r"
        program {
          %0 = input port port0 mask m0 : masked<16q4>[4]
          %1 = narrow %0 : masked<15q4>[4]
          %2 = relu %1 mask m2 : masked<20q4>[4]
          %3 = reveal %2 port port0 : masked<20q4>[4]
          return %3
        }  ; 3 rounds, 14 B each way
        ");
    }

    #[test]
    fn a_lift_that_a_product_reads_stays() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<16q4>[4]
          %1 = lift %0 mask m1 : masked<32q4>[4]
          %2 = mul %1, %1 : shares<32q8>[4]
          %3 = rescale %2 by 4 mask m2 : masked<20q4>[4]
          %4 = reveal %3 port port0 : masked<20q4>[4]
          return %4
        }";
        assert_eq!(after(run, src), after(|_| (), src));
    }
}
