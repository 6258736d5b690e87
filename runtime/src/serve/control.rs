//! What a serving process knows about its peers and clients, fed by the network thread.

use super::error::ServeError;
use super::session::Log;
use crate::error::{PeerError, RunError};
use crate::executor::{Landing, Outbox};
use crate::mailbox::{Mailbox, ahead};
use crate::net::frame::{Frame, Header, Kind};
use crate::net::handshake::{HandshakeError, MAX_RUN, Mode};
use crate::net::hub::Receiver;
use crate::net::link::{Closed, Link};
use crate::packet::{Envelope, Packet};
use crate::payload::Payload;
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

/// Shared by the network thread and the threads that drive the phases of the runs in flight.
pub(super) struct Control {
    pub(super) role: Role,
    pub(super) plan: Arc<Plan>,
    pub(super) mailbox: Mailbox,
    log: Log,
    mode: Mode,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) peers: BTreeMap<Role, Arc<Link>>,
    clients: BTreeMap<u64, Arc<Link>>,
    pub(super) begin: Option<Begin>,
    pub(super) seeds: BTreeMap<u8, Seed>,
    /// The last run that each party has said it is ready for; it was for all before.
    pub(super) ready: BTreeMap<Role, u64>,
    /// The last run that each other role has begun (`P_0` only).
    began: BTreeMap<Role, u64>,
    /// Runs in flight, and later ones that somebody has said something about.
    runs: BTreeMap<u64, Flight>,
    /// The last run that has begun. One up to it that is not in `runs` is over.
    newest: u64,
    completed: u64,
    /// Links of clients that wait for a run (`P_0` only).
    requests: VecDeque<u64>,
    /// Runs from this one on will not happen.
    stop_at: Option<u64>,
    pub(super) ended: BTreeSet<Role>,
    /// Links that said goodbye.
    orderly: BTreeSet<u64>,
    failure: Option<ServeError>,
    /// The failure as the phases see it.
    seen: Option<RunError>,
    /// Messages kept for the store, by run; 0 for the setup phase.
    recorded: BTreeMap<u64, BTreeMap<u32, Packet>>,
}

/// What is known of a run that is not over.
#[derive(Default)]
struct Flight {
    /// All parties have done its offline phase (`P_0` only).
    ready: bool,
    /// Link of the client that has it.
    claim: Option<u64>,
    /// Messages for a client that has not said yet that the run is its own.
    mail: Vec<Frame>,
    aborted: bool,
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
        self.wait(limit, |_| "the dealer's masks of the weights".into(), ready)
    }

    // Runs.

    /// Waits until one more of `limit` runs may begin; its number, or `None` where there will be no more.
    pub(super) fn next_run(&self, limit: u64) -> Result<Option<u64>, ServeError> {
        let ready = |state: &mut State| {
            let run = state.newest + 1;
            if state.completed >= limit || state.stop_at.is_some_and(|at| at <= run) {
                return Some(None);
            }
            let begun = state.completed + state.runs.range(..run).count() as u64;
            (begun < limit).then_some(Some(run))
        };
        self.wait(None, |_| String::new(), ready)
    }

    /// `run` begins at this role.
    pub(super) fn begin_run(&self, run: u64) {
        let mut state = self.lock();
        state.newest = run;
        state.runs.entry(run).or_default();
        state.assign();
        self.mailbox.begin(run);
        drop(state);
        if self.role != Role::Party(0) {
            self.tell(&[Role::Party(0)], Kind::Began, run, &[]);
        }
    }

    /// Waits until all others have begun `run`, which is called off (`P_0` only): clients get runs that the others may not
    /// have begun, and if they gave up one after the other, `P_0` would come to runs that are out of the others' reach.
    pub(super) fn wait_for_others(&self, run: u64) -> Result<(), ServeError> {
        if self.role != Role::Party(0) {
            return Ok(());
        }
        let began = |state: &mut State| {
            let stops = state.stop_at.is_some_and(|at| at <= run);
            (stops || state.has_begun_everywhere(run)).then_some(())
        };
        self.wait(None, |_| String::new(), began)
    }

    /// `run` is over at this role.
    pub(super) fn end_run(&self, run: u64, completed: bool) {
        let mut state = self.lock();
        state.runs.remove(&run);
        state.completed += u64::from(completed);
        state.assign();
        self.mailbox.end(run);
        drop(state);
        self.changed.notify_all();
    }

    /// Neither `run` nor a later one will begin.
    pub(super) fn end_before(&self, run: u64) {
        self.stop_before(self.lock(), run);
    }

    /// The first run that this role will not do, for the others to know when it ends; filling a store is no run.
    pub(super) fn first_undone(&self) -> u64 {
        let state = self.lock();
        let next = state.newest + 1;
        if self.mode == Mode::Fill {
            u64::MAX
        } else {
            state.stop_at.map_or(next, |at| at.min(next))
        }
    }

    /// Whether `run` or the process was called off.
    pub(super) fn is_off(&self, run: u64) -> bool {
        self.lock().is_off(run)
    }

    /// Waits until the other compute parties have done the offline phase of `run` (`P_0` only), so that a client
    /// that then sends its input waits for the online phase alone.
    pub(super) fn wait_for_offline(&self, run: u64) -> Result<(), ServeError> {
        let others: Vec<Role> = self.plan.compute_parties().skip(1).collect();
        let ready = |state: &mut State| {
            let gone = |party: &Role| state.ended.contains(party);
            if state.is_off(run) || others.iter().any(gone) {
                return Some(Err(RunError::Aborted { role: self.role }.into()));
            }
            let done = |party: &Role| state.ready.get(party).is_some_and(|&ready| ready >= run);
            others.iter().all(done).then_some(Ok(()))
        };
        self.wait(None, |_| String::new(), ready)?
    }

    /// `run` is ready for its client's input (`P_0` only).
    pub(super) fn ready(&self, run: u64) {
        let mut state = self.lock();
        let Some(flight) = state.runs.get_mut(&run) else { return };
        flight.ready = true;
        let client = flight.claim;
        if let Some(client) = client.and_then(|id| state.clients.get(&id)) {
            say_ready(client, run);
        }
    }

    /// Waits until a client has said that `run` is its own, so that it gets what waits for it.
    pub(super) fn wait_for_claim(&self, run: u64) -> Result<(), ServeError> {
        let claimed = |state: &mut State| {
            let off = state.is_off(run);
            (off || state.claim_of(run).is_some()).then_some(off)
        };
        if self.wait(None, |_| String::new(), claimed)? {
            return Err(RunError::Aborted { role: self.role }.into());
        }
        Ok(())
    }

    /// Calls `run` off here and at the peers.
    pub(super) fn abort(&self, run: u64, why: &str) {
        if !self.abort_here(run) {
            return;
        }
        self.say(&format!("run {run} is called off: {why}"));
        let peers: Vec<Role> = self.lock().peers.keys().copied().collect();
        self.tell(&peers, Kind::Abort, run, &[]);
    }

    /// Calls `run` off; false if there is nothing to call off.
    fn abort_here(&self, run: u64) -> bool {
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
        state.assign();
        drop(state);
        self.mailbox.abort(run);
        self.changed.notify_all();
        true
    }

    /// Ends the process after the runs that clients have, if any.
    pub(super) fn stop(&self) {
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

    fn stop_before(&self, mut state: MutexGuard<'_, State>, run: u64) {
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
        if from == Role::Client {
            let state = self.lock();
            if state.is_over(run) {
                return Ok(());
            }
            if state.claim_of(run) != Some(link.id) {
                return Err(format!("run {run} does not belong to this client"));
            }
        }
        if self.mode == Mode::Fill && self.record(&packet)? {
            return Ok(());
        }
        let delivered = self.mailbox.deliver(&self.plan, packet);
        if phase == Phase::Setup {
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
        let has_part = matches!(peer, Role::Party(_) | Role::Dealer);
        let mut state = self.lock();
        match (frame.header.kind, peer) {
            (Kind::Seed, Role::Party(b)) if self.role == Role::Dealer => {
                let bytes =
                    <[u8; 32]>::try_from(&*frame.payload).map_err(|_| "a seed has 32 bytes")?;
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
                let ready = state.ready.entry(peer).or_default();
                *ready = run.max(*ready);
            }
            (Kind::Began, Role::Party(_) | Role::Dealer)
                if self.role == Role::Party(0) && run <= MAX_RUN =>
            {
                let last = state.began.entry(peer).or_default();
                *last = run.max(*last);
                state.assign();
            }
            (Kind::Request, Role::Client) if self.role == Role::Party(0) => {
                let own = 1 + state.requests.iter().filter(|id| **id == link.id).count();
                if own > most_requests(&self.plan) {
                    return Err(format!("a client asks for {own} runs at a time"));
                }
                state.requests.push_back(link.id);
                state.assign();
            }
            (Kind::Claim, Role::Client) if self.role != Role::Party(0) => {
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
    /// The oldest run that is not over, or the next one.
    fn oldest(&self) -> u64 {
        self.runs.range(..=self.newest).next().map_or(self.newest + 1, |(run, _)| *run)
    }

    fn is_over(&self, run: u64) -> bool {
        run <= self.newest && !self.runs.contains_key(&run)
    }

    fn is_off(&self, run: u64) -> bool {
        self.stop_at.is_some_and(|at| at <= run) || self.runs.get(&run).is_some_and(|f| f.aborted)
    }

    /// Whether `run` is in flight or may be soon.
    fn is_in_reach(&self, run: u64, plan: &Plan) -> bool {
        !self.is_over(run) && run <= self.newest.saturating_add(ahead(plan))
    }

    /// The link of the client that has `run`.
    fn claim_of(&self, run: u64) -> Option<u64> {
        self.runs.get(&run)?.claim
    }

    /// Whether all others have begun `run` or a later one, or have ended (`P_0` only).
    fn has_begun_everywhere(&self, run: u64) -> bool {
        let mut others =
            self.peers.keys().filter(|peer| matches!(peer, Role::Party(_) | Role::Dealer));
        others.all(|peer| {
            self.ended.contains(peer) || self.began.get(peer).is_some_and(|&last| last >= run)
        })
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
    fn assign(&mut self) {
        while let (Some(run), Some(&id)) = (self.free(), self.requests.front()) {
            self.requests.pop_front();
            let Some(link) = self.clients.get(&id).cloned() else { continue };
            if link.send_now(Frame::control(Kind::Accept, run, vec![])).is_ok() {
                self.claim(run, &link);
                if self.runs[&run].ready {
                    say_ready(&link, run);
                }
            }
        }
    }

    fn claim(&mut self, run: u64, link: &Link) {
        let flight = self.runs.entry(run).or_default();
        flight.claim = Some(link.id);
        for frame in flight.mail.drain(..) {
            let _ = link.send_now(frame);
        }
    }
}

/// Requests that a client may have open: one that waits for each run in flight, so that a place which becomes free is given
/// away at once.
pub(super) fn most_requests(plan: &Plan) -> usize {
    2 * usize::from(plan.depth)
}

/// Tells a client that its run waits for the input.
fn say_ready(client: &Link, run: u64) {
    let _ = client.send_now(Frame::control(Kind::Ready, run, vec![]));
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
            // A client that is gone has its run called off by the network thread.
            let link = state.clients.get(&id).cloned();
            drop(guard);
            let _ = link.map(|link| link.send(frame));
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
            | Kind::Began
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
        // What is stored, and what is refused, comes with its frame.
        if self.mode == Mode::Fill
            || (from == Role::Client && self.lock().claim_of(run) != Some(link.id))
        {
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
            let mine = state.runs.iter().filter(|(_, flight)| flight.claim == Some(link.id));
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
