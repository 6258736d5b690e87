//! The client as a process: asks for runs, sends inputs, receives outputs.

use super::error::ServeError;
use super::report::{Report, RunReport};
use super::session::{Log, addresses, data_limit, from_plan};
use crate::client::{ClientRun, Output};
use crate::error::{PeerError, RunError};
use crate::ledger::Ledger;
use crate::net::frame::{Frame, Header, Kind};
use crate::net::handshake::{HandshakeError, Hello, Mode, VERSION};
use crate::net::hub::{Hub, HubOptions, Receiver};
use crate::net::link::Link;
use crate::packet::Packet;
use crate::store::Store;
use crate::trace::{Clock, MessageTime, Trace};
use mpcc_ir::plan::{Phase, Plan, Role};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a client wants.
pub struct InferOptions {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Identity of the plan file, [`mpcc_ir::codec::digest`] of its bytes.
    pub plan_digest: [u8; 32],
    /// Addresses of all compute parties, and of the dealer unless `stored`.
    pub peers: BTreeMap<Role, String>,
    /// Where the store is, if `stored`.
    pub state_dir: PathBuf,
    /// Take the masks from the store in `state_dir` instead of a dealer.
    pub stored: bool,
    /// How many runs with these inputs.
    pub runs: u64,
    /// How long to wait for the other roles to start.
    pub connect_within: Duration,
    /// How long a message may be late; `None` waits for ever.
    pub stall: Option<Duration>,
    /// Record with this clock when each message comes and goes, for [`Report::trace`].
    pub trace: Option<Clock>,
    /// Where lines for people go.
    pub log: Log,
}

/// What a client gets.
#[derive(Clone, Debug)]
pub struct InferOutcome {
    /// Per run, the outputs in the plan's order.
    pub outputs: Vec<Vec<Output>>,
    /// Times and bytes.
    pub report: Report,
    /// Seconds from the first request to the last output.
    pub wall_s: f64,
}

/// Runs `inputs`, one row-major tensor per input of the plan, through the parties that serve.
///
/// # Errors
/// [`ServeError`] names the input, peer or file that is the cause. Inputs are looked at before anyone is called.
pub fn infer(options: &InferOptions, inputs: &[Vec<f32>]) -> Result<InferOutcome, ServeError> {
    crate::check::check_plan(&options.plan).map_err(RunError::from)?;
    ClientRun::new(Arc::clone(&options.plan), 0, inputs)?;
    let mut source = Source::open(options)?;
    let links = Arc::new(Links { log: Arc::clone(&options.log), ..Links::default() });
    let mut hub = connect(options, &source, &links)?;
    let report = Report::new(Role::Client);
    let mut outcome = InferOutcome { outputs: vec![], report, wall_s: 0.0 };
    let mut result = Ok(());
    outcome.report.begin_runs();
    let start = Instant::now();
    for _ in 0..options.runs {
        result = one_run(options, &mut source, &links, inputs, &mut outcome);
        if result.is_err() {
            break;
        }
    }
    outcome.wall_s = start.elapsed().as_secs_f64();
    let why = result.as_ref().err().map_or(String::new(), ToString::to_string);
    hub.shut_down(u64::MAX, &why);
    result?;
    outcome.report = outcome.report.finish(hub.wire_bytes());
    Ok(outcome)
}

/// Where masks come from.
enum Source {
    Dealer,
    Store(Store, Ledger),
}

impl Source {
    fn open(options: &InferOptions) -> Result<Self, ServeError> {
        if !options.stored {
            return Ok(Self::Dealer);
        }
        let ledger = Ledger::open(&options.state_dir)?;
        let store = Store::open(&options.state_dir, options.plan_digest, Role::Client)?;
        Ok(Self::Store(store, ledger))
    }

    fn mode(&self) -> Mode {
        match self {
            Self::Dealer => Mode::Live,
            Self::Store(store, _) => Mode::Stored(store.session().deployment),
        }
    }
}

fn connect(options: &InferOptions, source: &Source, links: &Arc<Links>) -> Result<Hub, ServeError> {
    let (plan, role) = (&options.plan, Role::Client);
    let mut roles: Vec<Role> = plan.compute_parties().collect();
    if !options.stored {
        roles.push(Role::Dealer);
    }
    let hello = Hello {
        version: VERSION,
        plan: options.plan_digest,
        from: role,
        to: None,
        mode: source.mode(),
        next_run: 1,
    };
    let hub = HubOptions {
        hello,
        parties: plan.parties,
        data_limit: data_limit(plan, role),
        listener: None,
        connect: addresses(role, &options.peers, roles.iter().copied())?,
        connect_within: options.connect_within,
    };
    let receiver: Arc<dyn Receiver> = Arc::<Links>::clone(links);
    let hub = Hub::start(hub, receiver).map_err(ServeError::Network)?;
    // A little longer than the network thread tries, so that its reason is the one reported.
    let within = options.connect_within + Duration::from_secs(11);
    links.wait(Some(within), "the other roles", |state| {
        roles.iter().all(|role| state.links.contains_key(role)).then_some(())
    })?;
    Ok(hub)
}

fn one_run(
    options: &InferOptions,
    source: &mut Source,
    links: &Links,
    inputs: &[Vec<f32>],
    outcome: &mut InferOutcome,
) -> Result<(), ServeError> {
    let p0 = Role::Party(0);
    links.send(p0, Frame::control(Kind::Request, 0, vec![]))?;
    // There may be other clients before this one, so there is no limit to the wait.
    let turn = |state: &mut State| {
        let run = state.accepted.take();
        run.map(Some).or_else(|| state.ended.contains(&p0).then_some(None))
    };
    let run = links.wait(None, "P0's turn", turn)?.ok_or_else(|| no_more_runs(p0))?;
    let mut client = ClientRun::new(Arc::clone(&options.plan), run, inputs)?;
    let start = Instant::now();
    let claimed = claim(options, source, links, &mut client);
    let mut times = Times::new(options, run);
    let done = claimed.and_then(|()| exchange(options, links, &mut client, start, &mut times));
    outcome.report.trace = times.0.map(|(_, trace)| trace);
    match done {
        Ok(times) => {
            let counts = client.counts();
            let report = RunReport {
                run,
                offline_s: times.0,
                online_s: times.1,
                sent_online: counts.sent_bytes(Phase::Online),
                rounds: counts.rounds,
                ..RunReport::default()
            };
            outcome.report.runs.push(report);
            outcome.outputs.extend(client.outputs());
            Ok(())
        }
        Err(error) => {
            let _ = links.send(p0, Frame::control(Kind::Abort, run, vec![]));
            Err(error)
        }
    }
}

/// The messages of a run, where their times are wanted.
struct Times(Option<(Clock, Trace)>);

impl Times {
    fn new(options: &InferOptions, run: u64) -> Self {
        let trace = |clock| (clock, Trace { run, ..Trace::new(Role::Client, 0) });
        Self(options.trace.map(trace))
    }

    fn add(&mut self, packet: &Packet, at: Instant) {
        let Some((clock, trace)) = &mut self.0 else { return };
        let time = MessageTime { message: packet.message, at_ns: clock.ns(at) };
        trace.message(packet.phase, packet.to == Role::Client, time);
    }
}

fn no_more_runs(role: Role) -> ServeError {
    ServeError::PeerEnded { role, why: "it serves no more runs".into() }
}

fn claim(
    options: &InferOptions,
    source: &mut Source,
    links: &Links,
    client: &mut ClientRun,
) -> Result<(), ServeError> {
    let run = client.run();
    if !links.lock().used.insert(run) {
        // Masking two inputs with one mask would tell their difference.
        let source = PeerError::WrongRun { role: Role::Party(0), run, current: run };
        return Err(RunError::Peer { role: Role::Client, source }.into());
    }
    if let Source::Store(store, ledger) = source {
        ledger.reserve(run)?;
        for packet in store.take(run)? {
            client.deliver(from_plan(&options.plan, packet))?;
        }
    }
    let others: Vec<Role> = links.lock().links.keys().copied().collect();
    for role in others.into_iter().filter(|role| *role != Role::Party(0)) {
        links.send(role, Frame::control(Kind::Claim, run, vec![]))?;
    }
    Ok(())
}

/// Sends the inputs and collects the outputs; returns the seconds until the masks were there, and from then on.
fn exchange(
    options: &InferOptions,
    links: &Links,
    client: &mut ClientRun,
    start: Instant,
    times: &mut Times,
) -> Result<(f64, f64), ServeError> {
    let mut sent = None;
    loop {
        if let Some(packets) = client.masked_inputs() {
            sent = Some((start.elapsed(), Instant::now()));
            for packet in packets {
                times.add(&packet, Instant::now());
                links.send(packet.to, data(packet))?;
            }
        }
        if let (true, Some((waited, since))) = (client.is_done(), sent) {
            return Ok((waited.as_secs_f64(), since.elapsed().as_secs_f64()));
        }
        let next = links.wait(options.stall, "", |state| {
            let over = |state: &State| state.ended.iter().find(|r| client.awaits(**r)).copied();
            state.packets.pop_front().map(Ok).or_else(|| over(state).map(Err))
        });
        match next {
            Ok(Ok((packet, arrived))) => {
                times.add(&packet, arrived);
                client.deliver(packet)?;
            }
            Ok(Err(role)) => {
                let why = "it left in the middle of the run; see its log".into();
                return Err(ServeError::PeerEnded { role, why });
            }
            Err(ServeError::Waiting { .. }) => return Err(stalled(options, client)),
            Err(error) => return Err(error),
        }
    }
}

fn stalled(options: &InferOptions, client: &ClientRun) -> ServeError {
    let message = client.awaited().unwrap_or(0);
    let info = &options.plan.messages[message as usize];
    let (role, phase, kind, from) = (Role::Client, info.phase, info.kind, info.from);
    RunError::Stalled { role, phase, message, kind, from }.into()
}

fn data(packet: Packet) -> Frame {
    let Packet { phase, run, message, depth, payload, .. } = packet;
    let len = payload.len() as u32;
    Frame { header: Header { len, kind: Kind::Data, phase, message, depth, run }, payload }
}

/// The client's links, fed by the network thread.
struct Links {
    log: Log,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    links: BTreeMap<Role, Arc<Link>>,
    accepted: Option<u64>,
    used: BTreeSet<u64>,
    packets: VecDeque<(Packet, Instant)>,
    ended: BTreeSet<Role>,
    failure: Option<ServeError>,
}

impl Default for Links {
    fn default() -> Self {
        Self { log: Arc::new(|_| ()), state: Mutex::default(), changed: Condvar::new() }
    }
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<T>(
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

    fn send(&self, role: Role, frame: Frame) -> Result<(), ServeError> {
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
                self.lock().packets.push_back((packet, Instant::now()));
            }
            (Kind::Accept, Role::Party(0)) => self.lock().accepted = Some(run),
            (Kind::Bye, _) => {
                self.lock().ended.insert(from);
                let words = String::from_utf8_lossy(&frame.payload);
                let why: String = words.chars().filter(|c| !c.is_control()).collect();
                if !why.is_empty() {
                    self.fail(ServeError::PeerEnded { role: from, why });
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
