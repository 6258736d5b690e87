//! The forms a value is held in, and the conversions between them.

use super::Lowering;
use super::error::{FormatError, no_room, tensor_name};
use mpcc_ir::Id;
use mpcc_ir::masked::{Kind, Op, Ty};
use mpcc_ir::text::OpText as _;

/// A ReLU or a lift looks at two bits at least.
const LEAST_RING: i32 = 2;

/// The masked-level values that hold one nn value.
#[derive(Clone, Debug, Default)]
pub(super) struct Forms {
    /// Additive shares.
    pub(super) shares: Option<Id>,
    /// Masked, narrow or wide; all of one fraction.
    pub(super) masked: Vec<Id>,
}

impl Lowering<'_> {
    pub(super) fn unsupported(&self, id: Id, reason: &'static str) -> FormatError {
        let op = self.graph.program[id].op.mnemonic();
        FormatError::Unsupported { tensor: tensor_name(self.graph, id), op, reason }
    }

    /// Records that masked-level value `made` holds nn value `id`.
    pub(super) fn hold(&mut self, id: Id, made: Id) {
        let forms = &mut self.forms[id.index()];
        match self.program[made].ty.kind {
            Kind::Shares => forms.shares = Some(made),
            Kind::Masked | Kind::Weight | Kind::Public => forms.masked.push(made),
        }
    }

    /// Bits of the ring in which `id` fits with `frac` fractional bits, and whatever is computed from it there.
    pub(super) fn narrow_bits(&self, id: Id, frac: i32) -> i32 {
        (self.facts.need[id.index()] + frac + 1).max(LEAST_RING)
    }

    /// The widest masked form that exists.
    pub(super) fn widest(&self, id: Id) -> Option<Id> {
        let masked = self.forms[id.index()].masked.iter().copied();
        masked.max_by_key(|m| self.ty(*m).ring)
    }

    /// The wide masked form, if it exists.
    pub(super) fn existing_wide(&self, id: Id) -> Option<Id> {
        self.widest(id).filter(|m| self.ty(*m).ring == self.ring)
    }

    /// A masked form, as narrow as its range allows where it has to be made.
    pub(super) fn masked(&mut self, id: Id) -> Result<Id, FormatError> {
        if let Some(found) = self.widest(id) {
            return Ok(found);
        }
        let Some(shares) = self.forms[id.index()].shares else {
            return Err(self.unsupported(id, "a parameter cannot stand here"));
        };
        let made = self.open(id, shares)?;
        self.hold(id, made);
        Ok(made)
    }

    /// The truncating opening of `shares` to the fraction that was chosen for `id`.
    fn open(&mut self, id: Id, shares: Id) -> Result<Id, FormatError> {
        let Ty { ring, frac, shape, .. } = self.ty(shares).clone();
        let by = (i32::from(frac) - self.fractions.frac[id.index()]).max(0);
        let frac = i32::from(frac) - by;
        let bits = self.narrow_bits(id, frac);
        if bits + by > i32::from(ring) {
            return Err(no_room(self.graph, id, "range and fraction of the sum", bits + by, ring));
        }
        let ty = Ty { kind: Kind::Masked, ring: bits as u8, frac: frac as i16, shape };
        let mask = self.fresh_mask();
        Ok(self.push(Op::Rescale { by: by as u8, mask }, &[shares], ty))
    }

    /// The wide masked form: what a product wants.
    pub(super) fn wide(&mut self, id: Id) -> Result<Id, FormatError> {
        let narrow = self.masked(id)?;
        let ty = self.ty(narrow).clone();
        if ty.ring == self.ring {
            return Ok(narrow);
        }
        let wanted = (self.facts.int_bits[id.index()] + i32::from(ty.frac) + 2).max(LEAST_RING);
        if wanted > i32::from(ty.ring) {
            return Err(no_room(
                self.graph,
                id,
                "range, fraction and a spare bit to lift",
                wanted,
                ty.ring,
            ));
        }
        let mask = self.fresh_mask();
        let lifted = self.push(Op::Lift { mask }, &[narrow], Ty { ring: self.ring, ..ty });
        self.hold(id, lifted);
        Ok(lifted)
    }

    /// A masked form in a ring of at least `bits`.
    pub(super) fn masked_in(&mut self, id: Id, bits: i32) -> Result<Id, FormatError> {
        let found = self.masked(id)?;
        if i32::from(self.ty(found).ring) >= bits { Ok(found) } else { self.wide(id) }
    }

    /// `x` cut to a ring of `bits`. Free.
    pub(super) fn narrowed(&mut self, x: Id, bits: i32) -> Id {
        let ty = self.ty(x).clone();
        let bits = bits.max(LEAST_RING) as u8;
        if ty.ring <= bits { x } else { self.push(Op::Narrow, &[x], Ty { ring: bits, ..ty }) }
    }

    /// The form that moves and other local operations act on: masked where it is opened anyway.
    pub(super) fn held(&mut self, id: Id) -> Result<Id, FormatError> {
        match (self.widest(id), self.forms[id.index()].shares) {
            (Some(found), _) | (None, Some(found)) => Ok(found),
            (None, None) => self.masked(id),
        }
    }

    /// Additive shares in the wide ring, if they cost no opening.
    pub(super) fn free_shares(&mut self, id: Id) -> Option<Id> {
        if self.forms[id.index()].shares.is_none() {
            let wide = self.existing_wide(id)?;
            return Some(self.shares_of(wide));
        }
        self.forms[id.index()].shares
    }

    pub(super) fn shares_of(&mut self, masked: Id) -> Id {
        let ty = Ty { kind: Kind::Shares, ..self.ty(masked).clone() };
        self.push(Op::ToShares, &[masked], ty)
    }

    /// `x` with `frac` fractional bits, no fewer than it has: a product with a power of two. Free.
    pub(super) fn aligned(&mut self, x: Id, frac: i32) -> Id {
        let by = frac - self.frac_of(x);
        if by <= 0 {
            return x;
        }
        let ty = Ty { frac: frac as i16, ..self.ty(x).clone() };
        self.push(Op::Scale { by: 1 << by.min(62) }, &[x], ty)
    }
}
