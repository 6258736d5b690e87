//! Measures a link: `mpcc profile link` asks, `mpcc-party echo` answers.
//!
//! Each end first sends a hello of 16 bytes: `mpccLINK`, [`VERSION`] in two bytes, zeros. Then every request is
//!
//! | bytes | what |
//! |---|---|
//! | 8 | payload bytes that follow |
//! | 8 | payload bytes that are wanted back |
//! | 8 | a span of time in nanoseconds |
//!
//! with its payload behind it, and every answer
//!
//! | bytes | what |
//! |---|---|
//! | 8 | nanoseconds in which the last three quarters of the request's payload came |
//! | 8 | bytes of it that came within the span after the first of them |
//!
//! with the wanted payload. Integers are little-endian. Who receives measures, so that no clock is compared with
//! another. A payload says nothing, and looks random so that no box on the way can compress it.

use super::socket;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// Version of the probe; both ends must have the same.
pub const VERSION: u16 = 1;

/// Largest payload of a request or an answer.
pub const MAX_PAYLOAD: u64 = 256 << 20;

const MAGIC: [u8; 8] = *b"mpccLINK";
/// How long an end may be silent before its hello, and after it.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one probe may take in all.
const MAX_VISIT: Duration = Duration::from_secs(120);
/// After this time no larger payload is tried in a direction, if this one was so large.
const LONG_ENOUGH: Duration = Duration::from_millis(400);
const LARGE_ENOUGH: u64 = 1 << 20;
/// Windows are measured from this round trip on, in microseconds: of less, what comes within three quarters of it says
/// more of when a thread woke up.
const LEAST_MEASURED_RTT_US: f64 = 500.0;
/// A pause in which TCP forgets what it knew of a path.
const PAUSE: Duration = Duration::from_millis(1_500);
const PINGS: usize = 50;
const PINGS_WITHIN: Duration = Duration::from_secs(2);

/// What a link gives, as seen from the end that asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Microseconds of a ping-pong: the median of many.
    pub rtt_us: f64,
    /// Payload bytes a second to the peer, and from it.
    pub bytes_per_s: [f64; 2],
    /// What a burst after a pause meets, in both directions.
    pub after_idle: [AfterIdle; 2],
}

/// How a burst goes after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterIdle {
    /// Not measured: the round trip is too short to tell.
    Unknown,
    /// At full rate.
    Open,
    /// That many bytes leave at once, more when they are acknowledged.
    Window(u64),
}

/// Why a link was not measured.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum ProbeError {
    #[error("`{address}` is no address: give HOST:PORT, as `mpcc-party echo` prints it")]
    Address { address: String, source: io::Error },
    #[error("cannot reach `{address}`; start `mpcc-party echo --listen` there, or open the port")]
    Unreachable { address: String, source: io::Error },
    #[error("what listens at `{address}` is not `mpcc-party echo`; check the port")]
    WrongPeer { address: String },
    #[error(
        "`{address}` measures links by version {theirs}, this build by {VERSION}; install the same release at both ends"
    )]
    Version { address: String, theirs: u16 },
    #[error(
        "`{address}` was silent for {seconds} seconds; it answers one probe at a time, so try again later"
    )]
    Silent { address: String, seconds: u64 },
    #[error("the connection to `{address}` broke; try again")]
    Broken { address: String, source: io::Error },
}

/// Why a peer stopped answering a probe.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum VisitError {
    #[error("it does not speak this version of the probe")]
    Hello,
    #[error("it asked for more than {MAX_PAYLOAD} bytes")]
    TooMuch,
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// What the other end should do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Payload bytes that follow.
    pub sends: u64,
    /// Payload bytes that are wanted back.
    pub wants: u64,
    /// A span of time in nanoseconds.
    pub span: u64,
}

impl Request {
    /// Reads a request; `None` where it announces or wants too much.
    pub fn parse(bytes: &[u8; 24]) -> Option<Self> {
        let [sends, wants, span] = [0, 8, 16].map(|at| word(&bytes[at..]));
        (sends.max(wants) <= MAX_PAYLOAD).then_some(Self { sends, wants, span })
    }

    /// The bytes of the request.
    pub fn bytes(&self) -> [u8; 24] {
        let mut out = [0; 24];
        for (out, value) in out.chunks_exact_mut(8).zip([self.sends, self.wants, self.span]) {
            out.copy_from_slice(&value.to_le_bytes());
        }
        out
    }
}

/// How a payload came.
#[derive(Clone, Copy, Debug, Default)]
struct Arrival {
    /// Nanoseconds from the end of its first quarter to its end.
    nanos: u64,
    /// Bytes within the span after the first.
    soon: u64,
}

impl Arrival {
    /// Bytes a second of a payload of `bytes`.
    fn rate(self, bytes: u64) -> f64 {
        (bytes - bytes / 4) as f64 / self.nanos.max(1) as f64 * 1e9
    }
}

/// Measures the link to `address`, where `mpcc-party echo` answers; takes some seconds. `stage` is told what is
/// being measured.
///
/// # Errors
/// [`ProbeError`] names the address and says what to do.
pub fn measure(address: &str, mut stage: impl FnMut(&str)) -> Result<Measured, ProbeError> {
    let mut probe = Probe::connect(address)?;
    let wrap = |source: io::Error| {
        let address = address.to_owned();
        if is_timeout(&source) {
            ProbeError::Silent { address, seconds: PATIENCE.as_secs() }
        } else {
            ProbeError::Broken { address, source }
        }
    };
    stage("measuring the round trip");
    let rtt_us = probe.round_trip().map_err(wrap)?;
    stage("measuring the rate to the peer");
    let up = probe.rate(Way::Up).map_err(wrap)?;
    stage("measuring the rate from the peer");
    let down = probe.rate(Way::Down).map_err(wrap)?;
    stage("measuring bursts after a pause");
    let after_idle = probe.after_idle(rtt_us, [up, down]).map_err(wrap)?;
    Ok(Measured { rtt_us, bytes_per_s: [up, down], after_idle })
}

/// Answers one connection until the other end closes it.
///
/// # Errors
/// [`VisitError`] says what the other end did wrong.
pub fn answer(mut stream: TcpStream) -> Result<(), VisitError> {
    let until = Instant::now() + MAX_VISIT;
    if shake_hands(&mut stream)? != hello() {
        return Err(VisitError::Hello);
    }
    let mut buffer = noise();
    loop {
        let mut bytes = [0; 24];
        let mut read = 0;
        while read < bytes.len() {
            match read_some(&mut stream, &mut bytes[read..], until)? {
                0 if read == 0 => return Ok(()),
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                more => read += more,
            }
        }
        let request = Request::parse(&bytes).ok_or(VisitError::TooMuch)?;
        let came = receive(&mut stream, request.sends, request.span, &mut buffer, until)?;
        let head = [came.nanos.to_le_bytes(), came.soon.to_le_bytes()].concat();
        send(&mut stream, &head, request.wants, &buffer, until)?;
    }
}

/// Answers one connection after the other, for ever; `log` is told of each.
pub fn serve(listener: &TcpListener, log: impl Fn(&str)) -> ! {
    loop {
        let Ok((stream, from)) = listener.accept() else {
            // Whoever called has gone, or the system has nothing left for it now.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        log(&match answer(stream) {
            Ok(()) => format!("{from}: measured the link"),
            Err(error) => format!("{from}: {error}"),
        });
    }
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

/// The end that asks.
struct Probe {
    stream: TcpStream,
    buffer: Vec<u8>,
    until: Instant,
}

impl Probe {
    fn connect(address: &str) -> Result<Self, ProbeError> {
        let stream = connect(address)?;
        let mut probe = Self { stream, buffer: noise(), until: Instant::now() + MAX_VISIT };
        let own = || address.to_owned();
        let theirs = match shake_hands(&mut probe.stream) {
            Ok(theirs) if theirs[..8] == MAGIC => theirs,
            Err(error) if is_timeout(&error) => {
                let seconds = HELLO_WITHIN.as_secs();
                return Err(ProbeError::Silent { address: own(), seconds });
            }
            _ => return Err(ProbeError::WrongPeer { address: own() }),
        };
        match u16::from_le_bytes([theirs[8], theirs[9]]) {
            VERSION => Ok(probe),
            theirs => Err(ProbeError::Version { address: own(), theirs }),
        }
    }

    /// Sends a request with its payload and reads the answer: how the payload came there, and the one from there here.
    fn ask(&mut self, request: Request) -> io::Result<[Arrival; 2]> {
        send(&mut self.stream, &request.bytes(), request.sends, &self.buffer, self.until)?;
        let mut answer = [0; 16];
        self.stream.read_exact(&mut answer)?;
        let there = Arrival { nanos: word(&answer), soon: word(&answer[8..]) };
        let (wants, span) = (request.wants, request.span);
        let here = receive(&mut self.stream, wants, span, &mut self.buffer, self.until)?;
        Ok([there, here])
    }

    /// The payload in one direction.
    fn stream(&mut self, way: Way, bytes: u64, span: u64) -> io::Result<Arrival> {
        let [there, here] = self.ask(match way {
            Way::Up => Request { sends: bytes, wants: 0, span },
            Way::Down => Request { sends: 0, wants: bytes, span },
        })?;
        Ok(match way {
            Way::Up => there,
            Way::Down => here,
        })
    }

    /// Microseconds of a ping-pong.
    fn round_trip(&mut self) -> io::Result<f64> {
        let (start, mut all) = (Instant::now(), Vec::with_capacity(PINGS));
        while all.is_empty() || all.len() < PINGS && start.elapsed() < PINGS_WITHIN {
            let sent = Instant::now();
            self.ask(Request::default())?;
            all.push(sent.elapsed());
        }
        all.sort_unstable();
        Ok(all[all.len() / 2].as_secs_f64() * 1e6)
    }

    /// Bytes a second of a long transfer: each is twice the one before, until one takes long enough to be steady.
    fn rate(&mut self, way: Way) -> io::Result<f64> {
        let mut bytes = 64 << 10;
        loop {
            let start = Instant::now();
            let rate = self.stream(way, bytes, 0)?.rate(bytes);
            // A small one may have been held up by anything.
            let took = start.elapsed();
            let is_long = took > LONG_ENOUGH && bytes >= LARGE_ENOUGH || took > 10 * LONG_ENOUGH;
            if is_long || bytes >= MAX_PAYLOAD {
                return Ok(rate);
            }
            bytes *= 2;
        }
    }

    /// Bursts of a round trip's worth after a pause: a window shows as what comes before acknowledgements can matter.
    fn after_idle(&mut self, rtt_us: f64, rates: [f64; 2]) -> io::Result<[AfterIdle; 2]> {
        if rtt_us < LEAST_MEASURED_RTT_US {
            return Ok([AfterIdle::Unknown; 2]);
        }
        let [rtt_s, span_s] = [rtt_us / 1e6, rtt_us / 1e6 * 0.75];
        let mut windows = [0; 2];
        for _ in 0..2 {
            std::thread::sleep(PAUSE);
            for (at, way) in [Way::Up, Way::Down].into_iter().enumerate() {
                let burst = ((rates[at] * rtt_s) as u64 + (64 << 10)).min(MAX_PAYLOAD);
                let came = self.stream(way, burst, (span_s * 1e9) as u64)?.soon;
                windows[at] = came.max(windows[at]);
            }
        }
        let judge = |at: usize| {
            let open = windows[at] as f64 > rates[at] * span_s * 0.8;
            if open { AfterIdle::Open } else { AfterIdle::Window(windows[at]) }
        };
        Ok([judge(0), judge(1)])
    }
}

fn connect(address: &str) -> Result<TcpStream, ProbeError> {
    let own = || address.to_owned();
    let all = address
        .to_socket_addrs()
        .map_err(|source| ProbeError::Address { address: own(), source })?;
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for one in all {
        match TcpStream::connect_timeout(&one, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(ProbeError::Unreachable { address: own(), source: last })
}

/// Exchanges hellos; the other end's.
fn shake_hands(stream: &mut TcpStream) -> io::Result<[u8; 16]> {
    socket::tune(stream)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&hello())?;
    stream.set_read_timeout(Some(HELLO_WITHIN))?;
    let mut theirs = [0; 16];
    stream.read_exact(&mut theirs)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(theirs)
}

/// Sends a head and a payload; the start of the payload goes with the head, so that a small one costs no packet.
fn send(
    stream: &mut TcpStream,
    head: &[u8],
    bytes: u64,
    buffer: &[u8],
    until: Instant,
) -> io::Result<()> {
    let piece = |left: u64| &buffer[..left.min(buffer.len() as u64) as usize];
    let first = piece(bytes);
    stream.write_all(&[head, first].concat())?;
    let mut left = bytes - first.len() as u64;
    while left > 0 {
        in_time(until)?;
        let next = piece(left);
        stream.write_all(next)?;
        left -= next.len() as u64;
    }
    Ok(())
}

/// Reads what there is, at least a byte; none where the other end has hung up.
fn read_some(stream: &mut TcpStream, room: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        in_time(until)?;
        match stream.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn receive(
    stream: &mut TcpStream,
    bytes: u64,
    span: u64,
    buffer: &mut [u8],
    until: Instant,
) -> io::Result<Arrival> {
    let (mut first, mut quarter) = (None, None);
    let (mut got, mut came) = (0, Arrival::default());
    while got < bytes {
        let most = (bytes - got).min(buffer.len() as u64) as usize;
        let piece = match read_some(stream, &mut buffer[..most], until)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            piece => piece as u64,
        };
        let now = Instant::now();
        got += piece;
        if now.duration_since(*first.get_or_insert(now)).as_nanos() <= u128::from(span) {
            came.soon = got;
        }
        if got >= bytes / 4 {
            let (at, had) = *quarter.get_or_insert((now, got));
            // As if exactly a quarter had been there when the clock was read.
            let (time, part) = (now.duration_since(at).as_nanos() as f64, (got - had).max(1));
            came.nanos = (time / part as f64 * (bytes - bytes / 4) as f64) as u64;
        }
    }
    Ok(came)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn in_time(until: Instant) -> io::Result<()> {
    if Instant::now() < until { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

fn hello() -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// 256 KiB without a pattern.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..32 << 10).flat_map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn visit(talk: impl FnOnce(TcpStream)) -> Result<(), VisitError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = std::thread::spawn(move || answer(listener.accept().unwrap().0));
        talk(TcpStream::connect(address).unwrap());
        answers.join().unwrap()
    }

    fn refusal(bytes: &[&[u8]]) -> String {
        let write = |mut stream: TcpStream| {
            stream.write_all(&bytes.concat()).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        };
        visit(write).unwrap_err().to_string()
    }

    #[test]
    fn payloads_go_both_ways() {
        let ask = |mut stream: TcpStream| {
            assert_eq!(shake_hands(&mut stream).unwrap(), hello());
            let until = Instant::now() + MAX_VISIT;
            let mut probe = Probe { stream, buffer: noise(), until };
            let request = Request { sends: 1_000_000, wants: 300_000, span: u64::MAX };
            let [there, here] = probe.ask(request).unwrap();
            assert_eq!([there.soon, here.soon], [1_000_000, 300_000]);
            assert!(probe.rate(Way::Up).unwrap() > 0.0);
        };
        visit(ask).unwrap();
    }

    #[test]
    fn visitors_that_do_not_keep_to_the_protocol_are_sent_away() {
        let much = Request { wants: MAX_PAYLOAD + 1, ..Request::default() }.bytes();
        assert_snapshot!(refusal(&[b"GET / HTTP/1.1\r\n\r\n"]), @"it does not speak this version of the probe");
        assert_snapshot!(refusal(&[&hello(), &much]), @"it asked for more than 268435456 bytes");
    }

    #[test]
    fn requests_round_trip() {
        let request = Request { sends: 1, wants: MAX_PAYLOAD, span: u64::MAX };
        assert_eq!(Request::parse(&request.bytes()), Some(request));
        let sends = MAX_PAYLOAD + 1;
        assert_eq!(Request::parse(&Request { sends, ..request }.bytes()), None);
    }
}
