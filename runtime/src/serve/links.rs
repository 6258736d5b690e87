//! A client's links, fed by the network thread.

use super::error::ServeError;
use super::options::Log;
use crate::error::{PeerError, RunError};
use crate::net::frame::{Frame, Header, Kind};
use crate::net::handshake::HandshakeError;
use crate::net::hub::Receiver;
use crate::net::link::Link;
use crate::packet::Packet;
use crate::payload::Payload;
use mpcc_ir::plan::Role;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a client waits for; in the order of arrival, as a run's messages come after it was given.
pub(super) enum Event {
    Accepted {
        run: u64,
        /// What shows it to the other roles.
        token: Payload,
    },
    Go(u64),
    Message(Packet, Instant),
}

/// What the network thread and the client's own share.
pub(super) struct Links {
    log: Log,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) links: BTreeMap<Role, Arc<Link>>,
    pub(super) events: VecDeque<Event>,
    /// Runs called off, with who said so.
    pub(super) aborted: BTreeMap<u64, Role>,
    pub(super) used: BTreeSet<u64>,
    pub(super) ended: BTreeSet<Role>,
    failure: Option<ServeError>,
}

impl Links {
    pub(super) fn new(log: Log) -> Self {
        Self { log, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<T>(
        &self,
        limit: Option<Duration>,
        what: &str,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, ServeError> {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(value) = ready(&mut state) {
                return Ok(value);
            }
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            let left = limit
                .map_or(Some(Duration::from_hours(1)), |limit| limit.checked_sub(start.elapsed()));
            let Some(left) = left else {
                let seconds = limit.unwrap_or_default().as_secs();
                return Err(ServeError::Waiting {
                    own: Role::Client,
                    missing: what.into(),
                    seconds,
                });
            };
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn send(&self, role: Role, frame: Frame) -> Result<(), ServeError> {
        if self.lock().ended.contains(&role) {
            return Err(no_more_runs(role));
        }
        let link = self.lock().links.get(&role).cloned();
        let sent = link.is_some_and(|link| link.send(frame).is_ok());
        if sent {
            return Ok(());
        }
        let source = PeerError::HungUp { role };
        let gone = RunError::Peer { role: Role::Client, source }.into();
        Err(self.lock().failure.take().unwrap_or(gone))
    }

    fn fail(&self, error: ServeError) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }
}

impl Receiver for Links {
    fn joined(&self, link: &Arc<Link>) -> Result<(), String> {
        self.lock().links.insert(link.peer, Arc::clone(link));
        self.changed.notify_all();
        Ok(())
    }

    fn frame(&self, link: &Arc<Link>, frame: Frame) -> Result<(), String> {
        let Header { kind, phase, message, depth, run, .. } = frame.header;
        let (from, to) = (link.peer, Role::Client);
        match (kind, from) {
            (Kind::Data, _) => {
                let packet =
                    Packet { from, to, phase, run, message, depth, payload: frame.payload };
                self.lock().events.push_back(Event::Message(packet, Instant::now()));
            }
            (Kind::Accept, Role::Party(0)) => {
                let token = frame.payload;
                self.lock().events.push_back(Event::Accepted { run, token });
            }
            (Kind::Go, Role::Party(0)) => {
                self.lock().events.push_back(Event::Go(run));
            }
            (Kind::Abort, Role::Party(_) | Role::Dealer) => {
                self.lock().aborted.entry(run).or_insert(from);
            }
            (Kind::Bye, _) => {
                self.lock().ended.insert(from);
                if !frame.payload.is_empty() {
                    self.fail(ServeError::last_words(from, &frame.payload));
                }
            }
            _ => return Err(format!("{from} may not send a {kind:?} frame to the client")),
        }
        self.changed.notify_all();
        Ok(())
    }

    fn closed(&self, link: &Arc<Link>, why: &str) {
        if self.lock().ended.contains(&link.peer) {
            return;
        }
        self.fail(ServeError::PeerEnded { role: link.peer, why: why.to_owned() });
    }

    fn refused(&self, called: Option<Role>, error: &HandshakeError) {
        (self.log)(&format!("client: {error}"));
        if called.is_some() {
            self.fail(error.clone().into());
        }
    }

    fn unreachable(&self, role: Role, address: &str, why: &str) {
        let (address, why) = (address.to_owned(), why.to_owned());
        self.fail(ServeError::Unreachable { role, address, why });
    }
}

pub(super) fn no_more_runs(role: Role) -> ServeError {
    ServeError::PeerEnded { role, why: "it serves no more runs".into() }
}
