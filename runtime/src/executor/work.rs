//! A compute thread at a step.

use super::Executor;
use crate::error::RunError;
use crate::kernels::Scratch;
use crate::packet::{Envelope, Packet};
use crate::payload::Payload;
use mpcc_ir::plan::{Step, StepOp};
use std::cmp::Reverse;
use std::time::Instant;

/// Takes messages away from the executor.
pub trait Outbox: Sync {
    /// Takes one message. May block the calling compute thread to slow it down, but not for ever.
    ///
    /// # Errors
    /// Where the receiver is gone.
    fn send(&self, packet: Packet) -> Result<(), RunError>;

    /// As [`Outbox::send`] with a copy of `payload`, for who may be able to do without one.
    ///
    /// # Errors
    /// Where the receiver is gone.
    fn send_from(&self, envelope: Envelope, payload: &[u8]) -> Result<(), RunError> {
        self.send(Packet::new(envelope, Payload::copy_of(payload)))
    }
}

/// A step to execute, with what it needs of the state.
pub(crate) struct Task {
    at: usize,
    depth: u32,
    payload: Option<Payload>,
    timed: bool,
}

impl Executor {
    /// The first of the ready steps, which the caller then must [`execute`](Self::execute).
    pub(crate) fn take_step(&self) -> Option<Task> {
        let mut state = self.lock();
        if state.is_over() {
            return None;
        }
        let Some(Reverse((_, at))) = state.ready.pop() else {
            if state.running == 0 && self.nothing_comes(&state) {
                let (role, phase) = (self.role.role(), self.phase);
                state.failed = Some(RunError::Deadlock { role, phase });
                self.over.notify_all();
            }
            return None;
        };
        state.running += 1;
        let at = at as usize;
        let step = &self.role.steps(self.phase)[at];
        let mut payload = None;
        if let StepOp::Receive { message, .. } = step.op {
            payload = state.arrived.get_mut(&message).and_then(Option::take);
            let from = self.role.plan().messages[message as usize].from;
            let taken = payload.as_ref().map_or(0, |payload| payload.len() as u64);
            if let Some(backlog) = state.backlog.get_mut(&from) {
                *backlog -= taken;
            }
        }
        let depth = state.depth[at] + self.opens(step);
        Some(Task { at, depth, payload, timed: state.recorder.is_some() })
    }

    /// Executes a step without the lock; says whether other threads may have something to do now.
    pub(crate) fn execute(
        &self,
        task: Task,
        thread: u16,
        scratch: &mut Scratch,
        outbox: &dyn Outbox,
    ) -> bool {
        let Task { at, depth, payload, timed } = task;
        let step = &self.role.steps(self.phase)[at];
        let mut handed = Handed { wanted: timed, at: None };
        let start = Instant::now();
        let lost = LostThread(self);
        let done = self.step(step, depth, payload, scratch, outbox, &mut handed);
        std::mem::forget(lost);
        let busy = start.elapsed();

        let mut state = self.lock();
        state.running -= 1;
        state.last_event = start + busy;
        state.counts.busy_ns += busy.as_nanos() as u64;
        if let Some(recorder) = &mut state.recorder {
            recorder.step(at, thread, start, busy);
            if let Some(handed) = handed.at {
                recorder.message(at, handed);
            }
        }
        if let Err(error) = done {
            state.failed.get_or_insert(error);
        } else {
            self.complete(&mut state, at, depth);
        }
        self.tell_if_over(&state);
        let others = state.ready.len() > 1 || !state.followers.is_empty();
        state.is_over() || others || state.running == 0
    }

    fn step(
        &self,
        step: &Step,
        depth: u32,
        payload: Option<Payload>,
        scratch: &mut Scratch,
        outbox: &dyn Outbox,
        handed: &mut Handed,
    ) -> Result<(), RunError> {
        let StepOp::Send { message, src } = step.op else {
            let _computing = self.role.pool().computing();
            return self.role.execute(&self.memory, &self.masks, &step.op, payload, scratch);
        };
        let info = &self.role.plan().messages[message as usize];
        let (from, to, phase, run) = (info.from, info.to, self.phase, self.run);
        let envelope = Envelope { from, to, phase, run, message, depth, bytes: src.len };
        handed.at = handed.wanted.then(Instant::now);
        let sent = self.memory.read(src, |bytes| outbox.send_from(envelope, bytes));
        sent.unwrap_or_else(|error| Err(self.role.place(&step.op, error)))
    }
}

/// When a message was handed to the outbox, where a recorder wants to know.
struct Handed {
    wanted: bool,
    at: Option<Instant>,
}

/// Ends all phases when a kernel panics, as nobody will finish its step.
struct LostThread<'a>(&'a Executor);

impl Drop for LostThread<'_> {
    fn drop(&mut self) {
        let role = &self.0.role;
        self.0.lock().running -= 1;
        role.pool().fail(&RunError::ThreadLost { role: role.role() });
    }
}
