//! One role's part of a views program.
//!
//! A party reads a mask as its own share, the dealer as the total. Shares that are zero at a party
//! (those of `P_0` alone) vanish, and with them the products they would have entered.

mod needed;
mod sinks;
mod values;
mod zeros;

pub(super) use needed::what_p0_knows;

use super::ScheduleOptions;
use super::groups::{Payload, Traffic};
use mpcc_ir::Id;
use mpcc_ir::plan::{Phase, Role};
use mpcc_ir::shape::Shape;
use mpcc_ir::views::{Elem, Op, ViewsProgram};
use needed::{masks_behind_without_p0, needed};
use std::collections::BTreeMap;

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

/// What a role computes, and what of it goes into messages.
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

/// Goes through a views program as one role.
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
}
