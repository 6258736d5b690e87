//! Turns `rescale(x) + rescale(y)` into `rescale(x + y)`: a sum opens once, not twice.
//!
//! Done for sums and differences where both drop the same bits of equal types and nothing else reads
//! them. The sum fits what is opened, since it did afterwards. Saves one ring element per entry each
//! way; the sum carries one truncation error instead of two.

use super::remove_dead;
use mpcc_ir::Id;
use mpcc_ir::masked::{Kind, MaskedProgram, Op, Ty};

pub(super) fn run(program: &mut MaskedProgram) {
    for id in program.ids() {
        if let Some((a, b)) = joinable(program, id) {
            let (x, y, last) = (program[a].args[0], program[b].args[0], a.max(b));
            let opening = program[last].op.clone();
            let shares = Ty { kind: Kind::Shares, ..program[x].ty.clone() };
            // The later opening's place takes the sum: both operands are defined by then.
            program[last].op = program[id].op.clone();
            program[last].args = vec![x, y];
            program[last].ty = shares;
            program[id].op = opening;
            program[id].args = vec![last];
        }
    }
    remove_dead(program);
}

fn joinable(program: &MaskedProgram, id: Id) -> Option<(Id, Id)> {
    let node = &program[id];
    let (Op::Add | Op::Sub, &[a, b]) = (&node.op, &node.args[..]) else { return None };
    let (Op::Rescale { by, .. }, Op::Rescale { by: by_b, .. }) = (&program[a].op, &program[b].op)
    else {
        return None;
    };
    let (x, y) = (&program[program[a].args[0]].ty, &program[program[b].args[0]].ty);
    let uses = program.use_counts();
    let alone = a != b && uses[a.index()] == 1 && uses[b.index()] == 1;
    (by == by_b && x == y && alone).then_some((a, b))
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use super::run;
    use insta::assert_snapshot;

    #[test]
    fn a_residual_sum_opens_once() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = input port port1 mask m1 : masked<32q8>[4]
          %2 = mul %0, %1 : shares<32q16>[4]
          %3 = rescale %2 by 8 mask m2 : masked<20q8>[4]
          %4 = mul %1, %1 : shares<32q16>[4]
          %5 = rescale %4 by 8 mask m3 : masked<20q8>[4]
          %6 = sub %3, %5 : masked<20q8>[4]
          %7 = reveal %6 port port0 : masked<20q8>[4]
          return %7
        }";
        assert_snapshot!(after(run, src), @r"
        program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = input port port1 mask m1 : masked<32q8>[4]
          %2 = mul %0, %1 : shares<32q16>[4]
          %3 = mul %1, %1 : shares<32q16>[4]
          %4 = sub %2, %3 : shares<32q16>[4]
          %5 = rescale %4 by 8 mask m3 : masked<20q8>[4]
          %6 = reveal %5 port port0 : masked<20q8>[4]
          return %6
        }  ; 1 round, 10 B each way
        ");
    }

    #[test]
    fn an_opening_that_something_else_reads_stays() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = mul %0, %0 : shares<32q16>[4]
          %2 = rescale %1 by 8 mask m1 : masked<20q8>[4]
          %3 = to_shares %0 : shares<32q8>[4]
          %4 = scale %3 by 256 : shares<32q16>[4]
          %5 = rescale %4 by 8 mask m2 : masked<20q8>[4]
          %6 = add %2, %5 : masked<20q8>[4]
          %7 = relu %2 mask m3 : masked<20q8>[4]
          %8 = add %6, %7 : masked<20q8>[4]
          %9 = reveal %8 port port0 : masked<20q8>[4]
          return %9
        }";
        assert_eq!(after(run, src), after(|_| (), src));
    }
}
