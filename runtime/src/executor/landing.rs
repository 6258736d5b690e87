//! Messages that go from the network to their place without a stop in between.
//!
//! A `Receive` copies its payload into a buffer of the arena. Where it waits for nothing but the message, whoever
//! reads from the network can as well put the bytes there: no memory for the payload, no copy, no compute thread. As
//! with any step, its buffer is held while it is written, and no longer: a message may take its time, and a phase that
//! is called off in the middle ends without it.

use super::Executor;
use crate::packet::Envelope;
use mpcc_ir::plan::{Span, StepOp};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A message on its way into its buffer.
pub struct Landing {
    executor: Arc<Executor>,
    envelope: Envelope,
    step: usize,
    /// What is still to come.
    rest: Span,
    /// Bytes since somebody noted that the message is on its way.
    unnoted: u64,
}

/// A message is no later for so many bytes that come, but fewer do not hold a run up for ever.
const NOTED: u64 = 64 << 10;

/// The phase is over: nobody wants the rest of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwanted;

impl Executor {
    /// The place of a message that its step waits for, and for nothing else. `None` where it has to be delivered, and
    /// for whatever does not belong to the plan, which is refused then.
    pub fn landing(self: &Arc<Self>, envelope: Envelope) -> Option<Landing> {
        envelope.check(self.role.plan(), self.role.role()).ok()?;
        let receives = &self.role.schedule(self.phase).receives;
        let step =
            *receives.get(&envelope.message).filter(|_| envelope.phase == self.phase)? as usize;
        let StepOp::Receive { dst, .. } = self.role.steps(self.phase)[step].op else { return None };
        let mut state = self.lock();
        let free = state.missing[step] == 1 && !state.arrived.contains_key(&envelope.message);
        if !free || state.is_over() || !state.landing.insert(envelope.message) {
            return None;
        }
        Some(Landing { executor: Arc::clone(self), envelope, step, rest: dst, unnoted: 0 })
    }
}

impl Landing {
    /// Bytes that are still to come.
    pub fn left(&self) -> u64 {
        self.rest.len
    }

    /// Has `read` write the next bytes, as many as it returns; not after the last.
    ///
    /// # Errors
    /// [`Unwanted`] where the phase is over.
    pub fn put<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, Unwanted> {
        let running = Running::begin(&self.executor).ok_or(Unwanted)?;
        let done = self.executor.memory.write(self.rest, read);
        drop(running);
        let done = done.map_err(|error| {
            let op = &self.executor.role.steps(self.executor.phase)[self.step].op;
            self.executor.fail(self.executor.role.place(op, error));
            Unwanted
        })?;
        let put = done.as_ref().map_or(0, |&put| (put as u64).min(self.rest.len));
        self.rest.at += put;
        self.rest.len -= put;
        self.unnoted += put;
        if self.unnoted >= NOTED {
            self.unnoted = 0;
            self.executor.touch();
        }
        Ok(done)
    }

    /// The whole message is in place: its step is done.
    pub fn finish(self) {
        let Envelope { message, phase, depth, .. } = self.envelope;
        let (executor, step, now) = (&self.executor, self.step, Instant::now());
        let mut state = executor.lock();
        if self.rest.len > 0 || state.is_over() {
            return;
        }
        executor.note_arrival(&mut state, now);
        state.landing.remove(&message);
        state.arrived.insert(message, None);
        state.counts.count_depth(phase, depth);
        if let Some(recorder) = &mut state.recorder {
            recorder.message(step, now);
            recorder.step(step, 0, now, Duration::ZERO);
        }
        state.missing[step] = 0;
        let depth = state.depth[step].max(depth);
        executor.complete(&mut state, step, depth);
        executor.tell_if_over(&state);
        // Phases of runs may go on when the setup does.
        let ready = state.ready.len() + state.followers.len();
        drop(state);
        executor.role.pool().wake(ready);
    }
}

/// Counts as a thread at a step, so that nobody else gets the arena, until dropped.
struct Running<'a>(&'a Executor);

impl<'a> Running<'a> {
    /// `None` when the phase is over.
    fn begin(executor: &'a Executor) -> Option<Self> {
        let mut state = executor.lock();
        if state.is_over() {
            return None;
        }
        state.running += 1;
        Some(Self(executor))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        self.0.tell_if_over(&state);
    }
}
