//! What comes from the network, and what goes there.

use super::state::{Flight, most_requests};
use super::{Begin, Control};
use crate::error::{PeerError, RunError};
use crate::executor::{Landing, Outbox};
use crate::net::frame::{Frame, HEADER, Header, Kind};
use crate::net::handshake::{HandshakeError, MAX_RUN, Mode};
use crate::net::hub::Receiver;
use crate::net::link::Link;
use crate::packet::{Envelope, Packet};
use crate::payload::Payload;
use crate::serve::ServeError;
use crate::share::Seed;
use mpcc_ir::plan::{Phase, Plan, Role};
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// Clients that a role has at a time.
const MOST_CLIENTS: usize = 256;

/// Bytes of control frames that wait for a client at most.
const CONTROL_BYTES: u64 = 1 << 20;

/// Bytes that may wait for a client that does not read them: a client has up to so many runs and requests.
fn most_unread(plan: &Plan, role: Role) -> u64 {
    let a_run = plan.messages.iter().filter(|m| m.from == role && m.to == Role::Client);
    let a_run: u64 = a_run.map(|m| m.bytes + HEADER as u64).sum();
    CONTROL_BYTES + most_requests(plan) as u64 * a_run
}

impl Control {
    fn data(&self, link: &Link, frame: Frame) -> Result<(), String> {
        let Header { phase, message, depth, run, .. } = frame.header;
        let (from, to) = (link.peer, self.role);
        let packet = Packet { from, to, phase, run, message, depth, payload: frame.payload };
        if self.mode == Mode::Fill && self.record(&packet)? {
            return Ok(());
        }
        let delivered = self.mailbox.deliver(&self.plan, packet);
        if phase == Phase::Setup {
            // With the lock, so that nobody is between looking into the mailbox and sleeping.
            drop(self.lock());
            self.changed.notify_all();
        }
        delivered.map_err(|error| {
            let why = error.to_string();
            if from != Role::Client {
                self.fail(error.clone().into(), &error);
            }
            why
        })
    }

    /// Keeps what the store needs; says whether the message needs nothing else.
    fn record(&self, packet: &Packet) -> Result<bool, String> {
        let mut state = self.lock();
        // The dealer may hear of the session's begin first.
        let is_wanted =
            |begin: Begin| (begin.first..begin.first + begin.count).contains(&packet.run);
        if packet.phase != Phase::Setup && !state.begin.is_none_or(is_wanted) {
            return Err(format!("run {} is not part of this session", packet.run));
        }
        let run = if packet.phase == Phase::Setup { 0 } else { packet.run };
        state.recorded.entry(run).or_default().insert(packet.message, packet.clone());
        drop(state);
        self.changed.notify_all();
        Ok(packet.phase != Phase::Setup)
    }

    fn control(&self, link: &Arc<Link>, frame: Frame) -> Result<(), String> {
        let (peer, run) = (link.peer, frame.header.run);
        let misplaced =
            || format!("{peer} may not send a {:?} frame to {}", frame.header.kind, self.role);
        let has_part = matches!(peer, Role::Party(_) | Role::Dealer);
        let mut state = self.lock();
        match (frame.header.kind, peer) {
            (Kind::Seed, Role::Party(b)) if self.role == Role::Dealer => {
                let bytes =
                    <[u8; 32]>::try_from(&*frame.payload).map_err(|_| "a seed has 32 bytes")?;
                state.seeds.insert(b, Seed::from_bytes(bytes));
            }
            (Kind::Begin, Role::Party(0)) => {
                let begin = Begin::parse(run, &frame.payload).ok_or_else(misplaced)?;
                drop(state);
                self.begun(begin);
                return Ok(());
            }
            (Kind::Ask, Role::Party(_)) if self.role == Role::Dealer && run <= MAX_RUN => {
                state.asked.add(peer, run);
            }
            (Kind::Ready, Role::Party(_)) if self.role == Role::Party(0) && run <= MAX_RUN => {
                state.ready.add(peer, run);
            }
            (Kind::Over, Role::Party(0)) => {
                if let Some(flight) = state.runs.get_mut(&run) {
                    flight.over = true;
                    self.mailbox.expect_input(run);
                }
            }
            (Kind::Began, Role::Party(_) | Role::Dealer)
                if self.role == Role::Party(0) && run <= MAX_RUN =>
            {
                state.began.add(peer, run);
                state.assign(&self.mailbox);
            }
            (Kind::Request, Role::Client) if self.role == Role::Party(0) => {
                let own = 1 + state.requests.iter().filter(|id| **id == link.id).count();
                if own > most_requests(&self.plan) {
                    return Err(format!("a client asks for {own} runs at a time"));
                }
                state.requests.push_back(link.id);
                state.assign(&self.mailbox);
            }
            (Kind::Claim, Role::Client) if self.role != Role::Party(0) => {
                let begin = state.begin.ok_or_else(misplaced)?;
                if !begin.claims.fits(run, &frame.payload) {
                    return Err(format!("run {run} was not given to this client"));
                }
                if state.is_over(run) || state.is_off(run) {
                    let _ = link.send_now(Frame::control(Kind::Abort, run, vec![]));
                    return Ok(());
                }
                if !state.is_in_reach(run, &self.plan) || state.claim_of(run).is_some() {
                    return Err(format!("run {run} is not free"));
                }
                state.claim(run, link);
            }
            (Kind::Abort, _) if state.is_over(run) => {}
            (Kind::Abort, _) if has_part || state.claim_of(run) == Some(link.id) => {
                drop(state);
                if has_part {
                    self.abort_here(run);
                } else {
                    self.abort(run, "its client broke off");
                }
                return Ok(());
            }
            // A client that says why it leaves gives up the runs that it has or is about to get.
            (Kind::Bye, Role::Client) if !frame.payload.is_empty() && self.mode != Mode::Fill => {}
            (Kind::Bye, _) => {
                state.orderly.insert(link.id);
                if peer != Role::Client {
                    if state.begin.is_none() && frame.payload.is_empty() {
                        // It may come back, and have a part in the session.
                        state.peers.remove(&peer);
                        return Ok(());
                    }
                    state.ended.insert(peer);
                    drop(state);
                    self.peer_ends(peer, run, &frame.payload);
                    return Ok(());
                }
            }
            _ => return Err(misplaced()),
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    fn peer_ends(&self, role: Role, next_run: u64, words: &[u8]) {
        if !words.is_empty() {
            let error = ServeError::last_words(role, words);
            let source = PeerError::HungUp { role };
            self.fail(error, &RunError::Peer { role: self.role, source });
        } else if matches!(role, Role::Party(_) | Role::Dealer) {
            self.stop_before(self.lock(), next_run);
        }
        self.changed.notify_all();
    }
}

impl Outbox for Control {
    fn send(&self, packet: Packet) -> Result<(), RunError> {
        let Packet { to, phase, run, .. } = packet;
        if phase == Phase::Setup && matches!(self.mode, Mode::Stored(_)) {
            // It was sent when the store was filled.
            return Ok(());
        }
        let frame = Frame::data(packet);
        if to == Role::Client && self.mode != Mode::Fill {
            let mut guard = self.lock();
            let state = &mut *guard;
            let Some(flight) = state.runs.get_mut(&run) else { return Ok(()) };
            let Some(id) = flight.claim else {
                flight.mail.push(frame);
                return Ok(());
            };
            // A client that is gone has its run called off by the network thread, and a thread that computes waits for none.
            let link = state.clients.get(&id).cloned();
            drop(guard);
            let _ = link.map(|link| link.send_now(frame));
            return Ok(());
        }
        self.to_peer(to, |link| link.send(frame))
    }

    fn send_from(&self, envelope: Envelope, payload: &[u8]) -> Result<(), RunError> {
        let Envelope { to, phase, .. } = envelope;
        if phase == Phase::Setup || to == Role::Client {
            // It may have to wait, or not to be sent at all.
            return self.send(Packet::new(envelope, Payload::copy_of(payload)));
        }
        self.to_peer(to, |link| link.send_from(&Header::data(&envelope), payload))
    }
}

impl Receiver for Control {
    fn joined(&self, link: &Arc<Link>) -> Result<(), String> {
        let mut state = self.lock();
        if link.peer == Role::Client && self.mode != Mode::Fill {
            if state.clients.len() >= MOST_CLIENTS {
                return Err(format!("{} has {MOST_CLIENTS} clients; try again later", self.role));
            }
            link.give_up_beyond(most_unread(&self.plan, self.role));
            state.clients.insert(link.id, Arc::clone(link));
        } else if let Entry::Vacant(place) = state.peers.entry(link.peer) {
            place.insert(Arc::clone(link));
        } else {
            return Err(format!("{} already has a {}", self.role, link.peer));
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    fn expects(&self, link: &Arc<Link>, header: &Header) -> Result<(), String> {
        let (from, to, bytes) = (link.peer, self.role, u64::from(header.len));
        let Header { phase, message, depth, run, .. } = *header;
        let envelope = Envelope { from, to, phase, run, message, depth, bytes };
        envelope.check(&self.plan, to).map_err(|error| error.to_string())?;
        if from != Role::Client {
            return Ok(());
        }
        let state = self.lock();
        // What comes for a run that is over is read and dropped.
        if state.is_over(run) || state.claim_of(run) == Some(link.id) {
            return Ok(());
        }
        Err(format!("run {run} does not belong to this client"))
    }

    fn frame(&self, link: &Arc<Link>, frame: Frame) -> Result<(), String> {
        match frame.header.kind {
            Kind::Data => self.data(link, frame),
            Kind::Hello => Err("a second hello".into()),
            Kind::Seed
            | Kind::Begin
            | Kind::Ask
            | Kind::Ready
            | Kind::Go
            | Kind::Began
            | Kind::Over
            | Kind::Request
            | Kind::Accept
            | Kind::Claim
            | Kind::Abort
            | Kind::Bye => self.control(link, frame),
        }
    }

    fn landing(&self, link: &Arc<Link>, header: &Header) -> Option<Landing> {
        let Header { phase, message, depth, run, len, .. } = *header;
        let (from, to, bytes) = (link.peer, self.role, u64::from(len));
        // What is stored comes with its frame.
        if self.mode == Mode::Fill {
            return None;
        }
        self.mailbox.landing(Envelope { from, to, phase, run, message, depth, bytes })
    }

    fn is_full(&self, peer: Role) -> bool {
        self.mailbox.is_full(peer)
    }

    fn closed(&self, link: &Arc<Link>, why: &str) {
        let mut state = self.lock();
        let orderly = state.orderly.remove(&link.id);
        if state.clients.remove(&link.id).is_some() {
            state.requests.retain(|id| *id != link.id);
            // Who leaves in order may have what others have not done with yet, but not of a run that waits for its input.
            let is_left =
                |flight: &Flight| !orderly || self.role == Role::Party(0) && !flight.ready;
            let mine = state.runs.iter().filter(|(_, flight)| flight.claim == Some(link.id));
            let left = mine.filter(|(_, flight)| is_left(flight));
            let runs: Vec<u64> = left.map(|(run, _)| *run).collect();
            drop(state);
            for run in runs {
                self.abort(run, &format!("its client is gone ({why})"));
            }
            return;
        }
        let known = state.peers.get(&link.peer).is_some_and(|known| known.id == link.id);
        if !known || orderly {
            return;
        }
        drop(state);
        let role = link.peer;
        let error = ServeError::PeerEnded { role, why: why.to_owned() };
        let source = PeerError::HungUp { role };
        self.fail(error, &RunError::Peer { role: self.role, source });
    }

    fn refused(&self, called: Option<Role>, error: &HandshakeError) {
        let starting = self.lock().begin.is_none();
        self.say(&format!("refused a connection: {error}"));
        // While the session starts, a peer that does not fit will not fit later either.
        if called.is_some() || (starting && error.is_about_a_peer()) {
            let seen = RunError::Aborted { role: self.role };
            self.fail(error.clone().into(), &seen);
        }
    }

    fn unreachable(&self, role: Role, address: &str, why: &str) {
        let (address, why) = (address.to_owned(), why.to_owned());
        let seen = RunError::Peer { role: self.role, source: PeerError::HungUp { role } };
        self.fail(ServeError::Unreachable { role, address, why }, &seen);
    }
}
