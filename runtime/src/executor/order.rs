//! Which step may go: events count down what each waits for.

use super::{Executor, State};
use mpcc_ir::plan::{MessageKind, Step, StepOp};
use std::cmp::Reverse;
use std::sync::{Arc, Weak};
use std::time::Instant;

impl Executor {
    /// 1 for the sending of an opening.
    pub(super) fn opens(&self, step: &Step) -> u32 {
        let StepOp::Send { message, .. } = step.op else { return 0 };
        u32::from(self.role.plan().messages[message as usize].kind == MessageKind::Open)
    }

    /// One of the events that `step` waits for has happened.
    pub(super) fn arrive(&self, state: &mut State, step: usize, depth: u32) {
        state.depth[step] = state.depth[step].max(depth);
        state.missing[step] -= 1;
        if state.missing[step] == 0 {
            let priority = self.role.steps(self.phase)[step].priority;
            state.ready.push(Reverse((priority, step as u32)));
        }
    }

    /// Has steps wait for those of the setup whose results they use, as far as these are not done. To be called
    /// before anything happens.
    pub(crate) fn follow(self: &Arc<Self>, setup: &Self) {
        let (mut before, mut state) = (setup.lock(), self.lock());
        let State { missing, awaited, ready, .. } = &mut *state;
        let schedule = self.role.schedule(self.phase);
        for (step, _) in before.done.iter().enumerate().filter(|(_, done)| !**done) {
            let next = schedule.dependents_of_setup(step);
            *awaited += next.len();
            for &next in next {
                missing[next as usize] += 1;
            }
        }
        ready.retain(|Reverse((_, at))| missing[*at as usize] == 0);
        if *awaited > 0 {
            before.followers.push(Arc::downgrade(self));
        }
    }

    /// `before` of the setup is done.
    fn release(&self, before: usize) {
        let mut state = self.lock();
        for &step in self.role.schedule(self.phase).dependents_of_setup(before) {
            state.awaited -= 1;
            state.last_event = Instant::now();
            // Chains of openings are those of a run.
            self.arrive(&mut state, step as usize, 0);
        }
    }

    /// `at` is done, which other steps waited for.
    pub(super) fn complete(&self, state: &mut State, at: usize, depth: u32) {
        let step = &self.role.steps(self.phase)[at];
        if let StepOp::Send { message, .. } = step.op {
            state.counts.count_sent(&self.role.plan().messages[message as usize], depth);
        }
        state.done[at] = true;
        state.left -= 1;
        if state.left == 0 {
            state.ended = Some(Instant::now());
        }
        for follower in state.followers.iter().filter_map(Weak::upgrade) {
            follower.release(at);
        }
        for &next in self.role.schedule(self.phase).dependents(at) {
            // The depth of what the step saw: its own opening is on the wire, not in its buffers.
            let seen = depth - self.opens(step);
            self.arrive(state, next as usize, seen);
        }
    }
}
