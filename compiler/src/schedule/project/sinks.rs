//! What a role puts into its messages.

use super::{Projector, Sink, Val, Work};
use crate::schedule::groups::Payload;
use mpcc_ir::Id;
use mpcc_ir::plan::{Phase, Role};
use mpcc_ir::views::Op;

impl Projector<'_> {
    /// Puts this role's values into the messages that it sends.
    pub(super) fn sinks(&mut self) {
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
