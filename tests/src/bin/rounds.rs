//! Compares the simulated network with the transport: predicted and measured times of messages with pauses
//! between them, over an emulated link.
//!
//!     cargo build --release --bin rounds
//!     netlab run --parties 2 --profile wan -- target/release/rounds wan
//!
//! prints one row for each size, pause and pattern, as Markdown. Every case is a connection of its own, its slow
//! start included. In `turns` the parties send alternately, each as long after a message has come as the pause
//! says; in `both` they send at the same time. The best of `REPEATS` counts, since other work on the host only adds.

use mpcc_compiler::cost::Link as Profile;
use mpcc_compiler::schedule::Network;
use mpcc_ir::plan::{Phase, Role};
use mpcc_runtime::net::frame::{Frame, Header, Kind};
use mpcc_runtime::net::handshake::{HandshakeError, Hello, Mode, VERSION};
use mpcc_runtime::net::hub::{Hub, HubOptions, Receiver};
use mpcc_runtime::net::link::Link;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const BYTES: [u64; 3] = [100_000, 1_000_000, 10_000_000];
const PAUSES_MS: [u64; 3] = [1, 30, 300];
const REPEATS: usize = 2;
/// Nanoseconds in which the threads at both ends wake up.
const WAKE: u64 = 60_000;
const FIRST_PORT: u16 = 7100;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Clone, Copy)]
struct Case {
    bytes: u64,
    pause: Duration,
    rounds: usize,
    both: bool,
}

fn main() -> Result<()> {
    let name = std::env::args().nth(1).ok_or("give the link that netlab makes")?;
    let link = Profile::open(&name)?;
    let own: u8 = std::env::var("NETLAB_PARTY")?.parse()?;
    let hosts = std::env::var("NETLAB_HOSTS")?;
    let first = hosts.split(',').next().ok_or("no hosts")?;
    let mut out = std::io::stdout();
    for (at, case) in cases(&link).into_iter().enumerate() {
        let mut best = f64::INFINITY;
        for repeat in 0..REPEATS {
            let port = FIRST_PORT + (at * REPEATS + repeat) as u16;
            best = best.min(Peer::open(own, first, port)?.measure(case)?);
        }
        let (predicted, pause) = (predict(&link, case), case.pause.as_millis());
        let how = if case.both { "both" } else { "turns" };
        if own == 0 {
            let ratio = predicted / best;
            let Case { bytes, rounds, .. } = case;
            writeln!(
                out,
                "| {name} | {bytes} | {pause} | {rounds} {how} | {predicted:.1} | {best:.1} | {ratio:.2} |"
            )?;
        }
    }
    Ok(())
}

fn cases(link: &Profile) -> Vec<Case> {
    let mut all = Vec::new();
    for bytes in BYTES {
        for pause_ms in PAUSES_MS {
            // About a second on the wire, and at least three rounds.
            let rounds = (1e6 / link.send_us(bytes)).clamp(3.0, 10.0) as usize;
            let pause = Duration::from_millis(pause_ms);
            all.extend([false, true].map(|both| Case { bytes, pause, rounds, both }));
        }
    }
    all
}

/// Milliseconds at `P0` from its sends to the answers, all rounds together.
fn predict(link: &Profile, case: Case) -> f64 {
    let mut network = Network::new(link);
    let (p0, p1) = (Role::Party(0), Role::Party(1));
    let Case { bytes, rounds, both, .. } = case;
    let pause = case.pause.as_nanos() as u64;
    let (mut waited, mut free) = (0, [0, 0]);
    for _ in 0..rounds {
        let sent = free.map(|time| time + if both { pause } else { 0 });
        if both {
            // What is sent first is simulated first, though the directions do not meet.
            let there = network.send(sent[0], p0, p1, bytes) + WAKE;
            let here = network.send(sent[1], p1, p0, bytes) + WAKE;
            free = [here.max(sent[0]), there.max(sent[1])];
            waited += free[0] - sent[0];
        } else {
            let there = network.send(sent[0], p0, p1, bytes) + WAKE;
            let here = network.send(there + pause, p1, p0, bytes) + WAKE;
            waited += here - sent[0] - pause;
            free = [here + pause; 2];
        }
    }
    waited as f64 / 1e6
}

enum Event {
    Joined(Arc<Link>),
    Came,
}

struct Sink(mpsc::Sender<Event>);

impl Receiver for Sink {
    fn joined(&self, link: &Arc<Link>) -> std::result::Result<(), String> {
        let _ = self.0.send(Event::Joined(Arc::clone(link)));
        Ok(())
    }

    fn frame(&self, _: &Arc<Link>, frame: Frame) -> std::result::Result<(), String> {
        if frame.header.kind == Kind::Data {
            let _ = self.0.send(Event::Came);
        }
        Ok(())
    }

    fn closed(&self, _: &Arc<Link>, _: &str) {}
    fn refused(&self, _: Option<Role>, _: &HandshakeError) {}
    fn unreachable(&self, _: Role, _: &str, _: &str) {}
}

/// The connection to the other party.
struct Peer {
    own: u8,
    link: Arc<Link>,
    events: mpsc::Receiver<Event>,
    _hub: Hub,
}

impl Peer {
    fn open(own: u8, first: &str, port: u16) -> Result<Self> {
        let (version, from) = (VERSION, Role::Party(own));
        let hello = Hello { version, plan: [0; 32], from, to: None, mode: Mode::Live, next_run: 1 };
        let listener = if own == 0 { Some(TcpListener::bind(("0.0.0.0", port))?) } else { None };
        let call = (own == 1).then(|| (Role::Party(0), format!("{first}:{port}")));
        let options = HubOptions {
            hello,
            partners: vec![Role::Party(1 - own)],
            data_limit: 1 << 30,
            listener,
            connect: BTreeMap::from_iter(call),
            connect_within: Duration::from_secs(20),
        };
        let (sender, events) = mpsc::channel();
        let hub = Hub::start(options, Arc::new(Sink(sender)))?;
        match events.recv_timeout(Duration::from_secs(30))? {
            Event::Joined(link) => Ok(Self { own, link, events, _hub: hub }),
            Event::Came => Err("a message before the handshake".into()),
        }
    }

    fn send(&self, bytes: u64) -> Result<()> {
        let (len, phase) = (bytes as u32, Phase::Online);
        let header = Header { len, kind: Kind::Data, phase, message: 0, depth: 0, run: 1 };
        let frame = Frame { header, payload: vec![7; bytes as usize].into() };
        self.link.send(frame).map_err(|_| "the link is closed".into())
    }

    fn wait(&self) -> Result<()> {
        self.events.recv_timeout(Duration::from_secs(60))?;
        Ok(())
    }

    /// What [`predict`] predicts.
    fn measure(&self, case: Case) -> Result<f64> {
        let Case { bytes, pause, rounds, both } = case;
        let mut waited = Duration::ZERO;
        std::thread::sleep(Duration::from_millis(100));
        for _ in 0..rounds {
            if both {
                std::thread::sleep(pause);
            } else if self.own == 1 {
                self.wait()?;
                std::thread::sleep(pause);
                self.send(bytes)?;
                continue;
            }
            let start = Instant::now();
            self.send(bytes)?;
            self.wait()?;
            let took = start.elapsed();
            waited += took;
            if !both {
                waited = waited.saturating_sub(pause);
                std::thread::sleep(pause);
            }
        }
        // The last messages arrive before the connection ends.
        std::thread::sleep(Duration::from_millis(200));
        Ok(waited.as_secs_f64() * 1e3)
    }
}
