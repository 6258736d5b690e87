//! What a serving process knows about its peers and clients, fed by the network thread.

use super::error::ServeError;
use super::session::Log;
use crate::error::{PeerError, RunError};
use crate::executor::Outbox;
use crate::mailbox::{AHEAD, Mailbox};
use crate::net::frame::{Frame, Header, Kind};
use crate::net::handshake::{HandshakeError, MAX_RUN};
use crate::net::hub::Receiver;
use crate::net::link::Link;
use crate::packet::Packet;
use crate::share::Seed;
use mpcc_ir::plan::{Phase, Plan, Role};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
}

/// Shared by the network thread and the thread that drives the phases.
pub(super) struct Control {
    pub(super) role: Role,
    pub(super) plan: Arc<Plan>,
    pub(super) mailbox: Mailbox,
    log: Log,
    filling: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) peers: BTreeMap<Role, Arc<Link>>,
    clients: BTreeMap<u64, Arc<Link>>,
    pub(super) begin: Option<Begin>,
    pub(super) seeds: BTreeMap<u8, Seed>,
    pub(super) ready: BTreeMap<Role, u64>,
    /// Run to link of the client that has it.
    claims: BTreeMap<u64, u64>,
    /// Messages for a client that has not said yet that the run is its own.
    mail: BTreeMap<u64, Vec<Frame>>,
    /// Links of clients that wait for a run (`P_0` only).
    requests: VecDeque<u64>,
    /// The run that can be given away (`P_0` only).
    offered: Option<u64>,
    aborted: BTreeSet<u64>,
    current: u64,
    /// Runs from this one on will not happen.
    stop_at: Option<u64>,
    pub(super) ended: BTreeSet<Role>,
    /// Links that said goodbye.
    orderly: BTreeSet<u64>,
    failure: Option<ServeError>,
    /// Messages kept for the store, by run; 0 for the setup phase.
    recorded: BTreeMap<u64, BTreeMap<u32, Packet>>,
}

impl Control {
    pub(super) fn new(role: Role, plan: Arc<Plan>, log: Log, filling: bool) -> Arc<Self> {
        let (mailbox, state) = (Mailbox::new(role), Mutex::default());
        Arc::new(Self { role, plan, mailbox, log, filling, state, changed: Condvar::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, line: &str) {
        (self.log)(&format!("{}: {line}", self.role));
    }

    /// Waits until `ready` has something; `what` says what for, for the error.
    pub(super) fn wait<T>(
        &self,
        limit: Option<Duration>,
        what: impl Fn(&State) -> String,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, ServeError> {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            if let Some(value) = ready(&mut state) {
                return Ok(value);
            }
            if state.stop_at.is_some_and(|at| at <= state.current) {
                return Err(ServeError::Stopped);
            }
            let pause = match limit.map(|limit| limit.checked_sub(start.elapsed())) {
                None => Duration::from_hours(1),
                Some(Some(left)) => left,
                Some(None) => {
                    let (own, missing) = (self.role, what(&state));
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
        self.wait(Some(limit), |state| missing(state).join(", "), ready)
    }

    /// The cause of an error: what the network thread saw, if it saw something, otherwise `error`.
    pub(super) fn cause(&self, error: ServeError) -> ServeError {
        self.lock().failure.take().unwrap_or(error)
    }

    fn fail(&self, error: ServeError, seen: &RunError) {
        self.lock().failure.get_or_insert(error);
        self.mailbox.fail(seen);
        self.changed.notify_all();
    }

    pub(super) fn link(&self, role: Role) -> Option<Arc<Link>> {
        self.lock().peers.get(&role).cloned()
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
            state.current = begin.first;
            self.mailbox.advance_to(begin.first);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The messages of the setup phase that have come to a role without steps.
    pub(super) fn setup_packets(&self, limit: Option<Duration>) -> Result<Vec<Packet>, ServeError> {
        let ready =
            |_: &mut State| Some(self.mailbox.take_setup()).filter(|packets| !packets.is_empty());
        self.wait(limit, |_| "the dealer's masks of the weights".into(), ready)
    }

    // Runs.

    /// `run` begins at this role; those before it are over.
    pub(super) fn begin_run(&self, run: u64) {
        let mut state = self.lock();
        state.current = run;
        state.claims = state.claims.split_off(&run);
        state.mail = state.mail.split_off(&run);
        state.aborted = state.aborted.split_off(&run);
        self.mailbox.advance_to(run);
    }

    /// Whether `run` or the process was called off.
    pub(super) fn is_off(&self, run: u64) -> bool {
        let state = self.lock();
        state.aborted.contains(&run) || state.stop_at.is_some_and(|at| at <= run)
    }

    /// Whether no further run should begin.
    pub(super) fn ends_before(&self, run: u64) -> bool {
        self.lock().stop_at.is_some_and(|at| at <= run)
    }

    /// Waits until the other compute parties have done the offline phase of `run` (`P_0` only), so that a client
    /// that gets the run waits for the online phase alone.
    pub(super) fn wait_for_offline(&self, run: u64) -> Result<(), ServeError> {
        let others: Vec<Role> = self.plan.compute_parties().skip(1).collect();
        let ready = |state: &mut State| {
            let gone = |party: &Role| state.ended.contains(party);
            if state.aborted.contains(&run) || others.iter().any(gone) {
                return Some(Err(RunError::Aborted { role: self.role }.into()));
            }
            let done = |party: &Role| state.ready.get(party).is_some_and(|&ready| ready >= run);
            others.iter().all(done).then_some(Ok(()))
        };
        self.wait(None, |_| String::new(), ready)?
    }

    /// `run` is ready for a client (`P_0` only).
    pub(super) fn offer(&self, run: u64) {
        let mut state = self.lock();
        state.offered = Some(run);
        state.assign();
    }

    /// Waits until a client has said that `run` is its own, so that it gets what waits for it.
    pub(super) fn wait_for_claim(&self, run: u64) -> Result<(), ServeError> {
        let claimed = |state: &mut State| {
            let off = state.aborted.contains(&run) || state.stop_at.is_some_and(|at| at <= run);
            (off || state.claims.contains_key(&run)).then_some(off)
        };
        if self.wait(None, |_| String::new(), claimed)? {
            return Err(RunError::Aborted { role: self.role }.into());
        }
        Ok(())
    }

    /// Calls `run` off here and at the peers.
    pub(super) fn abort(&self, run: u64, why: &str) {
        self.say(&format!("run {run} is called off: {why}"));
        self.abort_here(run);
        let peers: Vec<Role> = self.lock().peers.keys().copied().collect();
        self.tell(&peers, Kind::Abort, run, &[]);
    }

    fn abort_here(&self, run: u64) {
        let mut state = self.lock();
        if run < state.current || run > state.current + AHEAD {
            return;
        }
        state.aborted.insert(run);
        state.offered = state.offered.filter(|&offered| offered != run);
        drop(state);
        self.mailbox.abort(run);
        self.changed.notify_all();
    }

    /// Ends the process after the run that a client has, if any.
    pub(super) fn stop(&self) {
        let state = self.lock();
        let busy = state.claims.contains_key(&state.current);
        let at = state.current + u64::from(busy);
        self.stop_before(state, at);
    }

    fn stop_before(&self, mut state: MutexGuard<'_, State>, run: u64) {
        let at = state.stop_at.map_or(run, |at| at.min(run));
        state.stop_at = Some(at);
        state.offered = state.offered.filter(|&offered| offered < at);
        let current = state.current;
        drop(state);
        if at <= current {
            self.mailbox.abort(current);
        }
        self.changed.notify_all();
    }

    /// The messages recorded for `run`, if all `count` are here.
    pub(super) fn recorded(&self, run: u64, count: usize) -> Result<Vec<Packet>, ServeError> {
        let ready = |state: &mut State| {
            let here = state.recorded.get(&run).map_or(0, BTreeMap::len);
            (here >= count).then(|| state.recorded.remove(&run).unwrap_or_default())
        };
        let packets = self.wait(None, |_| String::new(), ready)?;
        Ok(packets.into_values().collect())
    }

    // Frames.

    fn data(&self, link: &Link, frame: Frame) -> Result<(), String> {
        let Header { phase, message, depth, run, .. } = frame.header;
        let (from, to) = (link.peer, self.role);
        let packet = Packet { from, to, phase, run, message, depth, payload: frame.payload };
        if from == Role::Client && self.lock().claims.get(&run) != Some(&link.id) {
            return Err(format!("run {run} does not belong to this client"));
        }
        if self.filling && self.record(&packet)? {
            return Ok(());
        }
        let delivered = self.mailbox.deliver(&self.plan, packet);
        self.changed.notify_all();
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
        packet.check(&self.plan, self.role).map_err(|error| error.to_string())?;
        let mut state = self.lock();
        let last = state.begin.map_or(0, |begin| begin.first.saturating_add(begin.count));
        if packet.run > last && packet.phase != Phase::Setup {
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
        let from_party = matches!(peer, Role::Party(_));
        let mut state = self.lock();
        match (frame.header.kind, peer) {
            (Kind::Seed, Role::Party(b)) if self.role == Role::Dealer => {
                let bytes =
                    <[u8; 32]>::try_from(frame.payload).map_err(|_| "a seed has 32 bytes")?;
                state.seeds.insert(b, Seed::from_bytes(bytes));
            }
            (Kind::Begin, Role::Party(0)) => {
                let begin = parse_begin(run, &frame.payload).ok_or_else(misplaced)?;
                drop(state);
                self.begun(begin);
                return Ok(());
            }
            (Kind::Ready, Role::Party(_))
                if matches!(self.role, Role::Dealer | Role::Party(0)) && run <= MAX_RUN =>
            {
                state.ready.insert(peer, run);
            }
            (Kind::Request, Role::Client) if self.role == Role::Party(0) => {
                if state.requests.contains(&link.id) {
                    return Err("a client asks for one run at a time".into());
                }
                state.requests.push_back(link.id);
                state.assign();
            }
            (Kind::Claim, Role::Client) if self.role != Role::Party(0) => {
                if run < state.current
                    || run > state.current + AHEAD
                    || state.claims.contains_key(&run)
                {
                    return Err(format!("run {run} is not free"));
                }
                state.claim(run, link);
            }
            (Kind::Abort, _) if from_party || state.claims.get(&run) == Some(&link.id) => {
                drop(state);
                if from_party {
                    self.abort_here(run);
                } else {
                    self.abort(run, "its client broke off");
                }
                return Ok(());
            }
            (Kind::Bye, _) => {
                state.orderly.insert(link.id);
                if peer != Role::Client {
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
            let why = printable(words);
            let error = ServeError::PeerEnded { role, why };
            let source = PeerError::HungUp { role };
            self.fail(error, &RunError::Peer { role: self.role, source });
        } else if matches!(role, Role::Party(_)) {
            self.stop_before(self.lock(), next_run);
        }
        self.changed.notify_all();
    }
}

impl State {
    /// Gives the offered run to the first client that waits.
    fn assign(&mut self) {
        while let (Some(run), Some(&id)) = (self.offered, self.requests.front()) {
            self.requests.pop_front();
            let Some(link) = self.clients.get(&id).cloned() else { continue };
            if link.send_now(Frame::control(Kind::Accept, run, vec![])).is_ok() {
                self.offered = None;
                self.claim(run, &link);
            }
        }
    }

    fn claim(&mut self, run: u64, link: &Link) {
        self.claims.insert(run, link.id);
        for frame in self.mail.remove(&run).unwrap_or_default() {
            let _ = link.send_now(frame);
        }
    }
}

/// What a peer said, cut to characters that cannot confuse a terminal.
fn printable(words: &[u8]) -> String {
    let safe = |c: char| if c.is_control() { ' ' } else { c };
    String::from_utf8_lossy(words).chars().map(safe).collect()
}

fn parse_begin(first: u64, payload: &[u8]) -> Option<Begin> {
    let (deployment, rest) = payload.split_first_chunk()?;
    let count = u64::from_le_bytes(rest.try_into().ok()?);
    if first > MAX_RUN || count > MAX_RUN {
        return None;
    }
    Some(Begin { deployment: *deployment, first, count })
}

impl Begin {
    pub(super) fn payload(&self) -> Vec<u8> {
        [&self.deployment[..], &self.count.to_le_bytes()].concat()
    }
}

impl Outbox for Control {
    fn send(&self, packet: Packet) -> Result<(), RunError> {
        let Packet { to, phase, run, message, depth, payload, .. } = packet;
        let len = payload.len() as u32;
        let header = Header { len, kind: Kind::Data, phase, message, depth, run };
        let frame = Frame { header, payload };
        if to == Role::Client && !self.filling {
            let mut state = self.lock();
            let link = state.claims.get(&run).map(|id| state.clients.get(id).cloned());
            match link {
                None => state.mail.entry(run).or_default().push(frame),
                Some(link) => {
                    // A client that is gone has its run called off by the network thread.
                    drop(state);
                    let _ = link.map(|link| link.send(frame));
                }
            }
            return Ok(());
        }
        let gone = RunError::Peer { role: self.role, source: PeerError::HungUp { role: to } };
        let link = self.link(to).ok_or_else(|| gone.clone())?;
        link.send(frame).map_err(|_| gone)
    }
}

impl Receiver for Control {
    fn joined(&self, link: &Arc<Link>) -> Result<(), String> {
        let mut state = self.lock();
        if link.peer == Role::Client && !self.filling {
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

    fn frame(&self, link: &Arc<Link>, frame: Frame) -> Result<(), String> {
        match frame.header.kind {
            Kind::Data => self.data(link, frame),
            Kind::Hello => Err("a second hello".into()),
            Kind::Seed
            | Kind::Begin
            | Kind::Ready
            | Kind::Request
            | Kind::Accept
            | Kind::Claim
            | Kind::Abort
            | Kind::Bye => self.control(link, frame),
        }
    }

    fn is_full(&self, peer: Role) -> bool {
        self.mailbox.is_full(peer)
    }

    fn closed(&self, link: &Arc<Link>, why: &str) {
        let mut state = self.lock();
        let orderly = state.orderly.remove(&link.id);
        if state.clients.remove(&link.id).is_some() {
            state.requests.retain(|id| *id != link.id);
            let mine = state.claims.iter().filter(|(_, id)| **id == link.id);
            let runs: Vec<u64> = mine.map(|(run, _)| *run).collect();
            drop(state);
            for run in runs.into_iter().filter(|_| !orderly) {
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
