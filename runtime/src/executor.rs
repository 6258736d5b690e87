//! Runs the steps of one phase of one role: no I/O, any number of compute threads.
//!
//! A step is ready when the steps before it are done and, for a `Receive`, its message is here. Ready
//! steps run in order of priority. A [`crate::pool::Pool`] has the threads; whoever moves messages calls
//! [`Executor::deliver`] and provides an [`Outbox`]. The same code runs under the simulator, over TCP and
//! from a store. Results do not depend on order: steps that share a buffer are ordered by the plan.
//!
//! A run may begin before the setup is over: its steps wait for those of the setup whose results they read. So
//! weights are on their way while products of the layers before them are computed.

mod inbox;
mod landing;
mod order;
mod patience;
mod work;

pub use landing::{Landing, Unwanted};
pub use work::Outbox;
pub(crate) use work::Task;

use crate::arena::Memory;
use crate::error::RunError;
use crate::mask::Masks;
use crate::packet::Counts;
use crate::payload::Payload;
use crate::role::RoleState;
use crate::trace::{Clock, PhaseTrace, Recorder};
use mpcc_ir::plan::{Phase, Role, StepOp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

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
    /// By step, how many events it still waits for.
    missing: Vec<u32>,
    done: Vec<bool>,
    /// Events of the setup that steps still wait for.
    awaited: usize,
    /// Phases of runs with steps that wait for those of this one, which is the setup.
    followers: Vec<Weak<Executor>>,
    /// By step, openings on the longest chain of those that came before it.
    depth: Vec<u32>,
    /// Priorities and numbers of steps, the least first.
    ready: BinaryHeap<Reverse<(u32, u32)>>,
    /// Messages that are here, or were until their step took them.
    arrived: BTreeMap<u32, Option<Payload>>,
    /// Messages that are on their way into their buffers.
    landing: BTreeSet<u32>,
    /// Bytes in `arrived`, by sender.
    backlog: BTreeMap<Role, u64>,
    /// Threads at a step.
    running: usize,
    /// Steps that are not done.
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

    /// Wakes who waits for the end of the phase, if this is it.
    fn tell_if_over(&self, state: &State) {
        if state.is_over() && state.running == 0 {
            self.over.notify_all();
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
}
