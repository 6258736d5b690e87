//! An order in which all roles get all their steps done, so that none waits for ever.

use super::messages::end;
use super::{PlanError, Rule, at_step};
use crate::plan::{Phase, Plan, Step};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A step of a role, by its place in the plan's list of roles.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) role: usize,
    pub(super) step: u32,
}

/// Runs all roles in the abstract, through one phase: a step is done when those it is `after` are, a receive also needs
/// its message. What clients and owners send needs the mask it is made of (`sources`).
///
/// Each role's steps come near to their order in the plan; messages may ask for another one.
///
/// # Errors
/// Names the first step of a role that is never done.
pub(super) fn turns(plan: &Plan, sources: &[u32], phase: Phase) -> Result<Vec<Turn>, PlanError> {
    let mut roles = Vec::with_capacity(plan.roles.len());
    for role in &plan.roles {
        let steps = role.steps(phase);
        for (at, step) in steps.iter().enumerate() {
            if let Some(&after) = step.after.iter().find(|&&before| before as usize >= at) {
                return Err(at_step(role.role, phase, at)(Rule::After { after }));
            }
        }
        roles.push(Progress::new(steps));
    }
    let mut receivers = receivers(plan, sources, phase, &mut roles);
    let mut ready = BinaryHeap::new();
    for (role, progress) in roles.iter().enumerate() {
        ready.extend(progress.ready().map(|at| Reverse((at, role))));
    }
    let mut turns = Vec::new();
    while let Some(Reverse((step, role))) = ready.pop() {
        turns.push(Turn { role, step });
        let next = std::mem::take(&mut roles[role].next[step as usize]);
        let arrived = match end(&plan.roles[role].steps(phase)[step as usize].op) {
            Some((id, true)) => std::mem::take(&mut receivers[id as usize]),
            Some((_, false)) | None => Vec::new(),
        };
        for (role, at) in next.into_iter().map(|at| (role, at)).chain(arrived) {
            if roles[role].less(at) {
                ready.push(Reverse((at, role)));
            }
        }
    }
    for (role, progress) in plan.roles.iter().zip(&roles) {
        if let Some(step) = progress.missing.iter().position(|&n| n > 0) {
            return Err(at_step(role.role, phase, step)(Rule::Deadlock));
        }
    }
    Ok(turns)
}

/// Per message, the receives that wait for it in this phase.
fn receivers(
    plan: &Plan,
    sources: &[u32],
    phase: Phase,
    roles: &mut [Progress],
) -> Vec<Vec<(usize, u32)>> {
    let mut receivers = vec![Vec::new(); plan.messages.len()];
    for (role, planned) in plan.roles.iter().enumerate() {
        for (at, step) in planned.steps(phase).iter().enumerate() {
            let Some((id, false)) = end(&step.op) else { continue };
            let source = sources[id as usize] as usize;
            let message = &plan.messages[source];
            if message.phase == phase && plan.role(message.from).is_some() {
                receivers[source].push((role, at as u32));
                roles[role].missing[at] += 1;
            }
        }
    }
    receivers
}

/// What is left to do of one role's phase.
struct Progress {
    /// Per step, how many things it waits for.
    missing: Vec<u32>,
    /// Per step, which steps wait for it.
    next: Vec<Vec<u32>>,
}

impl Progress {
    fn new(steps: &[Step]) -> Self {
        let mut next = vec![Vec::new(); steps.len()];
        for (at, step) in steps.iter().enumerate() {
            for &before in &step.after {
                next[before as usize].push(at as u32);
            }
        }
        Self { missing: steps.iter().map(|s| s.after.len() as u32).collect(), next }
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
    fn after_points_back() {
        assert_snapshot!(broken(&[("send message 5 src run@64+13 after [1]", "send message 5 src run@64+13 after [2]")]), @"P0, online step 2: is listed after step 2, which is not an earlier step");
    }

    #[test]
    fn nobody_waits_for_ever() {
        assert_snapshot!(broken(&[("      0: receive message 2 dst run@64+16\n", "      0: receive message 5 dst run@64+13\n      1: receive message 2 dst run@192+16\n"), ("      1: map program 5 first 0 count 4 values [2, 4] spans [deploy@0+16, run@0+16, run@128+13]\n      2: send message 6 src run@128+13 after [1]\n      3: receive message 5 dst run@64+13 after [0]\n      4: map program 8 first 0 count 4 values [4] spans [run@192+13]\n      5: send message 9 src run@192+13 after [4]", "      2: map program 5 first 0 count 4 values [2, 4] spans [deploy@0+16, run@0+16, run@128+13] after [0]\n      3: send message 6 src run@128+13 after [2]\n      4: map program 8 first 0 count 4 values [4] spans [run@192+13] after [1]\n      5: send message 9 src run@192+13 after [4]"), ("send message 5 src run@64+13 after [1]\n      3: receive message 6 dst run@128+13", "receive message 6 dst run@128+13\n      3: send message 5 src run@64+13 after [1, 2]"), ("spans [run@64+13, run@128+13, run@192+13] after [1, 3]", "spans [run@64+13, run@128+13, run@192+13] after [1, 2]")]), @"P0, online step 2: waits for ever: what it needs is never done");
    }
}
