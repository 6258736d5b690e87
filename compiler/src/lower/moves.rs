//! Operations that only move elements: they act on whatever form a value is held in.
//!
//! A move that repeats elements opens first, one that drops some opens later.

use super::Lowering;
use super::error::FormatError;
use super::weights::quantise;
use mpcc_ir::Id;
use mpcc_ir::masked::{Kind, Op, Ty};
use mpcc_ir::nn;

/// The masked operation that moves as `op` does, with zeros for padding; `None` if `op` is not a move.
pub(super) fn masked_move(op: &nn::Op) -> Option<Op> {
    if let nn::Op::Reshape = op {
        Some(Op::Reshape)
    } else if let nn::Op::Transpose { perm } = op {
        Some(Op::Transpose { perm: perm.clone() })
    } else if let nn::Op::Slice { starts, steps } = op {
        Some(Op::Slice { starts: starts.clone(), steps: steps.clone() })
    } else if let nn::Op::Pad { before, after, interior, .. } = op {
        let (before, after) = (before.clone(), after.clone());
        Some(Op::Pad { before, after, interior: interior.clone(), value: 0 })
    } else if let nn::Op::Expand = op {
        Some(Op::Expand)
    } else if let nn::Op::Concat { axis } = op {
        Some(Op::Concat { axis: *axis })
    } else if let nn::Op::Gather { axis, indices } = op {
        Some(Op::Gather { axis: *axis, indices: indices.clone() })
    } else {
        None
    }
}

impl Lowering<'_> {
    pub(super) fn move_one(&mut self, id: Id) -> Result<(), FormatError> {
        let [x] = self.args(id);
        let node = &self.graph.program[id];
        let grows = node.ty.shape.elements() > self.graph.program[x].ty.shape.elements();
        let Some(mut op) = masked_move(&node.op) else { return Ok(()) };
        let real = if let nn::Op::Pad { value, .. } = node.op { value } else { 0.0 };
        let shape = node.ty.shape.clone();
        let x = match (grows || self.readers[x.index()] > 1, self.facts.wide[id.index()]) {
            (true, true) if grows => self.wide(x)?,
            (true, _) => self.masked(x)?,
            (false, _) => self.held(x)?,
        };
        let ty = Ty { shape, ..self.ty(x).clone() };
        if let Op::Pad { value, .. } = &mut op {
            *value = quantise(real, i32::from(ty.frac), ty.ring);
        }
        let z = self.push(op, &[x], ty);
        self.hold(id, z);
        Ok(())
    }

    pub(super) fn concat(&mut self, id: Id, axis: usize) -> Result<(), FormatError> {
        let args = self.graph.program[id].args.clone();
        if args.iter().any(|a| self.is_weight(*a)) {
            return Err(self.unsupported(id, "a parameter cannot be joined with a secret"));
        }
        let parts = self.parts(id, &args)?;
        let frac = parts.iter().map(|x| self.frac_of(*x)).max().unwrap_or(0);
        let bits = parts.iter().map(|x| self.ty(*x).ring).min().unwrap_or(self.ring);
        let mut aligned = Vec::with_capacity(parts.len());
        for x in parts {
            let x = self.aligned(x, frac);
            let masked = self.ty(x).kind == Kind::Masked;
            aligned.push(if masked { self.narrowed(x, i32::from(bits)) } else { x });
        }
        let shape = self.graph.program[id].ty.shape.clone();
        let ty = Ty { shape, ..self.ty(aligned[0]).clone() };
        let z = self.push(Op::Concat { axis }, &aligned, ty);
        self.hold(id, z);
        Ok(())
    }

    /// Operands in one kind: shares where none is opened anyway, else masked, wide if a reader wants it.
    fn parts(&mut self, id: Id, args: &[Id]) -> Result<Vec<Id>, FormatError> {
        let lazy = |s: &Self, a: &Id| s.widest(*a).is_none() && s.readers[a.index()] == 1;
        if args.iter().all(|a| lazy(self, a)) {
            return args.iter().map(|a| self.held(*a)).collect();
        }
        if self.facts.wide[id.index()] {
            return args.iter().map(|a| self.wide(*a)).collect();
        }
        let mut frac = i32::MIN;
        for a in args {
            let x = self.masked(*a)?;
            frac = frac.max(self.frac_of(x));
        }
        let bits = self.narrow_bits(id, frac);
        args.iter().map(|a| self.masked_in(*a, bits)).collect()
    }
}
