//! The lives of runs at a role: they begin, are ready, are called off or end.

use super::Control;
use super::state::State;
use crate::error::RunError;
use crate::net::frame::{Frame, Kind};
use crate::net::handshake::Mode;
use crate::packet::Packet;
use crate::serve::ServeError;
use mpcc_ir::plan::Role;
use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::time::Duration;

impl Control {
    /// Waits until one more of `limit` runs may begin; its number, or `None` where there will be no more.
    pub(in crate::serve) fn next_run(&self, limit: u64) -> Result<Option<u64>, ServeError> {
        let ready = |state: &mut State| {
            let run = state.newest + 1;
            if state.completed >= limit || state.stop_at.is_some_and(|at| at <= run) {
                return Some(None);
            }
            let begun = state.completed + state.runs.range(..run).count() as u64;
            (begun < limit).then_some(Some(run))
        };
        self.wait(ready)
    }

    /// `run` begins at this role.
    pub(in crate::serve) fn begin_run(&self, run: u64) {
        let mut state = self.lock();
        state.newest = run;
        state.runs.entry(run).or_default();
        state.assign(&self.mailbox);
        self.mailbox.begin(run);
        drop(state);
        if self.role != Role::Party(0) {
            self.tell(&[Role::Party(0)], Kind::Began, run, &[]);
        }
    }

    /// Waits until all others have begun `run`, which is called off (`P_0` only): clients get runs that the others may not
    /// have begun, and if they gave up one after the other, `P_0` would come to runs that are out of the others' reach.
    pub(in crate::serve) fn wait_for_others(&self, run: u64) -> Result<(), ServeError> {
        if self.role != Role::Party(0) {
            return Ok(());
        }
        let began = |state: &mut State| {
            let stops = state.stop_at.is_some_and(|at| at <= run);
            (stops || state.has_begun_everywhere(run)).then_some(())
        };
        self.wait(began)
    }

    /// `run` is over at this role.
    pub(in crate::serve) fn end_run(&self, run: u64, completed: bool) {
        let mut state = self.lock();
        state.runs.remove(&run);
        state.completed += u64::from(completed);
        state.assign(&self.mailbox);
        self.mailbox.end(run);
        let others: Vec<Role> = state.others().copied().collect();
        drop(state);
        if completed && self.role == Role::Party(0) {
            self.tell(&others, Kind::Over, run, &[]);
        }
        self.changed.notify_all();
    }

    /// Neither `run` nor a later one will begin.
    pub(in crate::serve) fn end_before(&self, run: u64) {
        self.stop_before(self.lock(), run);
    }

    /// The first run that this role will not do, for the others to know when it ends; filling a store is no run.
    pub(in crate::serve) fn first_undone(&self) -> u64 {
        let state = self.lock();
        let next = state.newest + 1;
        if self.mode == Mode::Fill {
            u64::MAX
        } else {
            state.stop_at.map_or(next, |at| at.min(next))
        }
    }

    /// Whether `run` or the process was called off.
    pub(in crate::serve) fn is_off(&self, run: u64) -> bool {
        self.lock().is_off(run)
    }

    /// Waits until the other compute parties have done the offline phase of `run` (`P_0` only), so that a client
    /// that then sends its input waits for the online phase alone.
    pub(in crate::serve) fn wait_for_offline(&self, run: u64) -> Result<(), ServeError> {
        let others: Vec<Role> = self.plan.compute_parties().skip(1).collect();
        let ready = |state: &mut State| {
            let gone = |party: &Role| state.ended.contains(party);
            if state.is_off(run) || others.iter().any(gone) {
                return Some(Err(RunError::Aborted { role: self.role }.into()));
            }
            others.iter().all(|party| state.ready.has(*party, run)).then_some(Ok(()))
        };
        self.wait(ready)?
    }

    /// The online phase of `run` is open: at `P_0`, which has waited for all others, the client hears of it; elsewhere, where
    /// `P_0` is through with the run, the input is late if it does not come.
    pub(in crate::serve) fn opened(&self, run: u64) {
        let mut state = self.lock();
        let Some(flight) = state.runs.get_mut(&run) else { return };
        flight.ready = self.role == Role::Party(0);
        if flight.over {
            self.mailbox.expect_input(run);
        }
        state.go(run, &self.mailbox);
    }

    /// Waits until a client has said that `run` is its own, so that it gets what waits for it; where the run has come to its
    /// end at `P_0`, no longer than `patience` (`None`: for ever).
    pub(in crate::serve) fn wait_for_claim(
        &self,
        run: u64,
        patience: Option<Duration>,
    ) -> Result<(), ServeError> {
        let off = || RunError::Aborted { role: self.role }.into();
        let claimed = |state: &mut State| match state.claim_of(run) {
            _ if state.is_off(run) => Some(Err(off())),
            Some(_) => Some(Ok(())),
            None => None,
        };
        let settled = |state: &mut State| {
            let over = state.runs.get(&run).is_some_and(|flight| flight.over);
            claimed(state).map(Some).or_else(|| over.then_some(None))
        };
        if let Some(settled) = self.wait(settled)? {
            return settled;
        }
        match self.wait_within(patience, |_| String::new(), claimed) {
            Err(ServeError::Waiting { .. }) => {
                self.say(&format!("run {run} is called off: its client did not claim it here"));
                Err(off())
            }
            claimed => claimed?,
        }
    }

    /// Calls `run` off here and at the peers.
    pub(in crate::serve) fn abort(&self, run: u64, why: &str) {
        if !self.abort_here(run) {
            return;
        }
        self.say(&format!("run {run} is called off: {why}"));
        let peers: Vec<Role> = self.lock().peers.keys().copied().collect();
        self.tell(&peers, Kind::Abort, run, &[]);
    }

    /// Calls `run` off; false if there is nothing to call off.
    pub(super) fn abort_here(&self, run: u64) -> bool {
        let mut state = self.lock();
        if !state.is_in_reach(run, &self.plan) {
            return false;
        }
        let flight = state.runs.entry(run).or_default();
        if std::mem::replace(&mut flight.aborted, true) {
            return false;
        }
        if let Some(client) = flight.claim.and_then(|id| state.clients.get(&id)) {
            let _ = client.send_now(Frame::control(Kind::Abort, run, vec![]));
        }
        state.assign(&self.mailbox);
        drop(state);
        self.mailbox.abort(run);
        self.changed.notify_all();
        true
    }

    /// Ends the process after the runs that clients have, if any.
    pub(in crate::serve) fn stop(&self) {
        let state = self.lock();
        // A client may have said that a run is its own before it begins here.
        let last = state.runs.iter().rfind(|(_, flight)| flight.claim.is_some());
        let at = last.map_or_else(|| state.oldest(), |(run, _)| run + 1);
        let in_flight = state.runs.range(..=state.newest);
        let nobodys = in_flight.filter(|(run, flight)| **run < at && flight.claim.is_none());
        let nobodys: Vec<u64> = nobodys.map(|(run, _)| *run).collect();
        self.stop_before(state, at);
        for run in nobodys {
            self.abort(run, "this role stops");
        }
    }

    pub(super) fn stop_before(&self, mut state: MutexGuard<'_, State>, run: u64) {
        let at = state.stop_at.map_or(run, |at| at.min(run));
        state.stop_at = Some(at);
        let off: Vec<u64> = state.runs.range(at..).map(|(run, _)| *run).collect();
        drop(state);
        for run in off {
            self.mailbox.abort(run);
        }
        self.changed.notify_all();
    }

    /// The messages recorded for `run`, if all `count` are here.
    pub(in crate::serve) fn recorded(
        &self,
        run: u64,
        count: usize,
    ) -> Result<Vec<Packet>, ServeError> {
        let ready = |state: &mut State| {
            let here = state.recorded.get(&run).map_or(0, BTreeMap::len);
            (here >= count).then(|| state.recorded.remove(&run).unwrap_or_default())
        };
        let packets = self.wait(ready)?;
        Ok(packets.into_values().collect())
    }
}
