//! Who has which run, and how far all are.

use super::Begin;
use crate::error::RunError;
use crate::mailbox::{Mailbox, ahead};
use crate::net::frame::{Frame, Kind};
use crate::net::link::Link;
use crate::packet::Packet;
use crate::serve::ServeError;
use crate::share::Seed;
use mpcc_ir::plan::{Plan, Role};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What changes, behind one lock.
#[derive(Default)]
pub(in crate::serve) struct State {
    pub(in crate::serve) peers: BTreeMap<Role, Arc<Link>>,
    pub(super) clients: BTreeMap<u64, Arc<Link>>,
    pub(in crate::serve) begin: Option<Begin>,
    pub(in crate::serve) seeds: BTreeMap<u8, Seed>,
    /// Runs that each party has asked for (the dealer only).
    pub(in crate::serve) asked: Reached,
    /// Runs whose offline phase each party has done (`P_0` only).
    pub(super) ready: Reached,
    /// Runs that each other role has begun (`P_0` only).
    pub(super) began: Reached,
    /// Runs in flight, and later ones that somebody has said something about.
    pub(super) runs: BTreeMap<u64, Flight>,
    /// The last run that has begun. One up to it that is not in `runs` is over.
    pub(super) newest: u64,
    pub(super) completed: u64,
    /// Links of clients that wait for a run (`P_0` only).
    pub(super) requests: VecDeque<u64>,
    /// Runs from this one on will not happen.
    pub(super) stop_at: Option<u64>,
    pub(in crate::serve) ended: BTreeSet<Role>,
    /// Links that said goodbye.
    pub(super) orderly: BTreeSet<u64>,
    pub(super) failure: Option<ServeError>,
    /// The failure as the phases see it.
    pub(super) seen: Option<RunError>,
    /// Messages kept for the store, by run; 0 for the setup phase.
    pub(super) recorded: BTreeMap<u64, BTreeMap<u32, Packet>>,
}

/// What is known of a run that is not over.
#[derive(Default)]
pub(super) struct Flight {
    /// All parties have done its offline phase (`P_0` only).
    pub(super) ready: bool,
    /// Link of the client that has it.
    pub(super) claim: Option<u64>,
    /// Messages for a client that has not said yet that the run is its own.
    pub(super) mail: Vec<Frame>,
    pub(super) aborted: bool,
    /// It has come to its end at `P_0`.
    pub(super) over: bool,
}

/// How far each of some roles has come. Runs begin in order, so the last one stands for all before; where they end some step
/// in another order, some are counted a little early.
#[derive(Default)]
pub(in crate::serve) struct Reached(BTreeMap<Role, u64>);

impl Reached {
    /// `role` has come to `run`.
    pub(super) fn add(&mut self, role: Role, run: u64) {
        let last = self.0.entry(role).or_default();
        *last = run.max(*last);
    }

    /// Whether `role` has come to `run`.
    pub(in crate::serve) fn has(&self, role: Role, run: u64) -> bool {
        self.0.get(&role).is_some_and(|&last| last >= run)
    }
}

impl State {
    /// The oldest run that is not over, or the next one.
    pub(super) fn oldest(&self) -> u64 {
        self.runs.range(..=self.newest).next().map_or(self.newest + 1, |(run, _)| *run)
    }

    pub(super) fn is_over(&self, run: u64) -> bool {
        run <= self.newest && !self.runs.contains_key(&run)
    }

    pub(super) fn is_off(&self, run: u64) -> bool {
        self.stop_at.is_some_and(|at| at <= run) || self.runs.get(&run).is_some_and(|f| f.aborted)
    }

    /// Whether `run` is in flight or may be soon.
    pub(super) fn is_in_reach(&self, run: u64, plan: &Plan) -> bool {
        !self.is_over(run) && run <= self.newest.saturating_add(ahead(plan))
    }

    /// The link of the client that has `run`.
    pub(super) fn claim_of(&self, run: u64) -> Option<u64> {
        self.runs.get(&run)?.claim
    }

    /// Whether all others have begun `run` or a later one, or have ended (`P_0` only).
    pub(super) fn has_begun_everywhere(&self, run: u64) -> bool {
        self.others().all(|peer| self.ended.contains(peer) || self.began.has(*peer, run))
    }

    /// The other roles that have a part in runs.
    pub(super) fn others(&self) -> impl Iterator<Item = &Role> {
        self.peers.keys().filter(|peer| matches!(peer, Role::Party(_) | Role::Dealer))
    }

    /// The oldest run in flight that nobody has: clients get runs in order, and none before all roles are there, or some
    /// could hear of it before they hear that the session begins.
    fn free(&self) -> Option<u64> {
        if !self.has_begun_everywhere(0) {
            return None;
        }
        let mut free = self.runs.range(..=self.newest);
        let (&run, _) = free.find(|(_, flight)| flight.claim.is_none() && !flight.aborted)?;
        (!self.is_off(run)).then_some(run)
    }

    /// Gives runs to the clients that wait, as soon as they begin: what a client needs to send its input then comes while
    /// the parties get ready.
    pub(super) fn assign(&mut self, mailbox: &Mailbox) {
        let Some(begin) = self.begin else { return };
        while let (Some(run), Some(&id)) = (self.free(), self.requests.front()) {
            self.requests.pop_front();
            let Some(link) = self.clients.get(&id).cloned() else { continue };
            let token = begin.claims.token(run).to_vec();
            if link.send_now(Frame::control(Kind::Accept, run, token)).is_ok() {
                self.claim(run, &link);
                self.go(run, mailbox);
            }
        }
    }

    /// Tells the client that has `run`, if it is ready, that it waits for the input; from then on it does not wait for ever,
    /// also where the client has left.
    pub(super) fn go(&self, run: u64, mailbox: &Mailbox) {
        let Some(flight) = self.runs.get(&run).filter(|flight| flight.ready) else { return };
        let Some(id) = flight.claim else { return };
        if let Some(client) = self.clients.get(&id) {
            let _ = client.send_now(Frame::control(Kind::Go, run, vec![]));
        }
        mailbox.expect_input(run);
    }

    pub(super) fn claim(&mut self, run: u64, link: &Link) {
        let flight = self.runs.entry(run).or_default();
        flight.claim = Some(link.id);
        for frame in flight.mail.drain(..) {
            let _ = link.send_now(frame);
        }
    }
}

/// Requests that a client may have open: one that waits for each run in flight, so that a place which becomes free is given
/// away at once.
pub(in crate::serve) fn most_requests(plan: &Plan) -> usize {
    2 * usize::from(plan.depth)
}
