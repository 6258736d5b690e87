//! Brings messages to the phase that they belong to, and keeps those that come early.
//!
//! Roles do not wait for each other between phases, so a message may be here before its receiver
//! has started the phase. What is kept is bounded: messages of the plan, once each, of runs in flight and of the
//! [`ahead`] next ones.

use crate::error::{PeerError, RunError};
use crate::executor::{Executor, Landing};
use crate::packet::{Envelope, Packet};
use mpcc_ir::plan::{Phase, Plan, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many runs a message may be ahead of the newest that has begun here.
///
/// Of any `depth` successive runs before the newest at `P_0` one is over there, and none is over there before it has
/// begun everywhere: a role is at most `depth` behind `P_0`. Nor is one more than that before it, as runs that `P_0` has not
/// begun end nowhere. One more is for a run that was called off first.
pub fn ahead(plan: &Plan) -> u64 {
    2 * u64::from(plan.depth) + 1
}

/// Bytes that wait here or in a phase before the sender is made to wait.
pub(crate) const BACKLOG: u64 = 32 << 20;

/// The mailbox of one compute party or dealer.
pub struct Mailbox {
    role: Role,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: BTreeMap<Stage, Arc<Executor>>,
    /// With the time of arrival.
    early: BTreeMap<Stage, BTreeMap<u32, (Packet, Instant)>>,
    /// Bytes in `early` by sender.
    waiting: BTreeMap<Role, u64>,
    /// Stages of runs in flight that are over.
    closed: BTreeSet<Stage>,
    in_flight: BTreeSet<u64>,
    /// The last run that has begun.
    newest: u64,
    /// The number of the first run is known.
    begun: bool,
    failed: Option<RunError>,
}

impl State {
    /// Whether a message of `run` may come now. Before the number of the first run is known, as messages may overtake the one
    /// that names it, those of as many runs may come, whatever their numbers.
    fn is_in_reach(&self, run: u64, plan: &Plan) -> bool {
        let runs = || self.early.keys().filter(|(_, phase)| *phase != Phase::Setup);
        let near = |(other, _): &Stage| run.abs_diff(*other) <= ahead(plan);
        if self.begun { run <= self.newest.saturating_add(ahead(plan)) } else { runs().all(near) }
    }

    fn count_waiting(&mut self) {
        self.waiting.clear();
        for (packet, _) in self.early.values().flat_map(BTreeMap::values) {
            *self.waiting.entry(packet.from).or_default() += packet.payload.len() as u64;
        }
    }
}

/// A phase of a run; the setup phase comes before all runs.
type Stage = (u64, Phase);

fn stage(phase: Phase, run: u64) -> Stage {
    if phase == Phase::Setup { (0, phase) } else { (run, phase) }
}

impl Mailbox {
    /// An empty mailbox of `role`.
    pub fn new(role: Role) -> Self {
        Self { role, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one message. Messages of stages that are over are dropped: a run may have been called off.
    ///
    /// # Errors
    /// [`RunError::Peer`] for a message that cannot belong to the plan, or to a run in reach.
    pub fn deliver(&self, plan: &Plan, packet: Packet) -> Result<(), RunError> {
        let peer = |source| RunError::Peer { role: self.role, source };
        packet.check(plan, self.role).map_err(peer)?;
        let at = stage(packet.phase, packet.run);
        let mut state = self.lock();
        if let Some(executor) = state.open.get(&at) {
            let executor = Arc::clone(executor);
            drop(state);
            return executor.deliver(packet);
        }
        if packet.phase != Phase::Setup {
            let (role, run, newest) = (packet.from, packet.run, state.newest);
            if !state.is_in_reach(run, plan) {
                return Err(peer(PeerError::WrongRun { role, run, newest }));
            }
            if run <= newest && !state.in_flight.contains(&run) {
                return Ok(());
            }
        }
        if state.closed.contains(&at) {
            return Ok(());
        }
        let message = packet.message;
        *state.waiting.entry(packet.from).or_default() += packet.payload.len() as u64;
        match state.early.entry(at).or_default().insert(message, (packet, Instant::now())) {
            None => Ok(()),
            Some(_) => Err(peer(PeerError::Twice { message })),
        }
    }

    /// The place of a message whose step waits for nothing else; see [`Executor::landing`].
    pub fn landing(&self, envelope: Envelope) -> Option<Landing> {
        let executor = self.lock().open.get(&stage(envelope.phase, envelope.run)).cloned();
        executor?.landing(envelope)
    }

    /// Whether `from` should send no more for now, as many of its messages wait for threads that are busy with others.
    /// Threads that have nothing to do, or wait themselves to send, may need the next message.
    pub fn is_full(&self, from: Role) -> bool {
        let state = self.lock();
        let early = state.waiting.get(&from).copied().unwrap_or(0);
        let open: u64 = state.open.values().map(|executor| executor.backlog(from)).sum();
        let mut roles = state.open.values().map(|executor| executor.role());
        early + open > BACKLOG && roles.any(|role| role.pool().is_computing())
    }

    /// Starts a stage: its messages go to `executor` from now on.
    ///
    /// # Errors
    /// As [`Executor::deliver`] for those that came early, and the error of [`Mailbox::fail`].
    pub fn open(&self, executor: &Arc<Executor>) -> Result<(), RunError> {
        let at = stage(executor.phase(), executor.run());
        let mut state = self.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        state.open.insert(at, Arc::clone(executor));
        let early = state.early.remove(&at).unwrap_or_default();
        state.count_waiting();
        for (packet, arrived) in early.into_values() {
            executor.deliver_late(packet, Some(arrived))?;
        }
        Ok(())
    }

    /// Ends a stage.
    pub fn close(&self, executor: &Executor) {
        let at = stage(executor.phase(), executor.run());
        let mut state = self.lock();
        state.open.remove(&at);
        state.closed.insert(at);
    }

    /// Takes the messages of the setup phase out, for a role that has no steps.
    pub fn take_setup(&self) -> Vec<Packet> {
        let mut state = self.lock();
        let early = state.early.remove(&stage(Phase::Setup, 0));
        state.count_waiting();
        early.unwrap_or_default().into_values().map(|(packet, _)| packet).collect()
    }

    /// The first run will be the one after `run`.
    pub fn start_after(&self, run: u64) {
        let mut state = self.lock();
        (state.newest, state.begun) = (run, true);
        state.early.retain(|(early, phase), _| *phase == Phase::Setup || *early > run);
        state.count_waiting();
    }

    /// `run` begins: its messages are kept until its stages are open. Runs begin in order.
    pub fn begin(&self, run: u64) {
        let mut state = self.lock();
        state.newest = state.newest.max(run);
        state.in_flight.insert(run);
    }

    /// `run` is over, well or not: what else comes for it is dropped.
    pub fn end(&self, run: u64) {
        let mut state = self.lock();
        let State { in_flight, closed, early, newest, .. } = &mut *state;
        in_flight.remove(&run);
        let over = |(run, phase): &Stage| {
            *phase != Phase::Setup && run <= newest && !in_flight.contains(run)
        };
        closed.retain(|stage| !over(stage));
        early.retain(|stage, _| !over(stage));
        state.count_waiting();
    }

    /// A client has been told to send the input of `run`, which is ready.
    pub fn expect_input(&self, run: u64) {
        if let Some(executor) = self.lock().open.get(&(run, Phase::Online)) {
            executor.expect();
        }
    }

    /// Calls off the stages of `run` that are open.
    pub fn abort(&self, run: u64) {
        let state = self.lock();
        for executor in state.open.range((run, Phase::Offline)..=(run, Phase::Online)) {
            executor.1.fail(RunError::Aborted { role: self.role });
        }
    }

    /// Ends all stages with an error, now and in the future: a link is gone.
    pub fn fail(&self, error: &RunError) {
        let mut state = self.lock();
        state.failed.get_or_insert_with(|| error.clone());
        for executor in state.open.values() {
            executor.fail(error.clone());
        }
    }
}
