//! One role's part of a views program.
//!
//! A party reads a mask as its own share, the dealer as the total. Shares that are zero at a party
//! (those of `P_0` alone) vanish, and with them the products they would have entered.

use super::ScheduleOptions;
use super::groups::{Payload, Traffic, is_bulk};
use mpcc_ir::Id;
use mpcc_ir::plan::{Phase, Role};
use mpcc_ir::shape::Shape;
use mpcc_ir::views::{Elem, Op, View, ViewsProgram};
use std::collections::BTreeMap;
use std::ops::Range;

/// Index of a role's value.
pub(super) type Val = usize;

/// What one role does to get a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Work {
    /// A constant in every element.
    Const(u64),
    /// A parameter that the role knows.
    Param(u32),
    /// The mask share of `party` at address `value`, shifted left by `zeros`.
    Random { value: u32, party: u8, zeros: u8 },
    /// Member of a message received from one other role.
    Received { payload: Payload, member: usize, from: Role, zeros: u8 },
    /// The role's own message of an opening.
    Own { payload: Payload, member: usize },
    /// An element-wise operation; the same for words and bits.
    Map(Op),
    /// An operation that is a step of its own.
    Bulk(Op),
}

/// One value of a role.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) work: Work,
    pub(super) args: Vec<Val>,
    pub(super) elem: Elem,
    pub(super) shape: Shape,
    pub(super) phase: Phase,
    /// The masked node this is done for.
    pub(super) origin: u32,
    /// The view node, for depths.
    pub(super) view: Id,
}

/// A value that goes into a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sink {
    pub(super) payload: Payload,
    pub(super) member: usize,
    pub(super) value: Val,
}

/// Everything that one role computes.
#[derive(Default)]
pub(super) struct Projected {
    pub(super) values: Vec<Value>,
    pub(super) sinks: Vec<Sink>,
    /// Values that a sink needs.
    pub(super) live: Vec<bool>,
    /// Openings of which the role knows its part before a run's input is there: where it has no share of a
    /// product's first term, for instance, because `P_0` owns the weights.
    pub(super) ahead: Vec<Payload>,
}

impl Projected {
    /// The payloads that the role needs from others, and from whom.
    pub(super) fn received(&self) -> impl Iterator<Item = (Payload, Role)> {
        let live = self.values.iter().zip(&self.live).filter(|(_, live)| **live);
        live.filter_map(|(value, _)| match value.work {
            Work::Received { payload, from, .. } => Some((payload, from)),
            _ => None,
        })
    }

    fn find_live(&mut self) {
        self.live = vec![false; self.values.len()];
        for sink in &self.sinks {
            self.live[sink.value] = true;
        }
        for v in (0..self.values.len()).rev() {
            if self.live[v] {
                for arg in &self.values[v].args {
                    self.live[*arg] = true;
                }
            }
        }
    }
}

pub(super) fn project(
    views: &ViewsProgram,
    traffic: &Traffic,
    role: Role,
    options: ScheduleOptions,
) -> Projected {
    let needed = needed(views, traffic, role);
    let mut projector = Projector {
        views,
        traffic,
        role,
        options,
        out: Projected::default(),
        params: BTreeMap::new(),
        of: vec![None; views.nodes.len()],
        without_p0: vec![None; views.nodes.len()],
    };
    let halved = if role == Role::Dealer { masks_behind_without_p0(views) } else { vec![] };
    for id in views.ids().filter(|id| needed[id.index()]) {
        projector.of[id.index()] = projector.value(id);
        if halved.get(id.index()).is_some_and(|halved| *halved) {
            projector.without_p0[id.index()] = projector.without_p0(id);
        }
    }
    projector.sinks();
    projector.out.find_live();
    projector.out
}

/// What a role needs in order to send what it sends.
fn needed(views: &ViewsProgram, traffic: &Traffic, role: Role) -> Vec<bool> {
    let mut needed = vec![false; views.nodes.len()];
    for group in traffic.groups.values() {
        if traffic.sends(role, group.payload) {
            for id in &group.members {
                needed[id.index()] = true;
            }
        }
    }
    for id in views.ids().rev() {
        let node = &views[id];
        // A dealt value and a delta of an input are leaves for a party; the dealer has no deltas.
        let leaf =
            role != Role::Dealer && matches!(node.op, Op::Deal { .. } | Op::InputDelta { .. });
        if needed[id.index()] && !leaf {
            for arg in &node.args {
                needed[arg.index()] = true;
            }
        }
    }
    needed
}

/// The opening of which a node is `D - [L]_0`, what `P_0` knows of the value.
pub(super) fn what_p0_knows(views: &ViewsProgram, id: Id) -> Option<Id> {
    let operand = |id: Id, at: usize, op: &Op| {
        views[id].args.get(at).copied().filter(|operand| views[*operand].op == *op)
    };
    let (delta, mask) = (operand(id, 0, &Op::AtP0)?, operand(id, 1, &Op::OfP0)?);
    let open = operand(delta, 0, &Op::Open)?;
    (views[id].op == Op::Sub && views[open].args[1] == views[mask].args[0]).then_some(open)
}

/// Masks from which an [`Op::WithoutP0`] follows.
fn masks_behind_without_p0(views: &ViewsProgram) -> Vec<bool> {
    let mut behind = vec![false; views.nodes.len()];
    for id in views.ids().rev() {
        let node = &views[id];
        let derived = behind[id.index()] && !matches!(node.op, Op::Deal { .. });
        if derived || node.op == Op::WithoutP0 {
            for arg in &node.args {
                behind[arg.index()] = views[*arg].ty.view == View::Mask;
            }
        }
    }
    behind
}

struct Projector<'a> {
    views: &'a ViewsProgram,
    traffic: &'a Traffic,
    role: Role,
    options: ScheduleOptions,
    out: Projected,
    /// Parameters that are loaded, by ring: once, however often they are used.
    params: BTreeMap<(u32, Elem), Val>,
    /// This role's value of each view node; `None` where it is zero or not needed.
    of: Vec<Option<Val>>,
    /// The dealer's totals of masks without the share of `P_0`, of those from which [`Op::WithoutP0`] follows.
    without_p0: Vec<Option<Val>>,
}

impl Projector<'_> {
    fn push(&mut self, id: Id, work: Work, args: Vec<Val>, own_phase: Phase) -> Val {
        let node = &self.views[id];
        let phase = args.iter().map(|a| self.out.values[*a].phase).fold(own_phase, Phase::max);
        self.out.values.push(Value {
            work,
            args,
            elem: node.ty.elem,
            shape: node.ty.shape.clone(),
            phase,
            origin: node.origin.unwrap_or(0),
            view: id,
        });
        self.out.values.len() - 1
    }

    fn map(&mut self, id: Id, op: Op, args: Vec<Val>) -> Val {
        self.push(id, Work::Map(op), args, Phase::Setup)
    }

    /// This role's value of node `id`; `None` where it is zero.
    fn value(&mut self, id: Id) -> Option<Val> {
        let views = self.views;
        let node = &views[id];
        let operand = node.args.first().and_then(|arg| self.of[arg.index()]);
        let first = self.role == Role::Party(0);
        match &node.op {
            Op::Const { value: 0 } => None,
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
    fn without_p0(&mut self, mask: Id) -> Option<Val> {
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
    fn total(
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

    /// An operation on a role's operands; zero operands fold away.
    fn operation(&mut self, id: Id, op: &Op, args: Vec<Option<Val>>) -> Option<Val> {
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

    fn sinks(&mut self) {
        for group in self.traffic.groups.values() {
            if !self.traffic.sends(self.role, group.payload) {
                continue;
            }
            if matches!(group.payload, Payload::Open(_))
                && group.members.iter().all(|id| self.is_known(*id))
            {
                self.out.ahead.push(group.payload);
            }
            for (member, id) in group.members.iter().enumerate() {
                let value = match group.payload {
                    Payload::Open(_) => self.open_message(*id, group.payload),
                    Payload::Deal(_) => self.correction(*id),
                    _ => self.of[id.index()],
                };
                let value = value.unwrap_or_else(|| {
                    let phase = self.traffic.phase(group.payload, self.role);
                    self.push(*id, Work::Const(0), vec![], phase)
                });
                self.out.sinks.push(Sink { payload: group.payload, member, value });
            }
        }
    }

    /// Whether the role knows its share of what an opening opens in the offline phase.
    fn is_known(&self, open: Id) -> bool {
        let share = self.of[self.views[open].args[0].index()];
        share.is_none_or(|share| self.out.values[share].phase <= Phase::Offline)
    }

    /// `share + mask share`, added in the phase in which it is sent, so that the plan shows at the message that it
    /// is masked; the share alone where `P_0` keeps it.
    fn open_message(&mut self, id: Id, payload: Payload) -> Option<Val> {
        let node = &self.views[id];
        let (share, mask) = (node.args[0], node.args[1]);
        if self.role == Role::Party(0) && self.traffic.kept.contains(&payload) {
            return self.of[share.index()];
        }
        match (self.of[share.index()], self.of[mask.index()]) {
            (Some(share), Some(mask)) => {
                let (args, phase) = (vec![share, mask], self.traffic.phase(payload, self.role));
                Some(self.push(id, Work::Map(Op::Add), args, phase))
            }
            (share, mask) => share.or(mask),
        }
    }

    /// `value - sum of the other parties' shares`, without its known zeros.
    fn correction(&mut self, id: Id) -> Option<Val> {
        let node = &self.views[id];
        let Op::Deal { value, zeros } = node.op else { return None };
        let known = self.of[node.args[0].index()];
        let shares = self.total(
            id,
            0..self.options.parties - 1,
            |party| Work::Random { value, party, zeros },
            Phase::Offline,
        )?;
        let rest = match known {
            Some(known) => self.map(id, Op::Sub, vec![known, shares]),
            None => self.map(id, Op::Neg, vec![shares]),
        };
        let shifted =
            if zeros == 0 { rest } else { self.map(id, Op::ShiftRight { by: zeros }, vec![rest]) };
        Some(shifted)
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
        (Op::AddConst { by }, [None]) => Some((Op::Const { value: *by }, vec![])),
        _ => None,
    }
}
