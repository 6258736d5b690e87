//! Parts of masks and of masked values: what `P_0` knows, what is left, and the wider mask that a mask is the rest of.

use super::{AtP0 as _, Mask, Masked, Share, Share0, Val, know};
use mpcc_ir::Id;
use mpcc_ir::views::{Elem, Op, View};

/// Linear operations up to which [`Mask::wide`] looks back.
const LOOK_BACK: u8 = 8;

impl Mask {
    /// A mask in `Z_{2^k}` of which this one is the rest modulo `2^n`, where this one was made from such by a few
    /// linear operations.
    pub fn wide(&self, k: u8) -> Option<Self> {
        self.wide_within(k, LOOK_BACK)
    }

    fn wide_within(&self, k: u8, operations: u8) -> Option<Self> {
        if k <= self.ring() {
            return Some(self.narrow(k));
        }
        let fewer = operations.checked_sub(1)?;
        let node = self.state.borrow().program[self.id].clone();
        let mut args = node.args.iter().map(|arg| Self::at(&self.state, *arg));
        if node.op == Op::Narrow {
            return args.next()?.wide_within(k, fewer);
        }
        // What is made of masks alone is linear in them, but for what is dealt.
        let is_mask = |arg: &Id| self.state.borrow().program[*arg].ty.view == View::Mask;
        let is_linear = node.args.iter().all(is_mask) && !matches!(node.op, Op::Deal { .. });
        if node.args.is_empty() || !is_linear {
            return None;
        }
        let args = args.map(|arg| arg.wide_within(k, fewer)).collect::<Option<Vec<_>>>()?;
        let (first, more) = args.split_first()?;
        let more: Vec<Id> = more.iter().map(|arg| arg.id).collect();
        Some(first.then(node.op, &more, Elem::Ring(k), node.ty.shape))
    }

    /// The mask without `P_0`'s share.
    #[must_use]
    pub fn without_p0(&self) -> Self {
        self.same(Op::WithoutP0, &[])
    }
}

impl Masked {
    /// `D - [L]_0`, which `P_0` knows: `x` is that less [`Mask::without_p0`].
    ///
    /// Made once, as part of what gives `D`, however many operations ask for it.
    pub fn known_to_p0(&self) -> Share0 {
        let (state, key) = (&self.delta.state, (self.delta.id, self.lam.id));
        if let Some(&id) = state.borrow().known_to_p0.get(&key) {
            return Val::at(state, id);
        }
        let asking = state.borrow().origin;
        let of_delta = state.borrow().program[self.delta.id].origin.unwrap_or(asking);
        state.borrow_mut().origin = of_delta;
        let share = self.delta.at_p0() - self.lam.same::<know::Share0>(Op::OfP0, &[]);
        let mut state = state.borrow_mut();
        state.origin = asking;
        state.known_to_p0.insert(key, share.id);
        share
    }

    /// Additive shares: `[x]_b = b0 * D - [L]_b`. Local.
    pub fn shares(&self) -> Share {
        self.known_to_p0() - self.lam.without_p0()
    }
}
