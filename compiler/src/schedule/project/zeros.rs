//! Operations of which a role has operands that are zero: less to do, or nothing.
//!
//! Those are shares that only others have. A public zero is a constant as others are: what pads it or adds a term to it,
//! which shares do not allow, is not zero.

use super::{Projector, Val, Work};
use crate::schedule::groups::is_bulk;
use mpcc_ir::Id;
use mpcc_ir::plan::Phase;
use mpcc_ir::views::Op;

impl Projector<'_> {
    /// An operation on a role's operands; zero operands fold away.
    pub(super) fn operation(&mut self, id: Id, op: &Op, args: Vec<Option<Val>>) -> Option<Val> {
        if let (Op::Mux, &[Some(choice), None, Some(other)]) = (op, &args[..]) {
            let choice = self.map(id, Op::Not, vec![choice]);
            return Some(self.map(id, Op::Mul, vec![choice, other]));
        }
        let args = if matches!(op, Op::Concat { .. }) { self.filled(id, args) } else { args };
        let (op, args) = fold_zeros(op, &args)?;
        if matches!(op, Op::Add | Op::Sub) && args.len() == 1 {
            return Some(args[0]);
        }
        Some(if is_bulk(&op) {
            self.push(id, Work::Bulk(op), args, Phase::Setup)
        } else {
            self.map(id, op, args)
        })
    }

    /// The operands of a concatenation, which keeps all of them unless all are zero: zero ones become constants.
    fn filled(&mut self, id: Id, args: Vec<Option<Val>>) -> Vec<Option<Val>> {
        if args.iter().all(Option::is_none) {
            return args;
        }
        let operands = self.views[id].args.iter().zip(args);
        let filled = operands.map(|(operand, arg)| {
            arg.or_else(|| {
                let ty = &self.views[*operand].ty;
                let zero = self.push(id, Work::Const(0), vec![], Phase::Setup);
                self.out.values[zero].elem = ty.elem;
                self.out.values[zero].shape = ty.shape.clone();
                Some(zero)
            })
        });
        filled.collect()
    }
}

/// Folds operands that are zero at this role; `None` where the result is zero.
///
/// A sum of one operand comes back with that operand alone.
fn fold_zeros(op: &Op, args: &[Option<Val>]) -> Option<(Op, Vec<Val>)> {
    let all: Option<Vec<Val>> = args.iter().copied().collect();
    match (op, args) {
        (_, _) if all.is_some() => all.map(|args| (op.clone(), args)),
        (Op::Add, [Some(a), None] | [None, Some(a)]) | (Op::Sub, [Some(a), None]) => {
            Some((Op::Add, vec![*a]))
        }
        (Op::Sub, [None, Some(b)]) => Some((Op::Neg, vec![*b])),
        (Op::Mux, [Some(c), Some(a), None]) => Some((Op::Mul, vec![*c, *a])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an operation on operands `0`, `1`, ..., or zero where that is `None`.
    fn folded(op: &Op, args: &[Option<Val>]) -> String {
        match fold_zeros(op, args) {
            Some((op, args)) => format!("{op:?} {args:?}"),
            None => "zero".to_owned(),
        }
    }

    #[test]
    fn operations_with_zero_operands_fold() {
        let [x, y, z, o] = [Some(0), Some(1), Some(2), None];
        let table: [(Op, &[Option<Val>], &str); 15] = [
            (Op::Add, &[x, y], "Add [0, 1]"),
            (Op::Add, &[x, o], "Add [0]"),
            (Op::Add, &[o, y], "Add [1]"),
            (Op::Add, &[o, o], "zero"),
            (Op::Sub, &[x, y], "Sub [0, 1]"),
            (Op::Sub, &[x, o], "Add [0]"),
            (Op::Sub, &[o, y], "Neg [1]"),
            (Op::Sub, &[o, o], "zero"),
            (Op::Neg, &[o], "zero"),
            (Op::Mul, &[x, o], "zero"),
            (Op::MatMul, &[o, y], "zero"),
            (Op::Mux, &[x, y, z], "Mux [0, 1, 2]"),
            (Op::Mux, &[x, y, o], "Mul [0, 1]"),
            (Op::Mux, &[o, y, o], "zero"),
            (Op::AddConst { by: 5 }, &[x], "AddConst { by: 5 } [0]"),
        ];
        for (op, args, expected) in table {
            assert_eq!(folded(&op, args), expected, "{op:?} {args:?}");
        }
    }
}
