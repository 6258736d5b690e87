//! Multiplies chains of public factors together.
//!
//! `scale(scale(x))` is one factor and `offset(offset(x))` one term. Local work is saved, nothing is sent;
//! exact, because factors multiply in the ring. A chain whose middle has other readers stays.

use super::remove_dead;
use mpcc_ir::masked::{MaskedProgram, Op};

pub(super) fn run(program: &mut MaskedProgram) {
    for id in program.ids() {
        let uses = program.use_counts();
        let Some(&x) = program[id].args.first().filter(|x| uses[x.index()] == 1) else { continue };
        let merged = match (&program[id].op, &program[x].op) {
            (Op::Scale { by: a }, Op::Scale { by: b }) => {
                a.checked_mul(*b).map(|by| Op::Scale { by })
            }
            (Op::Offset { by: a }, Op::Offset { by: b }) => {
                a.checked_add(*b).map(|by| Op::Offset { by })
            }
            _ => None,
        };
        if let Some(op) = merged {
            let inner = program[x].args[0];
            program[id].op = op;
            program[id].args[0] = inner;
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
    fn factors_multiply() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = scale %0 by 1 : masked<32q9>[4]
          %2 = scale %1 by -4 : masked<32q11>[4]
          %3 = offset %2 by 3 : masked<32q11>[4]
          %4 = offset %3 by 5 : masked<32q11>[4]
          %5 = reveal %4 port port0 : masked<32q11>[4]
          return %5
        }";
        assert_snapshot!(after(run, src), @r"
        program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = scale %0 by -4 : masked<32q11>[4]
          %2 = offset %1 by 8 : masked<32q11>[4]
          %3 = reveal %2 port port0 : masked<32q11>[4]
          return %3
        }  ; 0 rounds, 0 B each way
        ");
    }

    #[test]
    fn a_factor_with_two_readers_stays() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[4]
          %1 = scale %0 by 2 : masked<32q9>[4]
          %2 = scale %1 by 2 : masked<32q10>[4]
          %3 = reveal %2 port port0 : masked<32q10>[4]
          %4 = reveal %1 port port1 : masked<32q9>[4]
          return %3, %4
        }";
        assert_eq!(after(run, src), after(|_| (), src));
    }
}
