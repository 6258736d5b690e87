//! Runs the steps of one phase of one role: no I/O, any number of compute threads.
//!
//! A step is ready when the steps before it are done and, for a `Receive`, its message is here. Ready
//! steps run in order of priority. A [`crate::pool::Pool`] has the threads; whoever moves messages calls
//! [`Executor::deliver`] and provides an [`Outbox`]. The same code runs under the simulator, over TCP and
//! from a store. Results do not depend on order: steps that share a buffer are ordered by the plan.
//!
//! A run may begin before the setup is over: its steps wait for those of the setup whose results they read. So
//! weights are on their way while products of the layers before them are computed.

mod landing;

pub use landing::{Landing, Unwanted};

use crate::arena::Memory;
use crate::error::{PeerError, RunError};
use crate::kernels::Scratch;
use crate::mask::Masks;
use crate::packet::{Counts, Envelope, Packet};
use crate::payload::Payload;
use crate::role::RoleState;
use crate::trace::{Clock, PhaseTrace, Recorder};
use mpcc_ir::plan::{MessageKind, Phase, Role, Step, StepOp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

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

/// One phase in execution.
pub struct Executor {
    role: Arc<RoleState>,
    phase: Phase,
    run: u64,
    /// The run itself; of the setup, the first run that it is needed for.
    first_run: u64,
    memory: Memory,
    masks: Masks,
    state: Mutex<State>,
    over: Condvar,
}

struct State {
    missing: Vec<u32>,
    done: Vec<bool>,
    /// Events of the setup that steps still wait for.
    awaited: usize,
    /// Phases of runs with steps that wait for those of this one, which is the setup.
    followers: Vec<Weak<Executor>>,
    depth: Vec<u32>,
    ready: BinaryHeap<Reverse<(u32, u32)>>,
    arrived: BTreeMap<u32, Option<Payload>>,
    /// Messages that are on their way into their buffers.
    landing: BTreeSet<u32>,
    /// Bytes in `arrived`, by sender.
    backlog: BTreeMap<Role, u64>,
    running: usize,
    left: usize,
    failed: Option<RunError>,
    counts: Counts,
    started: Instant,
    /// When a message came or a step was done.
    last_event: Instant,
    /// Somebody has been told to send the first message of an online phase.
    expected: bool,
    ended: Option<Instant>,
    recorder: Option<Recorder>,
}

impl State {
    /// All steps are done, or no further one will be.
    fn is_over(&self) -> bool {
        self.left == 0 || self.failed.is_some()
    }

    /// Nothing can be done before a message comes. Where the setup is not over, its phase is the one that waits.
    fn waits(&self) -> bool {
        !self.is_over() && self.running == 0 && self.ready.is_empty() && self.awaited == 0
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
    pub(crate) fn new(
        role: Arc<RoleState>,
        phase: Phase,
        run: u64,
        memory: Memory,
        masks: Masks,
    ) -> Self {
        let (missing, now) = (role.schedule(phase).missing.clone(), Instant::now());
        let mut state = State {
            done: vec![false; missing.len()],
            awaited: 0,
            followers: Vec::new(),
            depth: vec![0; missing.len()],
            ready: BinaryHeap::new(),
            arrived: BTreeMap::new(),
            landing: BTreeSet::new(),
            backlog: BTreeMap::new(),
            running: 0,
            left: missing.len(),
            failed: None,
            counts: Counts::default(),
            started: now,
            last_event: now,
            expected: false,
            ended: None,
            recorder: None,
            missing,
        };
        for (at, step) in role.steps(phase).iter().enumerate() {
            if state.missing[at] == 0 {
                state.ready.push(Reverse((step.priority, at as u32)));
            }
        }
        let (first_run, run) = (run, if phase == Phase::Setup { 0 } else { run });
        let (state, over) = (Mutex::new(state), Condvar::new());
        Self { role, phase, run, first_run, memory, masks, state, over }
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

    /// The role that it belongs to.
    pub(crate) fn role(&self) -> &RoleState {
        &self.role
    }

    /// Online phases before offline ones, then the oldest run: so somebody who waits for a result gets it as soon
    /// as if there were no others. The setup comes behind the first run's offline phase, which cannot go on without it,
    /// and before those of later runs.
    pub(crate) fn urgency(&self) -> impl Ord + use<> {
        (self.phase != Phase::Online, self.first_run, self.phase == Phase::Setup)
    }

    /// Bytes of messages from `sender` that no step has taken yet.
    pub(crate) fn backlog(&self, sender: Role) -> u64 {
        self.lock().backlog.get(&sender).copied().unwrap_or(0)
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
        state.recorder.as_ref().map(|recorder| recorder.finish((self.run, self.phase), message))
    }

    /// Starts no further step; the first error wins and is what [`Executor::wait`] returns.
    pub fn fail(&self, error: RunError) {
        self.lock().failed.get_or_insert(error);
        self.over.notify_all();
    }

    /// The error that ended the phase, if one did.
    pub fn failure(&self) -> Option<RunError> {
        self.lock().failed.clone()
    }

    /// Waits until the phase is over, well or not, and no thread is at one of its steps.
    ///
    /// # Errors
    /// What ended it early; [`RunError::Stalled`] where a message did not come in time.
    pub fn wait(&self) -> Result<(), RunError> {
        let mut state = self.lock();
        while state.running > 0 || !state.is_over() {
            state = self.over.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.clone().map_or(Ok(()), Err)
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
        if state.landing.contains(&message) {
            return Err(peer(PeerError::Twice { message }));
        }
        self.note_arrival(&mut state, Instant::now());
        *state.backlog.entry(packet.from).or_default() += packet.payload.len() as u64;
        if state.arrived.insert(message, Some(packet.payload)).is_some() {
            return Err(peer(PeerError::Twice { message }));
        }
        state.counts.count_depth(packet.phase, packet.depth);
        if let Some(recorder) = &mut state.recorder {
            recorder.message(step as usize, arrived.unwrap_or_else(Instant::now));
        }
        self.arrive(&mut state, step as usize, packet.depth);
        drop(state);
        self.role.pool().wake_one();
        Ok(())
    }

    /// A message is here.
    fn note_arrival(&self, state: &mut State, now: Instant) {
        if self.phase == Phase::Online && state.arrived.is_empty() {
            // Before that, the online phase only waited for somebody to want a run.
            state.started = now;
        }
        state.last_event = now;
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

    /// Wakes who waits for the end of the phase, if this is it.
    fn tell_if_over(&self, state: &State) {
        if state.is_over() && state.running == 0 {
            self.over.notify_all();
        }
    }

    /// `at` is done, which other steps waited for.
    fn complete(&self, state: &mut State, at: usize, depth: u32) {
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

    /// Whether a thread is at a step.
    pub(crate) fn is_running(&self) -> bool {
        self.lock().running > 0
    }

    /// Whether all steps are done, or the phase has failed.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    /// A thread had nothing to do for this long, and the phase was the one that it waited for.
    pub(crate) fn count_wait(&self, wait: Duration) {
        self.lock().counts.wait_ns += wait.as_nanos() as u64;
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

    /// A phase that this one waited behind is over.
    pub(crate) fn touch(&self) {
        self.lock().last_event = Instant::now();
    }

    /// Gives up if the phase still waits for a message.
    pub(crate) fn give_up(&self) {
        let mut state = self.lock();
        if state.waits() {
            state.failed = self.stalled(&state);
            self.over.notify_all();
        }
    }

    /// Whether the phase can only go on with a message.
    pub(crate) fn is_waiting(&self) -> bool {
        self.lock().waits()
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

    /// Whether all messages of the phase are here, so that waiting for one is pointless.
    fn nothing_comes(&self, state: &State) -> bool {
        state.ready.is_empty()
            && state.awaited == 0
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

/// Ends all phases when a kernel panics, as nobody will finish its step.
struct LostThread<'a>(&'a Executor);

impl Drop for LostThread<'_> {
    fn drop(&mut self) {
        let role = &self.0.role;
        self.0.lock().running -= 1;
        role.pool().fail(&RunError::ThreadLost { role: role.role() });
    }
}
