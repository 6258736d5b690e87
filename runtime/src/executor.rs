//! Runs the steps of one phase of one role: no I/O, any number of compute threads.
//!
//! A step is ready when the steps before it are done and, for a `Receive`, its message is here. Ready
//! steps run in order of priority. Threads call [`Executor::work`]; whoever moves messages calls
//! [`Executor::deliver`] and provides an [`Outbox`]. The same code runs under the simulator, over TCP and
//! from a store. Results do not depend on order: steps that share a buffer are ordered by the plan.

use crate::arena::Memory;
use crate::error::{PeerError, RunError};
use crate::kernels::Scratch;
use crate::mailbox::BACKLOG;
use crate::mask::Masks;
use crate::packet::{Counts, Packet};
use crate::role::RoleState;
use crate::trace::{Clock, PhaseTrace, Recorder};
use mpcc_ir::plan::{MessageKind, Phase, Step, StepOp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Takes messages away from the executor.
pub trait Outbox: Sync {
    /// Takes one message. May block the calling compute thread to slow it down, but not for ever.
    ///
    /// # Errors
    /// Where the receiver is gone.
    fn send(&self, packet: Packet) -> Result<(), RunError>;
}

/// When [`Executor::work`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// As soon as no step can go on without a message.
    Idle,
    /// When all steps are done, or a message has not come for this long (`None`: waits for ever).
    /// The wait for the first message of an online phase has no limit: nobody may want a run.
    Done(Option<Duration>),
}

/// One phase in execution.
pub struct Executor {
    role: Arc<RoleState>,
    phase: Phase,
    run: u64,
    memory: Memory,
    masks: Masks,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    missing: Vec<u32>,
    depth: Vec<u32>,
    ready: BinaryHeap<Reverse<(u32, u32)>>,
    arrived: BTreeMap<u32, Option<Vec<u8>>>,
    /// Bytes in `arrived`.
    backlog: u64,
    running: usize,
    left: usize,
    failed: Option<RunError>,
    counts: Counts,
    started: Instant,
    ended: Option<Instant>,
    recorder: Option<Recorder>,
}

impl Executor {
    pub(crate) fn new(
        role: Arc<RoleState>,
        phase: Phase,
        run: u64,
        memory: Memory,
        masks: Masks,
    ) -> Self {
        let missing = role.schedule(phase).missing.clone();
        let mut state = State {
            depth: vec![0; missing.len()],
            ready: BinaryHeap::new(),
            arrived: BTreeMap::new(),
            backlog: 0,
            running: 0,
            left: missing.len(),
            failed: None,
            counts: Counts::default(),
            started: Instant::now(),
            ended: None,
            recorder: None,
            missing,
        };
        for (at, step) in role.steps(phase).iter().enumerate() {
            if state.missing[at] == 0 {
                state.ready.push(Reverse((step.priority, at as u32)));
            }
        }
        Self { role, phase, run, memory, masks, state: Mutex::new(state), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The phase that this executor runs.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The run that this executor belongs to.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.lock().left == 0
    }

    /// Whether many messages wait for threads that have other work: more would only take memory.
    pub(crate) fn is_behind(&self) -> bool {
        let state = self.lock();
        state.backlog > BACKLOG && (state.running > 0 || !state.ready.is_empty())
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Time from the start of the phase, or from the first message of an online phase, to its end.
    pub fn elapsed(&self) -> Duration {
        let state = self.lock();
        state.ended.unwrap_or_else(Instant::now).saturating_duration_since(state.started)
    }

    /// Records when each step is executed and each message comes and goes. To be called before anything happens.
    pub fn record(&self, clock: Clock) {
        let mut state = self.lock();
        state.recorder = Some(Recorder::new(clock, self.role.steps(self.phase).len()));
    }

    /// What was recorded so far, if it was asked for.
    pub fn trace(&self) -> Option<PhaseTrace> {
        let steps = self.role.steps(self.phase);
        let message = |at: usize| {
            if let StepOp::Send { message, .. } = steps[at].op {
                return Some((message, false));
            }
            let StepOp::Receive { message, .. } = steps[at].op else { return None };
            Some((message, true))
        };
        let state = self.lock();
        state.recorder.as_ref().map(|recorder| recorder.finish(self.phase, message))
    }

    /// Stops all work; the first error wins and is what [`Executor::work`] returns.
    pub fn fail(&self, error: RunError) {
        let mut state = self.lock();
        state.failed.get_or_insert(error);
        drop(state);
        self.wake.notify_all();
    }

    /// Accepts a message. One that comes before its step's turn waits here: at most once per message of
    /// the plan and of exactly its length, so a peer cannot fill the memory.
    ///
    /// # Errors
    /// [`RunError::Peer`] for a message that the plan does not have for this role and phase, or a second copy.
    pub fn deliver(&self, packet: Packet) -> Result<(), RunError> {
        self.deliver_late(packet, None)
    }

    /// As [`Executor::deliver`], for a message that has been here since `arrived`.
    pub(crate) fn deliver_late(
        &self,
        packet: Packet,
        arrived: Option<Instant>,
    ) -> Result<(), RunError> {
        let name = self.role.role();
        let peer = |source| RunError::Peer { role: name, source };
        packet.check(self.role.plan(), name).map_err(peer)?;
        let message = packet.message;
        let receives = &self.role.schedule(self.phase).receives;
        let Some(&step) = receives.get(&message).filter(|_| packet.phase == self.phase) else {
            return Err(peer(PeerError::UnknownMessage { message }));
        };
        let mut state = self.lock();
        if self.phase == Phase::Online && state.arrived.is_empty() {
            // Before that, the online phase only waited for somebody to want a run.
            state.started = Instant::now();
        }
        state.backlog += packet.payload.len() as u64;
        if state.arrived.insert(message, Some(packet.payload)).is_some() {
            return Err(peer(PeerError::Twice { message }));
        }
        state.counts.count_depth(packet.phase, packet.depth);
        if let Some(recorder) = &mut state.recorder {
            recorder.message(step as usize, arrived.unwrap_or_else(Instant::now));
        }
        self.arrive(&mut state, step as usize, packet.depth);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// One of the events that `step` waits for has happened.
    fn arrive(&self, state: &mut State, step: usize, depth: u32) {
        state.depth[step] = state.depth[step].max(depth);
        state.missing[step] -= 1;
        if state.missing[step] == 0 {
            let priority = self.role.steps(self.phase)[step].priority;
            state.ready.push(Reverse((priority, step as u32)));
        }
    }

    /// Runs ready steps on the calling thread; several threads, told apart by number, may call this at once.
    ///
    /// # Errors
    /// The first error of any thread, or [`RunError::Stalled`] where a message does not come in time.
    pub fn work(
        &self,
        until: Until,
        thread: u16,
        scratch: &mut Scratch,
        outbox: &dyn Outbox,
    ) -> Result<(), RunError> {
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            if state.left == 0 {
                return Ok(());
            }
            if let Some(Reverse((_, at))) = state.ready.pop() {
                state = self.execute(state, at as usize, thread, scratch, outbox);
                continue;
            }
            if state.running == 0 && self.nothing_comes(&state) {
                state.failed =
                    Some(RunError::Deadlock { role: self.role.role(), phase: self.phase });
                self.wake.notify_all();
                continue;
            }
            match until {
                Until::Idle if state.running == 0 => {
                    self.wake.notify_all();
                    return Ok(());
                }
                Until::Idle => state = self.wait(state, None).0,
                Until::Done(limit) => {
                    let (woken, late) = self.wait(state, limit);
                    state = woken;
                    let begun = self.phase != Phase::Online || !state.arrived.is_empty();
                    if late && begun && state.running == 0 && state.ready.is_empty() {
                        state.failed = self.stalled(&state);
                        self.wake.notify_all();
                    }
                }
            }
        }
    }

    /// Waits for an event, at most for `limit`; says whether that passed.
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Option<Duration>,
    ) -> (MutexGuard<'a, State>, bool) {
        let start = Instant::now();
        let (mut state, late) = if let Some(limit) = limit {
            let (state, timeout) =
                self.wake.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
            (state, timeout.timed_out())
        } else {
            (self.wake.wait(state).unwrap_or_else(PoisonError::into_inner), false)
        };
        state.counts.wait_ns += start.elapsed().as_nanos() as u64;
        (state, late)
    }

    /// Executes one step without the lock and wakes those that waited for it.
    fn execute<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        at: usize,
        thread: u16,
        scratch: &mut Scratch,
        outbox: &dyn Outbox,
    ) -> MutexGuard<'a, State> {
        let step = &self.role.steps(self.phase)[at];
        let depth = state.depth[at] + self.opens(step);
        let payload = if let StepOp::Receive { message, .. } = step.op {
            state.arrived.get_mut(&message).and_then(Option::take)
        } else {
            None
        };
        state.backlog -= payload.as_ref().map_or(0, |payload| payload.len() as u64);
        state.running += 1;
        let mut handed = Handed { wanted: state.recorder.is_some(), at: None };
        drop(state);
        let start = Instant::now();
        let lost = LostThread(self);
        let done = self.step(step, depth, payload, scratch, outbox, &mut handed);
        std::mem::forget(lost);
        let busy = start.elapsed();

        let mut state = self.lock();
        state.running -= 1;
        state.counts.busy_ns += busy.as_nanos() as u64;
        if let Some(recorder) = &mut state.recorder {
            recorder.step(at, thread, start, busy);
            if let Some(handed) = handed.at {
                recorder.message(at, handed);
            }
        }
        if let Err(error) = done {
            state.failed.get_or_insert(error);
            self.wake.notify_all();
            return state;
        }
        if let StepOp::Send { message, .. } = step.op {
            state.counts.count_sent(&self.role.plan().messages[message as usize], depth);
        }
        state.left -= 1;
        if state.left == 0 {
            state.ended = Some(Instant::now());
        }
        for &next in self.role.schedule(self.phase).dependents(at) {
            // The depth of what the step saw: its own opening is on the wire, not in its buffers.
            let seen = depth - self.opens(step);
            self.arrive(&mut state, next as usize, seen);
        }
        if state.left == 0 || state.ready.len() > 1 || state.running == 0 {
            self.wake.notify_all();
        }
        state
    }

    /// 1 for the sending of an opening.
    fn opens(&self, step: &Step) -> u32 {
        let StepOp::Send { message, .. } = step.op else { return 0 };
        u32::from(self.role.plan().messages[message as usize].kind == MessageKind::Open)
    }

    fn step(
        &self,
        step: &Step,
        depth: u32,
        payload: Option<Vec<u8>>,
        scratch: &mut Scratch,
        outbox: &dyn Outbox,
        handed: &mut Handed,
    ) -> Result<(), RunError> {
        let sent = self.role.execute(&self.memory, &self.masks, &step.op, payload, scratch)?;
        let (Some(payload), &StepOp::Send { message, .. }) = (sent, &step.op) else {
            return Ok(());
        };
        let info = &self.role.plan().messages[message as usize];
        let (from, to) = (info.from, info.to);
        let (phase, run) = (self.phase, self.run);
        handed.at = handed.wanted.then(Instant::now);
        outbox.send(Packet { from, to, phase, run, message, depth, payload })
    }

    /// Whether all messages of the phase are here, so that waiting for one is pointless.
    fn nothing_comes(&self, state: &State) -> bool {
        state.ready.is_empty()
            && state.arrived.len() == self.role.schedule(self.phase).receives.len()
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

/// When a message was handed to the outbox, where a recorder wants to know.
struct Handed {
    wanted: bool,
    at: Option<Instant>,
}

/// Tells the other threads when a kernel panics, so that they do not wait for its step.
struct LostThread<'a>(&'a Executor);

impl Drop for LostThread<'_> {
    fn drop(&mut self) {
        self.0.fail(RunError::ThreadLost { role: self.0.role.role() });
    }
}

/// Works on `executor` with `scratch.len()` threads, the calling one included.
///
/// # Errors
/// As [`Executor::work`].
pub fn work_on(
    executor: &Executor,
    until: Until,
    scratch: &mut [Scratch],
    outbox: &dyn Outbox,
) -> Result<(), RunError> {
    let threads = scratch.len();
    let Some((own, others)) = scratch.split_first_mut() else { return Ok(()) };
    std::thread::scope(|scope| {
        let start = |(scratch, thread)| {
            let work = move || executor.work(until, thread, scratch, outbox);
            std::thread::Builder::new().spawn_scoped(scope, work)
        };
        let helpers: Vec<_> =
            others.iter_mut().zip(1..).map_while(|other| start(other).ok()).collect();
        if helpers.len() + 1 < threads {
            executor.fail(RunError::Threads { role: executor.role.role(), threads });
        }
        let mut result = executor.work(until, 0, own, outbox);
        for helper in helpers {
            let lost = RunError::ThreadLost { role: executor.role.role() };
            result = result.and(helper.join().unwrap_or(Err(lost)));
        }
        result
    })
}
