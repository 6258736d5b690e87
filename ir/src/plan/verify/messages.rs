//! Every message is sent once and received once, and the roles do not wait for each other for ever.

use super::{Check, Place, PlanError, Rule, at_step};
use crate::plan::{Phase, Plan, Role, StepOp};

pub(super) fn check(plan: &Plan) -> Check {
    let ends = ends(plan)?;
    for (at, (message, ends)) in plan.messages.iter().zip(&ends).enumerate() {
        let fail = |rule| PlanError { place: Place::Message(at), rule };
        let planned = |role: Role| usize::from(plan.role(role).is_some());
        if ends.sent != planned(message.from) {
            return Err(fail(Rule::Sent { times: ends.sent }));
        }
        if ends.received != planned(message.to) {
            return Err(fail(Rule::Received { times: ends.received }));
        }
    }
    Phase::ALL.into_iter().try_for_each(|phase| check_progress(plan, phase))
}

/// How often a message is sent and received.
#[derive(Clone, Copy, Default)]
struct Ends {
    sent: usize,
    received: usize,
}

fn ends(plan: &Plan) -> Result<Vec<Ends>, PlanError> {
    let mut ends = vec![Ends::default(); plan.messages.len()];
    for role in &plan.roles {
        for phase in Phase::ALL {
            for (at, step) in role.steps(phase).iter().enumerate() {
                let Some((id, sends)) = end(&step.op) else { continue };
                let message = &plan.messages[id as usize];
                let here = if sends { message.from } else { message.to };
                if here != role.role || message.phase != phase {
                    let (from, to, phase_of) = (message.from, message.to, message.phase);
                    let rule = Rule::WrongPlace { message: id, from, to, phase: phase_of };
                    return Err(at_step(role.role, phase, at)(rule));
                }
                let count = &mut ends[id as usize];
                *(if sends { &mut count.sent } else { &mut count.received }) += 1;
            }
        }
    }
    Ok(ends)
}

/// The message that a step sends (`true`) or receives.
fn end(op: &StepOp) -> Option<(u32, bool)> {
    match op {
        StepOp::Send { message, .. } => Some((*message, true)),
        StepOp::Receive { message, .. } => Some((*message, false)),
        StepOp::Map { .. }
        | StepOp::Conv { .. }
        | StepOp::MatMul { .. }
        | StepOp::Strided { .. }
        | StepOp::Fill { .. }
        | StepOp::Gather { .. }
        | StepOp::Sum { .. }
        | StepOp::Load { .. } => None,
    }
}

/// Runs all roles in the abstract: a step is done when those it is `after` are, a receive also needs
/// its message. Clients and owners send whatever they have to. All steps must get done.
fn check_progress(plan: &Plan, phase: Phase) -> Check {
    let mut roles: Vec<Progress> =
        plan.roles.iter().map(|r| Progress::new(r.steps(phase))).collect();
    // Where each message is received, once it has been sent or the receiver waits for it.
    let mut receiver = vec![None; plan.messages.len()];
    let mut ready: Vec<(usize, u32)> = Vec::new();
    for (role, planned) in plan.roles.iter().enumerate() {
        for (at, step) in planned.steps(phase).iter().enumerate() {
            if let Some((id, false)) = end(&step.op) {
                receiver[id as usize] = Some((role, at as u32));
                let from = plan.messages[id as usize].from;
                roles[role].missing[at] += u32::from(plan.role(from).is_some());
            }
        }
        ready.extend(roles[role].ready().map(|at| (role, at)));
    }
    while let Some((role, at)) = ready.pop() {
        roles[role].done += 1;
        let steps = plan.roles[role].steps(phase);
        let arrived = match end(&steps[at as usize].op) {
            Some((id, true)) => receiver[id as usize],
            _ => None,
        };
        let next = std::mem::take(&mut roles[role].next[at as usize]);
        for (role, at) in next.into_iter().map(|at| (role, at)).chain(arrived) {
            if roles[role].less(at) {
                ready.push((role, at));
            }
        }
    }
    for (role, progress) in plan.roles.iter().zip(&roles) {
        if let Some(step) = progress.missing.iter().position(|&n| n > 0) {
            return Err(at_step(role.role, phase, step)(Rule::Deadlock));
        }
    }
    Ok(())
}

/// What is left to do of one role's phase.
struct Progress {
    /// Per step, how many things it waits for.
    missing: Vec<u32>,
    /// Per step, which steps wait for it.
    next: Vec<Vec<u32>>,
    done: usize,
}

impl Progress {
    fn new(steps: &[crate::plan::Step]) -> Self {
        let mut next = vec![Vec::new(); steps.len()];
        for (at, step) in steps.iter().enumerate() {
            for &before in &step.after {
                next[before as usize].push(at as u32);
            }
        }
        Self { missing: steps.iter().map(|s| s.after.len() as u32).collect(), next, done: 0 }
    }

    fn ready(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.missing.len() as u32).filter(|&at| self.missing[at as usize] == 0)
    }

    /// One thing less that a step waits for; `true` if it was the last.
    fn less(&mut self, at: u32) -> bool {
        let missing = &mut self.missing[at as usize];
        *missing = missing.saturating_sub(1);
        *missing == 0
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::verify::testing::broken;
    use insta::assert_snapshot;

    #[test]
    fn each_message_is_sent_once_and_received_once() {
        assert_snapshot!(broken(&[("      2: send message 5 src run@64+13 after [1]\n", "      2: send message 8 src run@64+13 after [1]\n")]), @"message 5: is sent 0 times, not once");
        assert_snapshot!(broken(&[("2: send message 5 src run@64+13 after [1]", "2: fill dst run@272+4 value 0")]), @"message 5: is sent 0 times, not once");
        assert_snapshot!(broken(&[("3: receive message 5 dst run@64+13 after [0]", "3: receive message 2 dst run@208+16")]), @"message 2: is received 2 times, not once");
    }

    #[test]
    fn messages_travel_where_they_belong() {
        assert_snapshot!(broken(&[("2: send message 5", "2: send message 6")]), @"P0, online step 2: message 6 travels from P1 to P0 in the online phase, not here");
        assert_snapshot!(broken(&[("message 5: from P0 to P1 phase online", "message 5: from P0 to P1 phase offline")]), @"P0, online step 2: message 5 travels from P0 to P1 in the offline phase, not here");
    }

    #[test]
    fn nobody_waits_for_ever() {
        assert_snapshot!(broken(&[("      0: receive message 2 dst run@64+16\n", "      0: receive message 5 dst run@64+13\n      1: receive message 2 dst run@192+16\n"), ("      1: map program 5 first 0 count 4 values [2, 4] spans [deploy@0+16, run@0+16, run@128+13]\n      2: send message 6 src run@128+13 after [1]\n      3: receive message 5 dst run@64+13 after [0]\n      4: map program 8 first 0 count 4 values [4] spans [run@192+13]\n      5: send message 9 src run@192+13 after [4]", "      2: map program 5 first 0 count 4 values [2, 4] spans [deploy@0+16, run@0+16, run@128+13] after [0]\n      3: send message 6 src run@128+13 after [2]\n      4: map program 8 first 0 count 4 values [4] spans [run@192+13] after [1]\n      5: send message 9 src run@192+13 after [4]"), ("send message 5 src run@64+13 after [1]\n      3: receive message 6 dst run@128+13", "receive message 6 dst run@128+13\n      3: send message 5 src run@64+13 after [1, 2]"), ("spans [run@64+13, run@128+13, run@192+13] after [1, 3]", "spans [run@64+13, run@128+13, run@192+13] after [1, 2]")]), @"P0, online step 2: waits for ever: what it needs is never done");
    }
}
