//! Finds how much of a send its thread waited for room in the queue of the link: neither a plan nor a trace says it.
//!
//! A thread waits where more than [`MAX_QUEUED`] bytes of a phase are on their way from its role to another. The
//! work of a send is a constant and so much for a byte, so one of `b` bytes takes no longer than a send of `c` bytes took,
//! times `b / c` where that is more; the least over all sends is its work, and the rest of it a wait. Where roles share the
//! cores of a host, the rest may have a wait for a core in it.

use super::describe::step_of;
use super::history::{Bar, RoleHistory, Wire};
use mpcc_ir::plan::{Phase, Plan, Role, StepOp};
use mpcc_runtime::net::MAX_QUEUED;
use std::collections::BTreeMap;

/// Fills in [`Bar::queued`].
pub(super) fn find(plan: &Plan, roles: &mut [RoleHistory], wires: &[Wire]) {
    let work = Work::of(plan, roles);
    let mut arrivals: BTreeMap<(Role, Role, Phase), Vec<(f64, u64)>> = BTreeMap::new();
    for wire in wires {
        let info = &plan.messages[wire.message as usize];
        let link = arrivals.entry((info.from, info.to, info.phase)).or_default();
        link.push((wire.end, info.bytes));
    }
    let on_the_way = |link: (Role, Role, Phase)| OnTheWay {
        handed: 0,
        arrived: 0,
        next: 0,
        arrivals: arrivals.get(&link).map_or(&[], Vec::as_slice),
    };
    for role in roles {
        let own = role.role;
        let mut links: BTreeMap<(Role, Phase), OnTheWay<'_>> = BTreeMap::new();
        for bar in &mut role.bars {
            let Some(message) = sent(plan, own, bar) else { continue };
            let info = &plan.messages[message as usize];
            let key = (info.to, info.phase);
            let link = links.entry(key).or_insert_with(|| on_the_way((own, info.to, info.phase)));
            if link.bytes(bar.start).is_some_and(|bytes| bytes > MAX_QUEUED) {
                bar.queued = (bar.end - bar.start - work.us(info.bytes)).max(0.0);
            }
            link.handed += info.bytes;
        }
    }
}

/// The message that a step sends.
fn sent(plan: &Plan, role: Role, bar: &Bar) -> Option<u32> {
    let step = step_of(plan, role, bar.phase, bar.step)?;
    if let StepOp::Send { message, .. } = step.op { Some(message) } else { None }
}

/// The bytes of a phase from one role to another, in order of time.
struct OnTheWay<'a> {
    handed: u64,
    arrived: u64,
    /// The first of `arrivals` that is not counted.
    next: usize,
    /// When how many bytes have arrived.
    arrivals: &'a [(f64, u64)],
}

impl OnTheWay<'_> {
    /// How many there are at `at`, which is not before that of the last call; `None` where no arrival is known, as the
    /// receiver has no steps or left no trace.
    fn bytes(&mut self, at: f64) -> Option<u64> {
        while let Some((_, bytes)) = self.arrivals.get(self.next).filter(|(end, _)| *end <= at) {
            self.arrived += bytes;
            self.next += 1;
        }
        (!self.arrivals.is_empty()).then(|| self.handed.saturating_sub(self.arrived))
    }
}

/// What sends took at most, without waits.
struct Work {
    /// By bytes: the least that this many, or more, have taken; and the least for a byte of so many, or fewer.
    least: Vec<(u64, f64, f64)>,
}

impl Work {
    fn of(plan: &Plan, roles: &[RoleHistory]) -> Self {
        let mut least: Vec<(u64, f64, f64)> = Vec::new();
        for role in roles {
            for bar in &role.bars {
                let Some(message) = sent(plan, role.role, bar) else { continue };
                let (bytes, us) =
                    (plan.messages[message as usize].bytes.max(1), bar.end - bar.start);
                least.push((bytes, us, us / bytes as f64));
            }
        }
        least.sort_by_key(|(bytes, ..)| *bytes);
        for at in 1..least.len() {
            least[at].2 = least[at].2.min(least[at - 1].2);
        }
        for at in (1..least.len()).rev() {
            least[at - 1].1 = least[at - 1].1.min(least[at].1);
        }
        Self { least }
    }

    /// Microseconds of a send of so many bytes, one of those seen.
    fn us(&self, bytes: u64) -> f64 {
        let bytes = bytes.max(1);
        let at = self.least.partition_point(|(known, ..)| *known < bytes);
        let up = self.least.get(at).map_or(f64::INFINITY, |(_, us, _)| *us);
        let down = at.checked_sub(1).map_or(f64::INFINITY, |below| self.least[below].2);
        up.min(down * bytes as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::timeline::history::History;
    use mpcc_ir::plan::{Message, MessageKind, Region, RolePlan, Span, Step, WeightsMode, Word};

    /// The dealer sends messages of so many bytes, each from a time to a time, and `P0` takes it at another.
    fn history(messages: &[(u64, (f64, f64), f64)]) -> (Plan, History) {
        let role = |role: Role, offline: Vec<Step>| RolePlan {
            role,
            deploy_bytes: 0,
            run_bytes: 4,
            setup: vec![],
            offline,
            online: vec![],
        };
        let (mut sends, mut receives) = (Vec::new(), Vec::new());
        let mut plan = Plan::empty(Word::W32, 2, WeightsMode::Party0);
        let span = Span { region: Region::Run, at: 0, len: 4 };
        for (message, &(bytes, sent_us, at)) in (0..).zip(messages) {
            let send = Step::new(StepOp::Send { message, src: span });
            sends.push(Step { predicted_us: sent_us, ..send });
            let receive = Step::new(StepOp::Receive { message, dst: span });
            receives.push(Step { predicted_us: (at, at), ..receive });
            plan.messages.push(Message {
                from: Role::Dealer,
                to: Role::Party(0),
                phase: Phase::Offline,
                kind: MessageKind::Correction,
                bytes,
                round: 0,
                layer: 0,
            });
        }
        plan.roles = vec![role(Role::Party(0), receives), role(Role::Dealer, sends)];
        let history = History::predicted(&plan).unwrap();
        (plan, history)
    }

    fn queued(history: &History) -> Vec<f64> {
        let dealer = history.roles.iter().find(|own| own.role == Role::Dealer).unwrap();
        dealer.bars.iter().map(|bar| bar.queued).collect()
    }

    #[test]
    fn a_send_behind_a_full_queue_waits() {
        let full = MAX_QUEUED + 2;
        // The first fills the queue; the second waits until it is taken; the third has room.
        let (plan, history) = history(&[
            (full, (0.0, 10.0), 900.0),
            (full / 2, (10.0, 900.0), 950.0),
            (full / 2, (900.0, 1000.0), 1000.0),
        ]);
        assert_eq!(queued(&history), [0.0, 880.0, 0.0]);
        let dealer = history.roles.iter().find(|own| own.role == Role::Dealer).unwrap();
        let totals = history.totals(&plan, dealer, &history.windows[0]);
        assert_eq!((totals.busy, totals.wait), (120.0, 880.0));
    }

    #[test]
    fn a_slow_send_with_room_is_work() {
        let some = MAX_QUEUED / 2;
        let (_, history) = history(&[(some, (0.0, 10.0), 900.0), (some, (10.0, 900.0), 950.0)]);
        assert_eq!(queued(&history), [0.0, 0.0]);
    }

    #[test]
    fn nothing_is_said_of_a_link_without_arrivals() {
        let full = MAX_QUEUED + 1;
        let (plan, mut history) =
            history(&[(full, (0.0, 10.0), 900.0), (full, (10.0, 900.0), 950.0)]);
        assert_eq!(queued(&history), [0.0, 880.0]);
        history.roles.iter_mut().flat_map(|own| &mut own.bars).for_each(|bar| bar.queued = 0.0);
        find(&plan, &mut history.roles, &[]);
        assert_eq!(queued(&history), [0.0, 0.0]);
    }

    #[test]
    fn the_work_of_a_send_grows_with_its_bytes() {
        let full = MAX_QUEUED + 1;
        let (_, history) = history(&[
            (full, (0.0, 10.0), 2000.0),
            (3 * full, (10.0, 1010.0), 2000.0),
            (1, (1010.0, 1510.0), 2000.0),
        ]);
        assert_eq!(queued(&history), [0.0, 970.0, 490.0]);
    }
}
