//! What a serving process knows about its peers and clients, fed by the network thread.

mod frames;
mod runs;
mod state;

pub(super) use state::{State, most_requests};

use super::claims::ClaimKey;
use super::error::ServeError;
use super::options::Log;
use crate::error::{PeerError, RunError};
use crate::mailbox::Mailbox;
use crate::net::frame::{Frame, Kind};
use crate::net::handshake::{MAX_RUN, Mode};
use crate::net::link::{Closed, Link};
use crate::packet::Packet;
use mpcc_ir::plan::{Plan, Role};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How `P_0` starts a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    /// The deployment's id.
    pub(super) deployment: [u8; 16],
    /// The first run.
    pub(super) first: u64,
    /// The number of runs to fill, 0 when serving.
    pub(super) count: u64,
    /// What shows whose a run is.
    pub(super) claims: ClaimKey,
}

impl Begin {
    pub(super) fn payload(&self) -> Vec<u8> {
        [&self.deployment[..], &self.count.to_le_bytes(), &self.claims.0].concat()
    }

    fn parse(first: u64, payload: &[u8]) -> Option<Self> {
        let (deployment, rest) = payload.split_first_chunk()?;
        let (count, claims) = rest.split_first_chunk()?;
        let count = u64::from_le_bytes(*count);
        let claims = ClaimKey(claims.try_into().ok()?);
        let is_possible = first <= MAX_RUN && count <= MAX_RUN;
        is_possible.then_some(Self { deployment: *deployment, first, count, claims })
    }
}

/// Shared by the network thread and the threads that drive the phases of the runs in flight.
pub(super) struct Control {
    pub(super) role: Role,
    pub(super) plan: Arc<Plan>,
    pub(super) mailbox: Mailbox,
    log: Log,
    pub(super) mode: Mode,
    state: Mutex<State>,
    changed: Condvar,
}

impl Control {
    pub(super) fn new(role: Role, plan: Arc<Plan>, log: Log, mode: Mode) -> Arc<Self> {
        let (mailbox, state) = (Mailbox::new(role), Mutex::default());
        Arc::new(Self { role, plan, mailbox, log, mode, state, changed: Condvar::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, line: &str) {
        (self.log)(&format!("{}: {line}", self.role));
    }

    /// Waits until `ready` has something.
    pub(super) fn wait<T>(
        &self,
        ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, ServeError> {
        self.wait_within(None, |_| String::new(), ready)
    }

    /// As [`Control::wait`], but no longer than `limit`; `missing` says for what, for the error.
    pub(super) fn wait_within<T>(
        &self,
        limit: Option<Duration>,
        missing: impl Fn(&State) -> String,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, ServeError> {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(seen) = &state.seen {
                return Err(seen.clone().into());
            }
            if let Some(value) = ready(&mut state) {
                return Ok(value);
            }
            if state.stop_at.is_some_and(|at| at <= state.oldest()) {
                return Err(ServeError::Stopped);
            }
            let pause = match limit.map(|limit| limit.checked_sub(start.elapsed())) {
                None => Duration::from_hours(1),
                Some(Some(left)) => left,
                Some(None) => {
                    let (own, missing) = (self.role, missing(&state));
                    let seconds = limit.unwrap_or_default().as_secs();
                    return Err(ServeError::Waiting { own, missing, seconds });
                }
            };
            state =
                self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until all of `roles` are connected.
    pub(super) fn wait_for_peers(&self, roles: &[Role], limit: Duration) -> Result<(), ServeError> {
        let missing = |state: &State| -> Vec<String> {
            let absent = roles.iter().filter(|r| !state.peers.contains_key(r));
            absent.map(Role::to_string).collect()
        };
        let ready = |state: &mut State| missing(state).is_empty().then_some(());
        self.wait_within(Some(limit), |state| missing(state).join(", "), ready)
    }

    /// The cause of an error: what the network thread saw, if it saw something, otherwise `error`.
    pub(super) fn cause(&self, error: ServeError) -> ServeError {
        self.lock().failure.take().unwrap_or(error)
    }

    fn fail(&self, error: ServeError, seen: &RunError) {
        self.lock().failure.get_or_insert(error);
        self.end_all(seen);
    }

    /// Ends all runs with an error.
    pub(super) fn end_all(&self, seen: &RunError) {
        self.lock().seen.get_or_insert_with(|| seen.clone());
        self.mailbox.fail(seen);
        self.changed.notify_all();
    }

    /// Whether all runs were ended with an error.
    pub(super) fn has_failed(&self) -> bool {
        self.lock().seen.is_some()
    }

    pub(super) fn link(&self, role: Role) -> Option<Arc<Link>> {
        self.lock().peers.get(&role).cloned()
    }

    /// Has the link to a peer send something.
    fn to_peer(
        &self,
        role: Role,
        send: impl FnOnce(&Link) -> Result<(), Closed>,
    ) -> Result<(), RunError> {
        let gone = || RunError::Peer { role: self.role, source: PeerError::HungUp { role } };
        let link = self.link(role).ok_or_else(gone)?;
        send(&link).map_err(|Closed| gone())
    }

    /// Sends a control frame to every peer of `roles` that is still there.
    pub(super) fn tell(&self, roles: &[Role], kind: Kind, run: u64, payload: &[u8]) {
        for role in roles {
            if let Some(link) = self.link(*role) {
                let _ = link.send_now(Frame::control(kind, run, payload.to_vec()));
            }
        }
    }

    /// The session has begun: its runs are numbered from `begin.first` on.
    pub(super) fn begun(&self, begin: Begin) {
        let mut state = self.lock();
        if state.begin.is_none() {
            state.begin = Some(begin);
            state.newest = begin.first.saturating_sub(1);
            self.mailbox.start_after(state.newest);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The messages of the setup phase that have come to a role without steps.
    pub(super) fn setup_packets(&self, limit: Option<Duration>) -> Result<Vec<Packet>, ServeError> {
        let ready =
            |_: &mut State| Some(self.mailbox.take_setup()).filter(|packets| !packets.is_empty());
        self.wait_within(limit, |_| "the dealer's masks of the weights".into(), ready)
    }
}
