//! Roles as they run in production, over TCP on this machine, one thread per role.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{product_data, product_plan};
use mpcc_ir::codec;
use mpcc_ir::plan::{Message, MessageKind, Phase, Plan, Role, Word};
use mpcc_runtime::net::frame::{Frame, HEADER, Header, Kind};
use mpcc_runtime::net::handshake::{Hello, Mode, VERSION};
use mpcc_runtime::serve::{
    InferOptions, InferOutcome, Report, ServeError, ServeOptions, StopHandle, infer, serve,
};
use mpcc_runtime::trace::{Clock, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const N: usize = 700;

/// For what must come: a test fails that waits longer, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Roles that serve, each in a thread of its own.
type Threads = BTreeMap<Role, JoinHandle<Result<Report, ServeError>>>;

/// A deployment on this machine.
struct Town {
    plan: Arc<Plan>,
    digest: [u8; 32],
    peers: BTreeMap<Role, String>,
    listeners: BTreeMap<Role, TcpListener>,
    dir: tempfile::TempDir,
}

impl Town {
    fn new(parties: u8) -> Self {
        Self::with_depth(parties, 1)
    }

    /// With that many runs in flight.
    fn with_depth(parties: u8, depth: u8) -> Self {
        let plan = Plan { depth, ..product_plan(parties, Word::W32, N as u64) };
        let plan = Arc::new(plan);
        let digest = codec::digest(&codec::encode(&plan));
        let mut town = Self {
            plan,
            digest,
            peers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            dir: tempfile::tempdir().unwrap(),
        };
        town.listen();
        town
    }

    fn listen(&mut self) {
        for role in self.plan.compute_parties().chain([Role::Dealer]) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            self.peers.insert(role, listener.local_addr().unwrap().to_string());
            self.listeners.insert(role, listener);
        }
    }

    fn options(&mut self, role: Role) -> ServeOptions {
        let (_, weights, _) = product_data(Word::W32, N);
        ServeOptions {
            role,
            plan: Arc::clone(&self.plan),
            plan_digest: self.digest,
            weights: (role == Role::Owner).then_some(weights),
            listener: self.listeners.remove(&role),
            peers: self.peers.clone(),
            state_dir: self.state_dir(role),
            threads: 1,
            runs: None,
            stored: false,
            fill: None,
            connect_within: PATIENCE,
            stall: Some(PATIENCE),
            trace: None,
            log: Arc::new(|_| ()),
            stop: StopHandle::default(),
        }
    }

    fn state_dir(&self, role: Role) -> std::path::PathBuf {
        self.dir.path().join(role.to_string())
    }

    fn roles(&self) -> Vec<Role> {
        self.plan.compute_parties().chain([Role::Dealer, Role::Owner]).collect()
    }

    fn start(&mut self, roles: &[Role], change: impl Fn(&mut ServeOptions)) -> Threads {
        let mut threads = BTreeMap::new();
        for &role in roles {
            let mut options = self.options(role);
            change(&mut options);
            threads.insert(role, std::thread::spawn(move || serve(options)));
        }
        threads
    }

    fn client(&self, runs: u64) -> InferOptions {
        InferOptions {
            plan: Arc::clone(&self.plan),
            plan_digest: self.digest,
            peers: self.peers.clone(),
            state_dir: self.state_dir(Role::Client),
            stored: false,
            runs,
            keep: None,
            connect_within: PATIENCE,
            stall: Some(PATIENCE),
            trace: None,
            log: Arc::new(|_| ()),
        }
    }
}

fn check(outcome: &InferOutcome, runs: usize) {
    let (_, _, y) = product_data(Word::W32, N);
    assert_eq!(outcome.outputs.len(), runs);
    for outputs in &outcome.outputs {
        assert_eq!(outputs[0].raw, y);
    }
}

fn join(threads: Threads) -> BTreeMap<Role, Result<Report, ServeError>> {
    threads.into_iter().map(|(role, thread)| (role, thread.join().unwrap())).collect()
}

#[test]
fn runs_over_tcp_cost_what_the_plan_says() {
    for (parties, depth, threads) in [(2, 1, 1), (2, 2, 1), (2, 4, 2), (3, 1, 2), (3, 3, 1)] {
        let mut town = Town::with_depth(parties, depth);
        let threads = town.start(&town.roles(), |options| {
            (options.runs, options.threads) = (Some(7), threads);
        });
        let (x, _, _) = product_data(Word::W32, N);
        let outcome = infer(&town.client(7), &[x]).unwrap();
        check(&outcome, 7);
        let numbers: Vec<u64> = outcome.report.runs.iter().map(|run| run.run).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7], "in order, whichever is ready first");
        assert_eq!(
            outcome.s_per_run().is_some(),
            7 >= 3 * depth - 1,
            "a group between the first and the last"
        );
        assert_eq!(outcome.report.rounds, town.plan.rounds());
        for (role, report) in join(threads) {
            let report = report.unwrap();
            let planned = |phase| town.plan.sent_bytes(role, phase);
            assert_eq!(report.sent_bytes.setup, planned(Phase::Setup), "{role}");
            if role != Role::Owner {
                assert_eq!(report.runs.len(), 7, "{role}");
                assert_eq!(report.sent_bytes.offline, planned(Phase::Offline), "{role}");
                assert_eq!(report.sent_bytes.online, planned(Phase::Online), "{role}");
            }
            assert!(report.wire_bytes > report.sent_bytes.setup, "{role}");
        }
    }
}

#[test]
fn clients_come_and_go_and_a_stop_is_orderly() {
    for depth in [1, 3] {
        clients_come_and_go(Town::with_depth(2, depth));
    }
}

fn clients_come_and_go(mut town: Town) {
    let stop = StopHandle::default();
    let shared = stop.clone();
    let roles = town.roles();
    let threads = town.start(&roles, move |options| {
        if options.role == Role::Party(1) {
            options.stop = shared.clone();
        }
    });
    let (x, _, _) = product_data(Word::W32, N);
    check(&infer(&town.client(1), std::slice::from_ref(&x)).unwrap(), 1);
    let both: Vec<_> = (0..2)
        .map(|_| {
            let (options, x) = (town.client(2), x.clone());
            std::thread::spawn(move || infer(&options, &[x]).unwrap())
        })
        .collect();
    let mut numbers = vec![];
    for client in both {
        let outcome = client.join().unwrap();
        check(&outcome, 2);
        numbers.extend(outcome.report.runs.iter().map(|run| run.run));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4, 5], "no run number is given out twice");
    stop.stop();
    for (role, report) in join(threads) {
        assert!(report.is_ok(), "{role}: {report:?}");
    }
}

#[test]
fn run_numbers_go_on_after_a_restart() {
    let mut town = Town::new(2);
    let (x, _, _) = product_data(Word::W32, N);
    let mut last = 0;
    for _ in 0..2 {
        let threads = town.start(&town.roles(), |options| options.runs = Some(2));
        let outcome = infer(&town.client(2), std::slice::from_ref(&x)).unwrap();
        let numbers: Vec<u64> = outcome.report.runs.iter().map(|run| run.run).collect();
        assert!(numbers[0] > last && numbers[1] > numbers[0], "{numbers:?} after {last}");
        last = numbers[1];
        all_are_well(threads);
        town.listen();
    }
}

#[test]
fn stored_runs_need_no_dealer_and_are_used_once() {
    for depth in [1, 2, 4] {
        stored_runs(Town::with_depth(2, depth));
    }
}

fn stored_runs(mut town: Town) {
    let mut roles = town.roles();
    roles.push(Role::Client);
    let threads = town.start(&roles, |options| options.fill = Some(2));
    all_are_well(threads);
    assert!(town.state_dir(Role::Client).join("store/run-2").exists());

    town.listen();
    let parties: Vec<Role> = town.plan.compute_parties().collect();
    let recorded = Arc::new(Mutex::new(BTreeSet::new()));
    let threads = town.start(&parties, |options| {
        options.stored = true;
        let (file, recorded) = (options.state_dir.join("next_run"), Arc::clone(&recorded));
        options.log = Arc::new(move |_| {
            let number = std::fs::read_to_string(&file).ok().and_then(|n| n.trim().parse().ok());
            recorded.lock().unwrap().extend::<Option<u64>>(number);
        });
    });
    let (x, _, _) = product_data(Word::W32, N);
    let mut client = town.client(3);
    client.stored = true;
    // The third run is not in the store: the parties end in order, and the client says so.
    let error = infer(&client, std::slice::from_ref(&x)).unwrap_err();
    assert_eq!(error.to_string(), "P0 ended: it serves no more runs");
    for (role, report) in join(threads) {
        let report = report.unwrap();
        assert_eq!(report.runs.len(), 2, "{role}");
        assert_eq!(
            report.sent_bytes.setup, 0,
            "{role}: the setup was sent when the store was filled"
        );
    }
    for role in parties {
        assert!(!Path::new(&town.state_dir(role)).join("store/run-1").exists());
    }
    // No number more than is used: a crash must not take runs from the store.
    let recorded = recorded.lock().unwrap();
    assert!(recorded.last().is_some_and(|last| *last <= 3), "{recorded:?}");
}

#[test]
fn a_client_keeps_as_many_outputs_as_it_is_told() {
    let mut town = Town::new(2);
    let threads = town.start(&town.roles(), |options| options.runs = Some(3));
    let (x, _, _) = product_data(Word::W32, N);
    let outcome = infer(&InferOptions { keep: Some(1), ..town.client(3) }, &[x]).unwrap();
    check(&outcome, 1);
    assert_eq!(outcome.report.runs.len(), 3);
    all_are_well(threads);
}

#[test]
fn a_setup_that_fails_ends_the_session() {
    let mut town = Town::with_depth(2, 2);
    let mut roles = town.roles();
    roles.push(Role::Client);
    all_are_well(town.start(&roles, |options| options.fill = Some(2)));
    town.listen();
    // Whole, and no messages of the setup.
    let store = town.state_dir(Role::Party(1)).join("store");
    std::fs::copy(store.join("run-1"), store.join("setup")).unwrap();
    let parties: Vec<Role> = town.plan.compute_parties().collect();
    let threads = town.start(&parties, |options| options.stored = true);
    let start = Instant::now();
    while !threads.values().all(JoinHandle::is_finished) {
        assert!(start.elapsed() < Duration::from_secs(30), "a role waits for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut said = join(threads).into_values().map(|report| report.unwrap_err().to_string());
    insta::assert_snapshot!(said.next().unwrap(), @"P1 ended: P1: message 4 belongs to the offline phase and came in the setup phase");
    insta::assert_snapshot!(said.next().unwrap(), @"P1: message 4 belongs to the offline phase and came in the setup phase");
}

#[test]
fn another_plan_is_refused_at_both_ends() {
    let mut town = Town::new(2);
    let threads = town.start(&[Role::Party(0), Role::Party(1)], |options| {
        if options.role == Role::Party(1) {
            options.plan_digest = [0; 32];
        }
    });
    for (role, report) in join(threads) {
        let error = report.unwrap_err().to_string();
        assert!(error.contains("has another plan"), "{role}: {error}");
    }
}

#[test]
fn a_role_at_a_wrong_address_is_refused_at_both_ends() {
    let mut town = Town::new(2);
    let swapped = town.peers[&Role::Dealer].clone();
    let (lines, stop) = (Arc::new(Mutex::new(Vec::new())), StopHandle::default());
    let mut threads = town.start(&[Role::Dealer, Role::Party(1)], |options| {
        if options.role == Role::Party(1) {
            options.peers.insert(Role::Party(0), swapped.clone());
        } else {
            let lines = Arc::clone(&lines);
            options.log = Arc::new(move |line| lines.lock().unwrap().push(line.to_owned()));
            options.stop = stop.clone();
        }
    });
    let p1 = threads.remove(&Role::Party(1)).unwrap().join().unwrap().unwrap_err().to_string();
    assert_eq!(p1, "the address of P0 belongs to dealer; check `peers` in this configuration");
    stop.stop();
    // Stopped, or told by P1 of its end.
    assert!(join(threads).into_values().all(|report| report.is_err()));
    let said = "P1 looks for P0 here, but this is dealer; check `peers` in its configuration";
    let said = format!("dealer: refused a connection: {said}");
    assert!(lines.lock().unwrap().contains(&said), "{lines:?}");
}

#[test]
fn a_missing_role_is_named() {
    let mut town = Town::new(2);
    drop(town.listeners.remove(&Role::Dealer));
    let threads = town.start(&[Role::Party(0), Role::Party(1), Role::Owner], |options| {
        options.connect_within = Duration::from_secs(3);
    });
    let errors: Vec<String> =
        join(threads).into_values().map(|report| report.unwrap_err().to_string()).collect();
    assert!(errors.iter().all(|error| error.contains("dealer")), "{errors:?}");
}

fn all_are_well(threads: Threads) {
    for (role, report) in join(threads) {
        assert!(report.is_ok(), "{role}: {report:?}");
    }
}

/// A connection to a role, made by hand.
struct Caller(TcpStream);

impl Caller {
    /// Shakes hands with `to` as `from`.
    fn new(town: &Town, from: Role, to: Role) -> Self {
        let (version, plan, mode) = (VERSION, town.digest, Mode::Live);
        let hello = Hello { version, plan, from, to: Some(to), mode, next_run: 1 };
        let mut caller = Self(TcpStream::connect(&town.peers[&to]).unwrap());
        // A frame that never comes fails its test.
        caller.0.set_read_timeout(Some(PATIENCE)).unwrap();
        caller.send(&Frame::control(Kind::Hello, 0, hello.encode()));
        assert_eq!(caller.receive().header.kind, Kind::Hello);
        caller
    }

    fn send(&mut self, frame: &Frame) {
        self.0.write_all(&frame.header.bytes()).unwrap();
        self.0.write_all(&frame.payload).unwrap();
    }

    fn receive(&mut self) -> Frame {
        let mut header = [0; HEADER];
        self.0.read_exact(&mut header).unwrap();
        let header = Header::parse(&header, u64::MAX).unwrap();
        let mut payload = vec![0; header.len as usize];
        self.0.read_exact(&mut payload).unwrap();
        Frame { header, payload: payload.into() }
    }

    /// As a client of `P_0`, asks for a run and returns its number.
    fn ask(&mut self) -> u64 {
        self.ask_to_claim().0
    }

    /// As a client of `P_0`, asks for a run and returns its number and what shows it to others.
    fn ask_to_claim(&mut self) -> (u64, Vec<u8>) {
        self.send(&Frame::control(Kind::Request, 0, vec![]));
        // Before it there may be other frames, for whoever has the run before.
        let mut frame = self.receive();
        while matches!(frame.header.kind, Kind::Data | Kind::Go) {
            frame = self.receive();
        }
        assert_eq!(frame.header.kind, Kind::Accept);
        (frame.header.run, frame.payload.to_vec())
    }

    /// As a client, claims a run.
    fn claim(&mut self, run: u64, token: &[u8]) {
        self.send(&Frame::control(Kind::Claim, run, token.to_vec()));
    }

    /// The reason for which the other end closes the connection.
    fn last_words(&mut self) -> String {
        let mut frame = self.receive();
        while frame.header.kind != Kind::Bye {
            frame = self.receive();
        }
        String::from_utf8_lossy(&frame.payload).into_owned()
    }

    /// As a client of `P_0`, waits until `run` is ready, so that all roles have begun it.
    fn wait_for_ready(&mut self, run: u64) {
        let ready = |header: &Header| (header.kind, header.run) == (Kind::Go, run);
        while !ready(&self.receive().header) {}
    }
}

/// Two parties for two runs in flight, with callers in place of the dealer and the owner: first the dealer's to `P_0`, which
/// has begun a run and deals nothing.
fn parties_alone() -> (Town, Threads, Vec<Caller>) {
    let mut town = Town::with_depth(2, 2);
    let parties = [Role::Party(0), Role::Party(1)];
    let threads = town.start(&parties, |_| ());
    let mut callers = Vec::new();
    for from in [Role::Dealer, Role::Owner] {
        callers.extend(parties.map(|to| Caller::new(&town, from, to)));
    }
    callers[0].send(&Frame::control(Kind::Began, 1, vec![]));
    (town, threads, callers)
}

/// What a client needs to send its input comes while the parties get ready.
#[test]
fn a_client_gets_a_run_when_it_begins() {
    let (town, threads, callers) = parties_alone();
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    // Nobody deals, so no run is ready, and none follows these two.
    for _ in 0..4 {
        client.send(&Frame::control(Kind::Request, 0, vec![]));
    }
    let given = [(); 2].map(|()| client.receive().header);
    assert_eq!(
        given.map(|header| (header.kind, header.run)),
        [(Kind::Accept, 1), (Kind::Accept, 2)]
    );
    drop(callers);
    assert_eq!(client.receive().header.kind, Kind::Bye);
    assert!(join(threads).into_values().all(|report| report.is_err()));
}

#[test]
fn a_client_is_told_when_its_run_is_ready() {
    let (mut town, p0) = (Town::with_depth(2, 2), Role::Party(0));
    let stop = StopHandle::default();
    let shared = stop.clone();
    let threads = town.start(&town.roles(), move |options| {
        if options.role == p0 {
            options.stop = shared.clone();
        }
    });
    let mut client = Caller::new(&town, Role::Client, p0);
    assert_eq!(client.ask(), 1);
    client.wait_for_ready(1);
    drop(client);
    stop.stop();
    all_are_well(threads);
}

/// Clients that give up runs which the others have not begun do not make `P_0` go on without them.
#[test]
fn runs_that_are_given_up_wait_for_all_to_begin_them() {
    let (town, threads, mut callers) = parties_alone();
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!([client.ask(), client.ask()], [1, 2]);
    drop(client);
    let dealer = &mut callers[0];
    // The dealer hears of both, that they are called off, and of a third in the place of the one that it has begun.
    let mut heard = Vec::new();
    while heard.len() < 5 {
        let header = dealer.receive().header;
        if matches!(header.kind, Kind::Ask | Kind::Abort) {
            heard.push((header.kind == Kind::Abort, header.run));
        }
    }
    heard.sort_unstable();
    assert_eq!(heard, [(false, 1), (false, 2), (false, 3), (true, 1), (true, 2)]);
    // Had `P_0` gone on from the second, the dealer would hear of a fourth before this.
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!(client.ask(), 3);
    drop(client);
    let header = dealer.receive().header;
    assert_eq!((header.kind, header.run), (Kind::Abort, 3));
    dealer.send(&Frame::control(Kind::Began, 2, vec![]));
    let header = dealer.receive().header;
    assert_eq!((header.kind, header.run), (Kind::Ask, 4));
    drop(callers);
    assert!(join(threads).into_values().all(|report| report.is_err()));
}

/// A client that has a run and does nothing with it holds nobody up; when it hangs up, its run alone is lost.
#[test]
fn a_run_that_hangs_and_is_called_off_leaves_the_others_alone() {
    let mut town = Town::with_depth(2, 3);
    let threads = town.start(&town.roles(), |options| options.runs = Some(7));
    let (x, _, _) = product_data(Word::W32, N);
    let mut idle = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!(idle.ask(), 1);
    let outcome = infer(&town.client(6), std::slice::from_ref(&x)).unwrap();
    check(&outcome, 6);
    assert!(outcome.report.runs.iter().map(|run| run.run).eq(2..=7));
    drop(idle);
    let outcome = infer(&town.client(1), &[x]).unwrap();
    check(&outcome, 1);
    assert_eq!(outcome.report.runs[0].run, 8);
    for (role, report) in join(threads) {
        let completed = report.unwrap().runs.len();
        assert_eq!(completed, if role == Role::Owner { 0 } else { 7 }, "{role}");
    }
}

/// Stops everything in the middle of runs, as a crash would, but for what was on the disk.
#[test]
fn a_crash_with_runs_in_flight_repeats_no_number() {
    let mut town = Town::with_depth(2, 3);
    let stop = StopHandle::default();
    let shared = stop.clone();
    let threads = town.start(&town.roles(), move |options| {
        if options.role == Role::Party(0) {
            options.stop = shared.clone();
        }
    });
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!([client.ask(), client.ask(), client.ask()], [1, 2, 3]);
    client.wait_for_ready(3);
    let mut after = Town::with_depth(2, 3);
    for role in [Role::Party(0), Role::Party(1), Role::Dealer] {
        let to = after.state_dir(role);
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(town.state_dir(role).join("next_run"), to.join("next_run")).unwrap();
    }
    drop(client);
    stop.stop();
    all_are_well(threads);
    let threads = after.start(&after.roles(), |options| options.runs = Some(4));
    let (x, _, _) = product_data(Word::W32, N);
    let outcome = infer(&after.client(4), &[x]).unwrap();
    check(&outcome, 4);
    // Sixteen numbers were recorded at once.
    let runs: Vec<u64> = outcome.report.runs.iter().map(|run| run.run).collect();
    assert_eq!(runs, [17, 18, 19, 20]);
    all_are_well(threads);
}

#[test]
fn messages_of_runs_far_ahead_are_refused() {
    for depth in [1, 3] {
        let mut town = Town::with_depth(2, depth);
        let last = Role::Party(1);
        let threads = town.start(&[Role::Party(0), last], |_| ());
        let mut dealer = Caller::new(&town, Role::Dealer, last);
        let is_correction = |m: &Message| m.kind == MessageKind::Correction;
        let message = town.plan.messages.iter().position(is_correction).unwrap() as u32;
        let payload = vec![0; town.plan.messages[message as usize].bytes as usize];
        let (kind, phase, len, depth) = (Kind::Data, Phase::Offline, payload.len() as u32, 0);
        // Before the session starts no run has begun: those that may be in reach wait, and the next one does not.
        for run in 1..=2 * u64::from(town.plan.depth) + 3 {
            let header = Header { len, kind, phase, message, depth, run };
            dealer.send(&Frame { header, payload: payload.clone().into() });
        }
        let error = join(threads).remove(&last).unwrap().unwrap_err();
        let run = 2 * town.plan.depth + 3;
        let said = format!(
            "P1: dealer sent a message of run {run}, which is over or too far ahead of run 0"
        );
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn a_client_has_as_many_runs_as_the_plan_says() {
    let mut town = Town::with_depth(2, 2);
    let stop = StopHandle::default();
    let shared = stop.clone();
    let threads = town.start(&[Role::Party(0)], move |options| options.stop = shared.clone());
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    // As many as are in flight may wait for a place.
    for _ in 0..5 {
        client.send(&Frame::control(Kind::Request, 0, vec![]));
    }
    assert_eq!(client.last_words(), "a client asks for 5 runs at a time");
    stop.stop();
    let stopped = join(threads).remove(&Role::Party(0)).unwrap();
    assert!(matches!(stopped, Err(ServeError::Stopped)), "{stopped:?}");
}

/// Shakes hands with `P_0` as the dealer, sends `after`, and hangs up.
fn false_dealer(town: &Town, after: &[u8]) {
    Caller::new(town, Role::Dealer, Role::Party(0)).0.write_all(after).unwrap();
}

#[test]
fn a_dealer_that_hangs_up_or_lies_is_named() {
    let header = |len, kind| {
        let (message, depth, run) = (9999, 0, 0);
        Header { len, kind, phase: Phase::Setup, message, depth, run }.bytes()
    };
    let truncated = [&header(100, Kind::Seed)[..], &[1; 50]].concat();
    let cases = [
        (vec![], "dealer ended: it closed the connection"),
        (truncated, "dealer ended: the connection broke: early eof"),
        (
            header(u32::MAX, Kind::Data).to_vec(),
            "dealer ended: a frame of 4294967295 bytes where at most 2800 are allowed",
        ),
        (
            header(0, Kind::Data).to_vec(),
            "dealer ended: message 9999 does not exist in this plan; check that both run the same plan",
        ),
        (
            header(0, Kind::Accept).to_vec(),
            "dealer ended: dealer may not send a Accept frame to P0",
        ),
    ];
    for (sent, said) in cases {
        let mut town = Town::new(2);
        let threads = town.start(&[Role::Party(0)], |_| ());
        false_dealer(&town, &sent);
        let error = join(threads).remove(&Role::Party(0)).unwrap().unwrap_err();
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn garbage_on_the_port_is_ignored() {
    let mut town = Town::new(2);
    let addresses: Vec<String> = town.peers.values().cloned().collect();
    let threads = town.start(&town.roles(), |options| options.runs = Some(1));
    for address in addresses {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: nobody\r\nAccept: */*\r\n\r\n").unwrap();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(&[0xff; 3]).unwrap();
    }
    let (x, _, _) = product_data(Word::W32, N);
    check(&infer(&town.client(1), &[x]).unwrap(), 1);
    all_are_well(threads);
}

#[test]
fn a_client_that_breaks_off_costs_its_run_only() {
    let mut town = Town::new(2);
    let threads = town.start(&town.roles(), |options| options.runs = Some(1));
    let (x, _, _) = product_data(Word::W32, N);
    let mut hasty = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!(hasty.ask(), 1);
    drop(hasty);
    let outcome = infer(&town.client(1), &[x]).unwrap();
    check(&outcome, 1);
    assert_eq!(outcome.report.runs[0].run, 2);
    all_are_well(threads);
}

/// A client that is told to send its input and does not loses its run after the time that a message may be late.
#[test]
fn a_client_that_sends_no_input_keeps_nobody_waiting() {
    let mut town = Town::new(2);
    let threads = town.start(&town.roles(), |options| {
        options.runs = Some(1);
        if options.role == Role::Party(0) {
            options.stall = Some(Duration::from_secs(3));
        }
    });
    let (x, _, _) = product_data(Word::W32, N);
    let mut silent = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!(silent.ask(), 1);
    let outcome = infer(&town.client(1), &[x]).unwrap();
    check(&outcome, 1);
    assert_eq!(outcome.report.runs[0].run, 2);
    silent.wait_for_ready(1);
    // Shares of the result that do not depend on the input may come first.
    let mut header = silent.receive().header;
    while header.kind == Kind::Data {
        header = silent.receive().header;
    }
    assert_eq!((header.kind, header.run), (Kind::Abort, 1));
    drop(silent);
    all_are_well(threads);
}

/// A client that sends something without the mask of its input takes no slot of the dealer with it.
#[test]
fn a_run_that_nobody_claims_at_the_dealer_ends_there() {
    let mut town = Town::new(2);
    let threads = town.start(&town.roles(), |options| options.runs = Some(2));
    let parties = [Role::Party(0), Role::Party(1)];
    let mut links = parties.map(|to| Caller::new(&town, Role::Client, to));
    let (run, token) = links[0].ask_to_claim();
    links[1].claim(run, &token);
    links[0].wait_for_ready(run);
    for (id, message) in town.plan.messages.iter().enumerate() {
        let Some(at) = parties.iter().position(|to| *to == message.to) else { continue };
        if message.kind == MessageKind::Input {
            let (len, phase, message) = (message.bytes as u32, message.phase, id as u32);
            let header = Header { len, kind: Kind::Data, phase, message, depth: 0, run };
            links[at].send(&Frame { header, payload: vec![0; len as usize].into() });
        }
    }
    let (x, _, _) = product_data(Word::W32, N);
    check(&infer(&town.client(1), &[x]).unwrap(), 1);
    drop(links);
    all_are_well(threads);
}

#[test]
fn a_run_is_claimed_only_by_whom_it_was_given_to() {
    let (town, threads, callers) = parties_alone();
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    let (run, token) = client.ask_to_claim();
    for (run, token) in [(run, &[0; 32][..]), (run, &[]), (run + 1, &token)] {
        let mut thief = Caller::new(&town, Role::Client, Role::Party(1));
        thief.claim(run, token);
        assert_eq!(thief.last_words(), format!("run {run} was not given to this client"));
    }
    let mut owner = Caller::new(&town, Role::Client, Role::Party(1));
    owner.claim(run, &token);
    owner.claim(run, &token);
    assert_eq!(owner.last_words(), format!("run {run} is not free"));
    drop((callers, client));
    assert!(join(threads).into_values().all(|report| report.is_err()));
}

/// Before it sends so much as a byte of it.
#[test]
fn a_client_may_not_announce_what_is_not_its_own() {
    let (town, threads, callers) = parties_alone();
    let refused = |kind: MessageKind| {
        let id = town.plan.messages.iter().position(|m| m.kind == kind && m.to == Role::Party(1));
        let (id, message) = (id.unwrap() as u32, &town.plan.messages[id.unwrap()]);
        let (len, phase) = (message.bytes as u32, message.phase);
        let header = Header { len, kind: Kind::Data, phase, message: id, depth: 0, run: 1 };
        let mut client = Caller::new(&town, Role::Client, Role::Party(1));
        client.0.write_all(&header.bytes()).unwrap();
        client.last_words()
    };
    let said = refused(MessageKind::Correction);
    assert!(said.contains("dealer"), "{said}");
    assert_eq!(refused(MessageKind::Input), "run 1 does not belong to this client");
    drop(callers);
    assert!(join(threads).into_values().all(|report| report.is_err()));
}

#[test]
fn a_dealer_that_stops_in_order_ends_the_session_in_order() {
    let mut town = Town::with_depth(2, 2);
    let stop = StopHandle::default();
    let threads = town.start(&town.roles(), |options| {
        if options.role == Role::Dealer {
            options.stop = stop.clone();
        }
    });
    let (x, _, _) = product_data(Word::W32, N);
    check(&infer(&town.client(3), &[x]).unwrap(), 3);
    stop.stop();
    all_are_well(threads);
}

#[test]
fn a_bad_input_calls_nobody() {
    let town = Town::new(2);
    let (mut x, _, _) = product_data(Word::W32, N);
    x[3] = f32::NAN;
    let error = infer(&town.client(1), &[x]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input `x`, element 3: not a finite number; clean the data first"
    );
}

/// In the setup and the last runs, as many as may be in flight: every step once, after those before it; every
/// message received after it was sent.
#[test]
fn a_trace_has_every_step_and_message_once() {
    for depth in [1, 3] {
        let mut town = Town::with_depth(2, depth);
        let clock = Clock::new();
        let roles = town.start(&town.roles(), |options| {
            options.trace = Some(clock);
            options.threads = 2;
            options.runs = Some(5);
        });
        let client = InferOptions { trace: Some(clock), ..town.client(5) };
        let (x, _, _) = product_data(Word::W32, N);
        let outcome = infer(&client, &[x]).unwrap();
        let reports = join(roles).into_values().map(Result::unwrap);
        let traces = reports.chain([outcome.report]).filter_map(|report| report.trace);
        let traces: Vec<Trace> = traces.collect();
        assert_eq!(traces.len(), 4, "P0, P1, the dealer and the client");
        let kept: Vec<u64> = (1..=5).filter(|run| run + 2 * u64::from(depth) > 5).collect();
        check_traces(&town.plan, &traces, &kept);
    }
}

fn check_traces(plan: &Plan, traces: &[Trace], runs: &[u64]) {
    let mut sent = BTreeMap::new();
    let mut received = BTreeMap::new();
    for trace in traces {
        assert_eq!(trace.runs(), runs, "{}", trace.role);
        for phase in &trace.phases {
            let steps = plan.role(trace.role).map_or(&[][..], |own| own.steps(phase.phase));
            let order: Vec<u32> = phase.steps.iter().map(|step| step.step).collect();
            assert_eq!(order, (0..steps.len() as u32).collect::<Vec<_>>());
            for (step, time) in steps.iter().zip(&phase.steps) {
                assert!(time.start_ns <= time.end_ns && time.thread < trace.threads);
                for &before in &step.after {
                    assert!(phase.steps[before as usize].end_ns <= time.start_ns);
                }
            }
            for time in &phase.sent {
                assert_eq!(plan.messages[time.message as usize].from, trace.role);
                assert!(sent.insert((phase.run, time.message), time.at_ns).is_none());
            }
            for time in &phase.received {
                assert_eq!(plan.messages[time.message as usize].to, trace.role);
                assert!(received.insert((phase.run, time.message), time.at_ns).is_none());
            }
        }
    }
    for (id, message) in plan.messages.iter().enumerate() {
        let of_phase = if message.phase == Phase::Setup { &[0][..] } else { runs };
        for run in of_phase {
            let key = (*run, id as u32);
            let (sent, received) = (sent.get(&key), received.get(&key));
            // An outside owner of the weights has no steps, and keeps no trace.
            assert_eq!(sent.is_none(), message.from == Role::Owner, "message {id}");
            assert_eq!(received.is_none(), message.to == Role::Owner, "message {id}");
            if let (Some(sent), Some(received)) = (sent, received) {
                assert!(sent <= received, "message {id}: {sent} {received}");
            }
        }
    }
}

#[test]
fn no_trace_unless_asked_for() {
    let mut town = Town::new(2);
    let roles = town.start(&town.roles(), |options| options.runs = Some(1));
    let (x, _, _) = product_data(Word::W32, N);
    let outcome = infer(&town.client(1), &[x]).unwrap();
    let reports = join(roles).into_values().map(Result::unwrap);
    assert!(reports.chain([outcome.report]).all(|report| report.trace.is_none()));
}
