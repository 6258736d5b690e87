//! A role's value of a node: loaded, drawn, received, or worked out of its values of the operands.

use super::{Projector, Val, Work, what_p0_knows};
use crate::schedule::groups::Payload;
use mpcc_ir::Id;
use mpcc_ir::plan::{Phase, Role};
use mpcc_ir::views::{Op, View};
use std::ops::Range;

impl Projector<'_> {
    /// This role's value of node `id`; `None` where it is zero.
    pub(super) fn value(&mut self, id: Id) -> Option<Val> {
        let views = self.views;
        let node = &views[id];
        let operand = node.args.first().and_then(|arg| self.of[arg.index()]);
        let first = self.role == Role::Party(0);
        match &node.op {
            Op::Const { value } => Some(self.push(id, Work::Const(*value), vec![], Phase::Setup)),
            Op::WeightPlain { param } => {
                let knows = first || node.ty.view == View::Public;
                knows.then(|| self.param(id, param.0))
            }
            Op::Random { value, once, p0 } => self.random(id, *value, *once, *p0),
            Op::Deal { value, zeros } => self.dealt(id, *value, *zeros),
            Op::Open => self.opened(id),
            Op::InputDelta { port } => {
                let payload = Payload::Input(port.0);
                let work = Work::Received { payload, member: 0, from: Role::Client, zeros: 0 };
                Some(self.push(id, work, vec![], Phase::Online))
            }
            Op::WeightDelta { param } => {
                let payload = Payload::Weight(param.0);
                if let Some(from) = self.traffic.sender(payload, self.role) {
                    let work = Work::Received { payload, member: 0, from, zeros: 0 };
                    return Some(self.push(id, work, vec![], Phase::Setup));
                }
                // Who sends it has made it.
                let mask = operand.filter(|_| self.traffic.sends(self.role, payload))?;
                let plain = self.param(id, param.0);
                Some(self.map(id, Op::Add, vec![plain, mask]))
            }
            Op::AtP0 | Op::OfP0 if first => operand,
            Op::AtP0 | Op::OfP0 => None,
            Op::WithoutP0 if first => None,
            Op::WithoutP0 if self.role == Role::Dealer => self.without_p0[node.args[0].index()],
            Op::WithoutP0 => operand,
            Op::Reveal { .. } => operand,
            op => self.kept(id).or_else(|| {
                let args = node.args.iter().map(|arg| self.of[arg.index()]).collect();
                self.operation(id, op, args)
            }),
        }
    }

    /// `D - [L]_0` of an opening that `P_0` keeps: its own part, which has no mask, and what the others have sent.
    fn kept(&mut self, id: Id) -> Option<Val> {
        let open = what_p0_knows(self.views, id).filter(|_| self.role == Role::Party(0))?;
        let (payload, _) = *self.traffic.member.get(&open)?;
        if self.traffic.kept.contains(&payload) { self.opened(open) } else { None }
    }

    fn param(&mut self, id: Id, param: u32) -> Val {
        let key = (param, self.views[id].ty.elem);
        if let Some(known) = self.params.get(&key) {
            return *known;
        }
        let loaded = self.push(id, Work::Param(param), vec![], Phase::Setup);
        self.params.insert(key, loaded);
        loaded
    }

    fn random(&mut self, id: Id, value: u32, once: bool, p0: bool) -> Option<Val> {
        let holders = match (self.role, p0) {
            (Role::Party(b), false) => b..b + 1,
            (Role::Party(0), true) => 0..1,
            (Role::Dealer, false) => 0..self.options.parties,
            (Role::Dealer, true) => 0..1,
            _ => return None,
        };
        self.drawn(id, value, once, holders)
    }

    /// The sum of the shares of `holders` of a random value.
    fn drawn(&mut self, id: Id, value: u32, once: bool, holders: Range<u8>) -> Option<Val> {
        let phase = if once { Phase::Setup } else { Phase::Offline };
        self.total(id, holders, |party| Work::Random { value, party, zeros: 0 }, phase)
    }

    /// The dealer's total of a mask without the share of `P_0`: what is linear in masks is so in these, too.
    pub(super) fn without_p0(&mut self, mask: Id) -> Option<Val> {
        let node = &self.views[mask];
        match &node.op {
            Op::Random { p0: true, .. } => None,
            Op::Random { value, once, .. } => {
                self.drawn(mask, *value, *once, 1..self.options.parties)
            }
            Op::Deal { value, zeros } => {
                let of_p0 = Work::Random { value: *value, party: 0, zeros: *zeros };
                let of_p0 = self.push(mask, of_p0, vec![], Phase::Offline);
                Some(match self.of[mask.index()] {
                    Some(total) => self.map(mask, Op::Sub, vec![total, of_p0]),
                    None => self.map(mask, Op::Neg, vec![of_p0]),
                })
            }
            Op::WithoutP0 => self.of[mask.index()],
            op => {
                let args = node.args.iter().map(|arg| match self.views[*arg].ty.view {
                    View::Mask => self.without_p0[arg.index()],
                    _ => self.of[arg.index()],
                });
                let args = args.collect();
                self.operation(mask, op, args)
            }
        }
    }

    /// The sum of one value per party in `holders`.
    pub(super) fn total(
        &mut self,
        id: Id,
        holders: Range<u8>,
        work: impl Fn(u8) -> Work,
        phase: Phase,
    ) -> Option<Val> {
        let mut sum = None;
        for party in holders {
            let term = self.push(id, work(party), vec![], phase);
            sum = Some(match sum {
                Some(before) => self.map(id, Op::Add, vec![before, term]),
                None => term,
            });
        }
        sum
    }

    fn dealt(&mut self, id: Id, value: u32, zeros: u8) -> Option<Val> {
        let last = self.options.parties - 1;
        let work = match self.role {
            Role::Party(b) if b == last => {
                let (payload, member) = *self.traffic.member.get(&id)?;
                Work::Received { payload, member, from: Role::Dealer, zeros }
            }
            Role::Party(party) => Work::Random { value, party, zeros },
            _ => return self.of[self.views[id].args[0].index()],
        };
        Some(self.push(id, work, vec![], Phase::Offline))
    }

    /// The sum of all parties' messages of an opening.
    fn opened(&mut self, id: Id) -> Option<Val> {
        let (payload, member) = *self.traffic.member.get(&id)?;
        let (role, traffic) = (self.role, self.traffic);
        let own_phase = traffic.phase(payload, role);
        let mut sum = self.push(id, Work::Own { payload, member }, vec![], own_phase);
        for from in (0..self.options.parties).map(Role::Party).filter(|p| *p != role) {
            let work = Work::Received { payload, member, from, zeros: 0 };
            let term = self.push(id, work, vec![], traffic.phase(payload, from));
            sum = self.map(id, Op::Add, vec![sum, term]);
        }
        Some(sum)
    }
}
