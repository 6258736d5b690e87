//! The client as a process: asks for runs, sends inputs, receives outputs.

use super::control::most_requests;
use super::error::ServeError;
use super::links::{Event, Links, State, no_more_runs};
use super::options::Log;
use super::report::{Report, RunReport, seconds_per_run};
use super::session::{addresses, data_limit};
use crate::client::{ClientRun, Output};
use crate::error::{PeerError, RunError};
use crate::ledger::Ledger;
use crate::net::frame::{Frame, Kind};
use crate::net::handshake::{Hello, Mode, VERSION};
use crate::net::hub::{Hub, HubOptions, Receiver};
use crate::packet::Packet;
use crate::store::Store;
use crate::trace::{Clock, MessageTime, Trace};
use mpcc_ir::plan::{Phase, Plan, Role};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
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
    /// How many runs with these inputs; as many in flight as the plan says.
    pub runs: u64,
    /// Of how many runs the outputs are kept, the last ones; of all if absent.
    pub keep: Option<usize>,
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
    /// Per run whose outputs are kept, those in the plan's order.
    pub outputs: Vec<Vec<Output>>,
    /// Times and bytes.
    pub report: Report,
    /// Seconds from the first request to each run's output, in the order in which they came.
    pub output_s: Vec<f64>,
}

impl InferOutcome {
    /// Seconds from the first request to the first output: in a new deployment, with what was left of the setup.
    pub fn first_output_s(&self) -> f64 {
        self.output_s.first().copied().unwrap_or_default()
    }

    /// Seconds from one output to the next; see [`seconds_per_run`].
    pub fn s_per_run(&self) -> Option<f64> {
        seconds_per_run(&self.output_s, self.report.depth)
    }
}

/// Runs `inputs`, one row-major tensor per input of the plan, through the parties that serve.
///
/// # Errors
/// [`ServeError`] names the input, peer or file that is the cause. Inputs are looked at before anyone is called.
pub fn infer(options: &InferOptions, inputs: &[Vec<f32>]) -> Result<InferOutcome, ServeError> {
    crate::check::check_plan(&options.plan).map_err(RunError::from)?;
    ClientRun::new(Arc::clone(&options.plan), 0, inputs)?;
    let source = Source::open(options)?;
    let links = Arc::new(Links::new(Arc::clone(&options.log)));
    let mut hub = connect(options, &source, &links)?;
    let mut client = Client::new(options, source, &links, inputs);
    let mut report = Report::new(Role::Client, options.plan.depth);
    let start = Instant::now();
    let result = client.run_all();
    // Parties take a reason for giving up all runs that they have for this client.
    let why = result.as_ref().err().filter(|_| client.has_asked());
    hub.shut_down(u64::MAX, &why.map_or(String::new(), ToString::to_string));
    result?;
    let output_s = client.came.iter().map(|at| (*at - start).as_secs_f64()).collect();
    report.trace = client.trace.map(|(_, trace)| trace);
    let outputs = client.kept.into_values().collect();
    report.runs = client.done.into_values().collect();
    Ok(InferOutcome { outputs, report: report.finish(hub.wire_bytes()), output_s })
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
        let store =
            Store::open(&options.state_dir, &options.plan, options.plan_digest, Role::Client)?;
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
        partners: roles.clone(),
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

/// The client's side of many runs.
struct Client<'a> {
    options: &'a InferOptions,
    source: Source,
    links: &'a Links,
    inputs: &'a [Vec<f32>],
    asked: u64,
    in_flight: BTreeMap<u64, Flight>,
    /// Complete runs. Runs are given out in order of their numbers.
    done: BTreeMap<u64, RunReport>,
    /// What the last of them gave.
    kept: BTreeMap<u64, Vec<Output>>,
    /// When outputs came.
    came: Vec<Instant>,
    /// Since when the oldest run in flight has waited.
    waiting_since: Instant,
    trace: Option<(Clock, Trace)>,
}

/// A run in flight.
struct Flight {
    client: ClientRun,
    start: Instant,
    /// The parties wait for the inputs.
    ready: bool,
    /// When the inputs were sent.
    sent: Option<Instant>,
}

impl<'a> Client<'a> {
    fn new(
        options: &'a InferOptions,
        source: Source,
        links: &'a Links,
        inputs: &'a [Vec<f32>],
    ) -> Self {
        let depth = usize::from(options.plan.depth);
        Self {
            options,
            source,
            links,
            inputs,
            asked: 0,
            in_flight: BTreeMap::new(),
            done: BTreeMap::new(),
            kept: BTreeMap::new(),
            came: Vec::new(),
            waiting_since: Instant::now(),
            trace: options
                .trace
                .map(|clock| (clock, Trace::new(Role::Client, 0, depth, options.plan_digest))),
        }
    }

    /// Does all runs; after an error, calls off those in flight.
    fn run_all(&mut self) -> Result<(), ServeError> {
        let mut result = Ok(());
        while result.is_ok() && (self.done.len() as u64) < self.options.runs {
            result = self.go_on();
        }
        if result.is_err() {
            for run in self.in_flight.keys() {
                let _ = self.links.send(Role::Party(0), Frame::control(Kind::Abort, *run, vec![]));
            }
        }
        result
    }

    /// Whether there are runs in flight, or may be soon.
    fn has_asked(&self) -> bool {
        !self.in_flight.is_empty() || !self.links.lock().ended.contains(&Role::Party(0))
    }

    fn go_on(&mut self) -> Result<(), ServeError> {
        let most = self.done.len() as u64 + most_requests(&self.options.plan) as u64;
        while self.asked < self.options.runs.min(most) {
            self.links.send(Role::Party(0), Frame::control(Kind::Request, 0, vec![]))?;
            self.asked += 1;
        }
        match self.event()? {
            Event::Accepted { run, token } => self.begin(run, &token),
            Event::Go(run) => self.ready(run),
            Event::Message(packet, arrived) => self.deliver(packet, arrived),
        }
    }

    /// Waits for what comes next. There may be other clients before this one, and an offline phase takes what it takes, so
    /// there is no limit to the wait for a run that is ready; the oldest run in flight has one from then on.
    fn event(&self) -> Result<Event, ServeError> {
        let oldest = self.in_flight.first_key_value().map(|(_, flight)| flight);
        let oldest = oldest.filter(|flight| flight.ready).map(|flight| &flight.client);
        let limit = oldest.and(self.options.stall);
        let left = limit.map(|limit| limit.saturating_sub(self.waiting_since.elapsed()));
        let over = |state: &State| {
            let mut aborted = state.aborted.iter();
            if let Some((_, role)) = aborted.find(|(run, _)| self.in_flight.contains_key(run)) {
                return Some(RunError::Aborted { role: *role }.into());
            }
            let awaits = |role: &&Role| self.in_flight.values().any(|f| f.client.awaits(**role));
            if let Some(role) = state.ended.iter().find(awaits) {
                if !self.in_flight.values().any(|f| f.ready && f.client.awaits(*role)) {
                    return Some(no_more_runs(*role));
                }
                let why = "it left in the middle of the run; see its log".into();
                return Some(ServeError::PeerEnded { role: *role, why });
            }
            let p0 = Role::Party(0);
            (self.in_flight.is_empty() && state.ended.contains(&p0)).then(|| no_more_runs(p0))
        };
        let next =
            |state: &mut State| state.events.pop_front().map(Ok).or_else(|| over(state).map(Err));
        match (self.links.wait(left, "", next), oldest) {
            (Err(ServeError::Waiting { .. }), Some(oldest)) => Err(stalled(self.options, oldest)),
            (event, _) => event?,
        }
    }

    /// `P_0` has given this client a run.
    fn begin(&mut self, run: u64, token: &[u8]) -> Result<(), ServeError> {
        let client = ClientRun::new(Arc::clone(&self.options.plan), run, self.inputs)?;
        let mut flight = Flight { client, start: Instant::now(), ready: false, sent: None };
        let claimed = self.claim(&mut flight.client, token);
        self.in_flight.insert(run, flight);
        claimed
    }

    /// The parties are ready for the inputs of a run.
    fn ready(&mut self, run: u64) -> Result<(), ServeError> {
        let newest = self.newest();
        let flight = self.in_flight.get_mut(&run);
        flight.ok_or_else(|| wrong_run(Role::Party(0), run, newest))?.ready = true;
        self.progress(run, Instant::now());
        self.advance(run)
    }

    /// The newest run in flight, for errors.
    fn newest(&self) -> u64 {
        self.in_flight.last_key_value().map_or(0, |(run, _)| *run)
    }

    /// Something came for a run: only the oldest has a limit.
    fn progress(&mut self, run: u64, at: Instant) {
        if self.in_flight.first_key_value().is_some_and(|(oldest, _)| *oldest == run) {
            self.waiting_since = at;
        }
    }

    fn claim(&mut self, client: &mut ClientRun, token: &[u8]) -> Result<(), ServeError> {
        let run = client.run();
        if !self.links.lock().used.insert(run) {
            // Masking two inputs with one mask would tell their difference.
            return Err(wrong_run(Role::Party(0), run, run));
        }
        if let Source::Store(store, ledger) = &mut self.source {
            ledger.reserve(run)?;
            for packet in store.take(run)? {
                client.deliver(packet)?;
            }
        }
        let others: Vec<Role> = self.links.lock().links.keys().copied().collect();
        for role in others.into_iter().filter(|role| *role != Role::Party(0)) {
            self.links.send(role, Frame::control(Kind::Claim, run, token.to_vec()))?;
        }
        Ok(())
    }

    fn deliver(&mut self, packet: Packet, arrived: Instant) -> Result<(), ServeError> {
        let run = packet.run;
        let newest = self.newest();
        self.progress(run, arrived);
        record(&mut self.trace, &packet, arrived);
        let flight = self.in_flight.get_mut(&run);
        let flight = flight.ok_or_else(|| wrong_run(packet.from, run, newest))?;
        flight.client.deliver(packet)?;
        self.advance(run)
    }

    /// Sends the inputs of a run that is ready when their masks are here, and ends it when its outputs are.
    fn advance(&mut self, run: u64) -> Result<(), ServeError> {
        let Some(flight) = self.in_flight.get_mut(&run) else { return Ok(()) };
        let inputs = flight.ready.then(|| flight.client.masked_inputs()).flatten();
        if let Some(packets) = inputs {
            flight.sent = Some(Instant::now());
            for packet in packets {
                record(&mut self.trace, &packet, Instant::now());
                self.links.send(packet.to, Frame::data(packet))?;
            }
        }
        let Some((outputs, sent)) = flight.client.outputs().zip(flight.sent) else { return Ok(()) };
        let (now, counts) = (Instant::now(), flight.client.counts());
        let report = RunReport {
            run,
            offline_s: (sent - flight.start).as_secs_f64(),
            online_s: (now - sent).as_secs_f64(),
            sent_online: counts.sent_bytes(Phase::Online),
            rounds: counts.rounds,
            ..RunReport::default()
        };
        self.in_flight.remove(&run);
        self.done.insert(run, report.ended());
        self.kept.insert(run, outputs);
        while self.options.keep.is_some_and(|keep| self.kept.len() > keep) {
            self.kept.pop_first();
        }
        self.came.push(now);
        self.waiting_since = now;
        Ok(())
    }
}

/// Takes note of a message where times are wanted.
fn record(trace: &mut Option<(Clock, Trace)>, packet: &Packet, at: Instant) {
    let Some((clock, trace)) = trace else { return };
    let time = MessageTime { message: packet.message, at_ns: clock.ns(at) };
    trace.message(packet.run, packet.phase, packet.to == Role::Client, time);
}

fn wrong_run(role: Role, run: u64, newest: u64) -> ServeError {
    let source = PeerError::WrongRun { role, run, newest };
    RunError::Peer { role: Role::Client, source }.into()
}

fn stalled(options: &InferOptions, client: &ClientRun) -> ServeError {
    let message = client.awaited().unwrap_or(0);
    let info = &options.plan.messages[message as usize];
    let (role, phase, kind, from) = (Role::Client, info.phase, info.kind, info.from);
    RunError::Stalled { role, phase, message, kind, from }.into()
}
