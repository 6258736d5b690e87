//! Sums, differences, and products and sums with public reals.
//!
//! A sum of two wide masked values stays masked. Where one has only shares the sum is taken in
//! shares, with the fraction of the finer one, and truncated when it is opened. Only a value that is
//! narrow and has no shares (a maximum) is added in a narrow ring.

use super::Lowering;
use super::error::{FormatError, no_room};
use super::facts::Factor;
use mpcc_ir::Id;
use mpcc_ir::masked::{Kind, Op, Ty};

/// Significant bits that a constant factor is given where there is room.
const FACTOR_BITS: i32 = 16;

impl Lowering<'_> {
    pub(super) fn add(&mut self, id: Id, op: &Op) -> Result<(), FormatError> {
        let [a, b] = self.pair(id);
        match (self.is_weight(a), self.is_weight(b)) {
            (false, false) => self.add_secrets(id, op, a, b),
            (false, true) => self.add_weight(id, op, a, b),
            (true, false) => self.add_to_weight(id, op, a, b),
            (true, true) => {
                Err(self.unsupported(id, "sums of parameters are taken by the nn passes"))
            }
        }
    }

    fn add_secrets(&mut self, id: Id, op: &Op, a: Id, b: Id) -> Result<(), FormatError> {
        let (x, y) = if let (Some(x), Some(y)) = (self.existing_wide(a), self.existing_wide(b)) {
            (x, y)
        } else if let (Some(x), Some(y)) = (self.free_shares(a), self.free_shares(b)) {
            (x, y)
        } else {
            return self.add_narrow(id, op, a, b);
        };
        self.add_aligned(id, op, x, y)
    }

    /// In the least ring that holds the result, where one operand is narrow and has no shares.
    fn add_narrow(&mut self, id: Id, op: &Op, a: Id, b: Id) -> Result<(), FormatError> {
        let (x, y) = (self.masked(a)?, self.masked(b)?);
        let bits = self.narrow_bits(id, self.frac_of(x).max(self.frac_of(y)));
        let (x, y) = (self.masked_in(a, bits)?, self.masked_in(b, bits)?);
        let bits = i32::from(self.ty(x).ring.min(self.ty(y).ring));
        let (x, y) = (self.narrowed(x, bits), self.narrowed(y, bits));
        self.add_aligned(id, op, x, y)
    }

    /// Aligns the fractions, then adds; both have one kind and ring.
    fn add_aligned(&mut self, id: Id, op: &Op, x: Id, y: Id) -> Result<(), FormatError> {
        let frac = self.frac_of(x).max(self.frac_of(y));
        self.check_sum(id, frac)?;
        let (x, y) = (self.aligned(x, frac), self.aligned(y, frac));
        let z = self.push(op.clone(), &[x, y], self.ty(x).clone());
        self.hold(id, z);
        Ok(())
    }

    fn check_sum(&self, id: Id, frac: i32) -> Result<(), FormatError> {
        let bits = self.narrow_bits(id, frac);
        if bits > i32::from(self.ring) {
            return Err(no_room(self.graph, id, "range and fraction of the sum", bits, self.ring));
        }
        Ok(())
    }

    fn add_weight(&mut self, id: Id, op: &Op, a: Id, w: Id) -> Result<(), FormatError> {
        let x = self.shares(a)?;
        let Ty { ring, frac, .. } = *self.ty(x);
        let w = self.weight(w, ring, i32::from(frac))?;
        let z = self.push(op.clone(), &[x, w], self.ty(x).clone());
        self.hold(id, z);
        Ok(())
    }

    /// `w + b`, or `w - b = -b + w`.
    fn add_to_weight(&mut self, id: Id, op: &Op, w: Id, b: Id) -> Result<(), FormatError> {
        let mut x = self.shares(b)?;
        let ty = self.ty(x).clone();
        if matches!(op, Op::Sub) {
            x = self.push(Op::Scale { by: -1 }, &[x], ty.clone());
        }
        let w = self.weight(w, ty.ring, i32::from(ty.frac))?;
        let z = self.push(Op::Add, &[x, w], ty);
        self.hold(id, z);
        Ok(())
    }

    /// Shares in the wide ring, lifted where they have to be.
    fn shares(&mut self, id: Id) -> Result<Id, FormatError> {
        if let Some(free) = self.free_shares(id) {
            return Ok(free);
        }
        let wide = self.wide(id)?;
        Ok(self.shares_of(wide))
    }

    pub(super) fn scale(&mut self, id: Id, by: f64) -> Result<(), FormatError> {
        let [x] = self.args(id);
        let z = match Factor::of(by) {
            Factor::PowerOfTwo(e) => {
                let x = self.held(x)?;
                let frac = self.frac_of(x) - e;
                let ty = Ty { frac: frac as i16, ..self.ty(x).clone() };
                self.push(Op::Scale { by: by.signum() as i64 * i64::from(by != 0.0) }, &[x], ty)
            }
            Factor::Integer(least) => {
                let x = self.shares(x)?;
                let room = self.facts.room[id.index()] - self.frac_of(x);
                if least > room {
                    let wanted = i32::from(self.ring) + least - room;
                    return Err(no_room(
                        self.graph,
                        id,
                        "range, fraction and factor",
                        wanted,
                        self.ring,
                    ));
                }
                let bits = (least + FACTOR_BITS - super::facts::FACTOR_BITS).min(room);
                let by = (by * f64::from(bits).exp2()).round() as i64;
                let frac = (self.frac_of(x) + bits) as i16;
                self.push(Op::Scale { by }, &[x], Ty { frac, ..self.ty(x).clone() })
            }
        };
        self.hold(id, z);
        Ok(())
    }

    pub(super) fn offset(&mut self, id: Id, by: f64) -> Result<(), FormatError> {
        let [x] = self.args(id);
        let x = self.held(x)?;
        self.check_sum(id, self.frac_of(x))?;
        let ty = self.ty(x).clone();
        let by = super::weights::quantise(by, i32::from(ty.frac), ty.ring);
        let z = self.push(Op::Offset { by }, &[x], ty);
        self.hold(id, z);
        Ok(())
    }

    /// The shares or masked form of a sum along axes.
    pub(super) fn reduce_sum(&mut self, id: Id, axes: &[usize]) -> Result<(), FormatError> {
        let [x] = self.args(id);
        let x = self.held(x)?;
        let bits = self.narrow_bits(id, self.frac_of(x));
        let ty = self.ty(x).clone();
        if ty.kind == Kind::Masked && i32::from(ty.ring) < bits {
            return Err(no_room(self.graph, id, "range and fraction of the sum", bits, ty.ring));
        }
        let ty = Ty { shape: self.graph.program[id].ty.shape.clone(), ..ty };
        let z = self.push(Op::Sum { axes: axes.to_vec() }, &[x], ty);
        self.hold(id, z);
        Ok(())
    }
}
