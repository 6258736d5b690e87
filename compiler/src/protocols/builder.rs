//! Builds a views program: hands out addresses of random values and is the only way to deal, open and
//! reveal.

use super::handle::{
    AtP0, Dealt, Delta, Mask, Masked, MaskedIn, Public, Share, Share0, State, Val, in_ring, know,
    push,
};
use mpcc_ir::views::{Elem, Op, ViewsProgram};
use mpcc_ir::{Id, ParamId, PortId, Shape};
use std::cell::RefCell;
use std::rc::Rc;

/// A views program under construction.
///
/// All nodes made through it and its handles are marked as made from the current origin, a node of the
/// masked program.
#[derive(Debug, Default)]
pub struct Builder {
    state: Rc<RefCell<State>>,
}

impl Builder {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says which masked node the nodes from here on implement.
    pub fn set_origin(&self, origin: Id) {
        let mut state = self.state.borrow_mut();
        state.origin = origin.0;
        state.made.clear();
    }

    /// The program, without nodes that neither `outputs` nor a reveal needs.
    pub fn finish(self, outputs: Vec<Id>) -> ViewsProgram {
        let mut program = std::mem::take(&mut self.state.borrow_mut().program);
        program.outputs = outputs;
        program.remove_dead(|op| matches!(op, Op::Reveal { .. }));
        program
    }

    /// A fresh address.
    fn address(&self) -> u32 {
        let mut state = self.state.borrow_mut();
        state.next_value += 1;
        state.next_value - 1
    }

    fn source<K: know::Knows, E>(&self, op: Op, elem: Elem, shape: &Shape) -> Val<K, E> {
        push(&self.state, op, &[], elem, shape.clone())
    }

    fn random<E>(&self, elem: Elem, shape: &Shape, once: bool, p0: bool) -> Val<know::Mask, E> {
        let value = self.address();
        self.source(Op::Random { value, once, p0 }, elem, shape)
    }

    /// `D_x` of a model input under a fresh mask, sent by the client.
    pub fn input(&self, port: PortId, ring: u8, shape: &Shape) -> Masked {
        let lam: Mask = self.random(Elem::Ring(ring), shape, false, false);
        let delta = self.sent_under(Op::InputDelta { port }, &lam);
        Masked { delta, lam }
    }

    /// `D_w` of a weight under a mask of the deployment; `p0`: `P_0` holds the whole mask.
    pub fn weight(&self, param: ParamId, ring: u8, shape: &Shape, p0: bool) -> Masked {
        let lam: Mask = self.random(Elem::Ring(ring), shape, true, p0);
        let delta = self.sent_under(Op::WeightDelta { param }, &lam);
        Masked { delta, lam }
    }

    fn sent_under(&self, op: Op, lam: &Mask) -> Delta {
        push(&self.state, op, &[lam.id()], lam.elem(), lam.shape())
    }

    /// A weight that `P_0` owns.
    pub fn weight_at_p0(&self, param: ParamId, ring: u8, shape: &Shape) -> Share0 {
        self.source(Op::WeightPlain { param }, Elem::Ring(ring), shape)
    }

    /// A parameter that everybody knows.
    pub fn public(&self, param: ParamId, ring: u8, shape: &Shape) -> Public {
        self.source(Op::WeightPlain { param }, Elem::Ring(ring), shape)
    }

    /// `value` in every element.
    pub fn constant(&self, value: i64, ring: u8, shape: &Shape) -> Public {
        self.source(Op::Const { value: in_ring(value, ring) }, Elem::Ring(ring), shape)
    }

    /// `value` in every element, at `P_0`; the other shares are zero.
    pub fn constant_at_p0(&self, value: i64, ring: u8, shape: &Shape) -> Share0 {
        self.constant(value, ring, shape).at_p0()
    }

    /// Shares of a value that only the dealer knows. Costs the element's bits as correction.
    pub fn deal<E>(&self, value: &Val<know::Dealt, E>) -> Val<know::Mask, E> {
        self.deal_with(value, 0)
    }

    /// As [`Self::deal`] for a value whose `zeros` low bits are zero, which saves as many bits.
    pub fn deal_high(&self, value: &Dealt, zeros: u8) -> Mask {
        self.deal_with(value, zeros)
    }

    fn deal_with<E>(&self, value: &Val<know::Dealt, E>, zeros: u8) -> Val<know::Mask, E> {
        let op = Op::Deal { value: self.address(), zeros };
        push(&self.state, op, &[value.id()], value.elem(), value.shape())
    }

    /// Every party broadcasts its share under a fresh mask. One round, the element's bits.
    pub fn open<E>(&self, share: impl Into<Val<know::Share, E>>) -> MaskedIn<E> {
        let share = share.into();
        let lam = self.random(share.elem(), &share.shape(), false, false);
        self.open_under(&share, lam)
    }

    /// As [`Self::open`], under the rest of a mask in `Z_{2^k}`, which costs less to lift (see `lift`).
    pub fn open_narrow(&self, share: &Share, k: u8) -> Masked {
        let lam: Mask = self.random(Elem::Ring(k), &share.shape(), false, false);
        self.open_under(share, lam.narrow(share.ring()))
    }

    fn open_under<E>(&self, share: &Val<know::Share, E>, lam: Val<know::Mask, E>) -> MaskedIn<E> {
        let args = [share.id(), lam.id()];
        let delta = push(&self.state, Op::Open, &args, share.elem(), share.shape());
        MaskedIn { delta, lam }
    }

    /// Shows a masked value to the client.
    pub fn reveal(&self, port: PortId, x: &Masked) -> Delta {
        let args = [x.delta.id(), x.lam.id()];
        push(&self.state, Op::Reveal { port }, &args, x.delta.elem(), x.delta.shape())
    }
}
