//! What a phase waits for, and since when.

use super::{Executor, State};
use crate::error::RunError;
use mpcc_ir::plan::Phase;
use std::time::{Duration, Instant};

impl Executor {
    /// Whether the phase can only go on with a message.
    pub(crate) fn is_waiting(&self) -> bool {
        self.lock().waits()
    }

    /// From now on the first message of an online phase is late as others are.
    pub(crate) fn expect(&self) {
        let mut state = self.lock();
        (state.expected, state.last_event) = (true, Instant::now());
        drop(state);
        self.role.pool().wake_one();
    }

    /// When something happened last; `None` before an online phase has begun that nobody may want.
    pub(crate) fn last_event(&self) -> Option<Instant> {
        let state = self.lock();
        let begun = self.phase != Phase::Online || state.expected || !state.arrived.is_empty();
        begun.then_some(state.last_event)
    }

    /// What this phase waited for came nearer: one before it is over, or more of a message is here.
    pub(crate) fn touch(&self) {
        self.lock().last_event = Instant::now();
    }

    /// A thread had nothing to do for this long, and the phase was the one that it waited for.
    pub(crate) fn count_wait(&self, wait: Duration) {
        self.lock().counts.wait_ns += wait.as_nanos() as u64;
    }

    /// Gives up if the phase still waits for a message.
    pub(crate) fn give_up(&self) {
        let mut state = self.lock();
        if state.waits() {
            state.failed = self.stalled(&state);
            self.over.notify_all();
        }
    }

    fn stalled(&self, state: &State) -> Option<RunError> {
        let receives = &self.role.schedule(self.phase).receives;
        // Of the messages that are not here, one that a step waits for now.
        let missing = |m: &&u32| !state.arrived.contains_key(m);
        let late = |m: &&u32| state.missing[receives[*m] as usize] == 1;
        let mut absent = receives.keys().filter(missing);
        let message = *absent.clone().find(late).or_else(|| absent.next())?;
        let info = &self.role.plan().messages[message as usize];
        let (role, phase, kind, from) = (self.role.role(), self.phase, info.kind, info.from);
        Some(RunError::Stalled { role, phase, message, kind, from })
    }

    /// The message that this phase waits for, if it is not done.
    pub fn waiting_for(&self) -> Option<RunError> {
        self.stalled(&self.lock())
    }
}
