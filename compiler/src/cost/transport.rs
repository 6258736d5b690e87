//! Measures what messages cost this host: a loopback connection, a thread that writes and one that reads, as in a role.

use mpcc_runtime::cpu_time;
use std::io::{Read as _, Result, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that messages go through in turn: more than a core's own caches hold, as in a run.
const WINDOW: usize = 16 << 20;

/// Pause between messages: those of a run come one by one.
const PAUSE: Duration = Duration::from_micros(100);

/// Bytes and number of the messages that are measured.
const SMALL: (usize, u32) = (1_000, 2_000);
const LARGE: (usize, u32) = (200_000, 500);

/// Turns of a message that wakes two threads up.
const TURNS: u32 = 400;

/// What messages cost.
pub(super) struct Transport {
    /// Of a thread that writes a message.
    pub(super) send: Cost,
    /// Of a thread that reads it.
    pub(super) receive: Cost,
    /// Microseconds until a thread that waits notices that it may go on.
    pub(super) wake_us: f64,
}

/// Processor time of one end of a message.
pub(super) struct Cost {
    pub(super) us: f64,
    pub(super) us_per_kb: f64,
}

impl Transport {
    pub(super) fn measure() -> Result<Self> {
        let (small, large) = (one_by_one(SMALL)?, one_by_one(LARGE)?);
        // `tests/netlab/schedules.py` works out what emulated links cost in the same way.
        let cost = |end: usize| {
            let kb = |(bytes, _): (usize, u32)| bytes as f64 / 1e3;
            let us_per_kb = ((large[end] - small[end]) / (kb(LARGE) - kb(SMALL))).max(0.0);
            Cost { us: (small[end] - us_per_kb * kb(SMALL)).max(0.0), us_per_kb }
        };
        let (send, receive) = (cost(0), cost(1));
        // A short message is written, wakes the thread that reads, is read, and wakes the one that computes.
        let wake_us = ((one_way_us()? - small[0] - small[1]) / 2.0).max(0.0);
        Ok(Self { send, receive, wake_us })
    }
}

/// Microseconds of the threads that write and read messages, for each.
fn one_by_one((bytes, messages): (usize, u32)) -> Result<[f64; 2]> {
    let (mut out, mut incoming) = loopback()?;
    let reader = thread::spawn(move || {
        let mut places = vec![1; WINDOW];
        let before = cpu_time::of_thread();
        for at in (0..WINDOW / bytes).cycle() {
            if incoming.read_exact(&mut places[at * bytes..][..bytes]).is_err() {
                break;
            }
        }
        cpu_time::of_thread().saturating_sub(before)
    });
    let places = vec![1; WINDOW];
    let mut writing = Duration::ZERO;
    for at in (0..WINDOW / bytes).cycle().take(messages as usize) {
        let message = &places[at * bytes..][..bytes];
        let before = cpu_time::of_thread();
        out.write_all(message)?;
        writing += cpu_time::of_thread().saturating_sub(before);
        thread::sleep(PAUSE);
    }
    drop(out);
    // Nothing in the thread can fail.
    let reading = reader.join().unwrap_or_default();
    Ok([writing, reading].map(|time| time.as_secs_f64() * 1e6 / f64::from(messages)))
}

/// Microseconds from a thread that computes to another one, through a connection and a thread that reads from it.
fn one_way_us() -> Result<f64> {
    let (mut ping, pinged) = way()?;
    let (mut pong, ponged) = way()?;
    let other = thread::spawn(move || {
        while let Ok(byte) = pinged.recv() {
            if pong.write_all(&[byte]).is_err() {
                break;
            }
        }
    });
    let start = Instant::now();
    for _ in 0..TURNS {
        ping.write_all(&[7])?;
        if ponged.recv().is_err() {
            break;
        }
    }
    let us = start.elapsed().as_secs_f64() * 1e6 / f64::from(2 * TURNS);
    drop(ping);
    // Nothing in the thread can fail.
    let _ = other.join();
    Ok(us)
}

/// One direction as roles have it: a connection to write to, and what a thread hands on that reads from it.
fn way() -> Result<(TcpStream, Receiver<u8>)> {
    let (out, mut incoming) = loopback()?;
    let (deliver, receive): (Sender<u8>, _) = channel();
    thread::spawn(move || {
        let mut byte = [0];
        while incoming.read_exact(&mut byte).is_ok() && deliver.send(byte[0]).is_ok() {}
    });
    Ok((out, receive))
}

/// Both ends of a connection on this host.
fn loopback() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let out = TcpStream::connect(listener.local_addr()?)?;
    out.set_nodelay(true)?;
    Ok((out, listener.accept()?.0))
}
