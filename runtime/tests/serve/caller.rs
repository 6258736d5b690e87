//! Connections to roles, made by hand.

use crate::town::{PATIENCE, Threads, Town};
use mpcc_ir::plan::Role;
use mpcc_runtime::net::frame::{Frame, HEADER, Header, Kind};
use mpcc_runtime::net::handshake::{Hello, Mode, VERSION};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// A connection to a role, made by hand.
pub(crate) struct Caller(pub(crate) TcpStream);

impl Caller {
    /// Shakes hands with `to` as `from`.
    pub(crate) fn new(town: &Town, from: Role, to: Role) -> Self {
        let (version, plan, mode) = (VERSION, town.digest, Mode::Live);
        let hello = Hello { version, plan, from, to: Some(to), mode, next_run: 1 };
        let mut caller = Self(TcpStream::connect(&town.peers[&to]).unwrap());
        // A frame that never comes fails its test.
        caller.0.set_read_timeout(Some(PATIENCE)).unwrap();
        caller.send(&Frame::control(Kind::Hello, 0, hello.encode()));
        assert_eq!(caller.receive().header.kind, Kind::Hello);
        caller
    }

    pub(crate) fn send(&mut self, frame: &Frame) {
        self.0.write_all(&frame.header.bytes()).unwrap();
        self.0.write_all(&frame.payload).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Frame {
        let mut header = [0; HEADER];
        self.0.read_exact(&mut header).unwrap();
        let header = Header::parse(&header, u64::MAX).unwrap();
        let mut payload = vec![0; header.len as usize];
        self.0.read_exact(&mut payload).unwrap();
        Frame { header, payload: payload.into() }
    }

    /// As a client of `P_0`, asks for a run and returns its number.
    pub(crate) fn ask(&mut self) -> u64 {
        self.ask_to_claim().0
    }

    /// As a client of `P_0`, asks for a run and returns its number and what shows it to others.
    pub(crate) fn ask_to_claim(&mut self) -> (u64, Vec<u8>) {
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
    pub(crate) fn claim(&mut self, run: u64, token: &[u8]) {
        self.send(&Frame::control(Kind::Claim, run, token.to_vec()));
    }

    /// The next frame of these kinds; what comes before it is of no interest.
    pub(crate) fn next_of(&mut self, kinds: &[Kind]) -> Frame {
        loop {
            let frame = self.receive();
            if kinds.contains(&frame.header.kind) {
                return frame;
            }
        }
    }

    /// The reason for which the other end closes the connection.
    pub(crate) fn last_words(&mut self) -> String {
        String::from_utf8_lossy(&self.next_of(&[Kind::Bye]).payload).into_owned()
    }

    /// As a client of `P_0`, waits until `run` is ready, so that all roles have begun it.
    pub(crate) fn wait_for_ready(&mut self, run: u64) {
        while self.next_of(&[Kind::Go]).header.run != run {}
    }
}

/// Two parties for two runs in flight, with callers in place of the dealer and the owner: first the dealer's to `P_0`, which
/// has begun a run and deals nothing.
pub(crate) fn parties_alone() -> (Town, Threads, Vec<Caller>) {
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

/// Shakes hands with `P_0` as the dealer, sends `after`, and hangs up.
pub(crate) fn false_dealer(town: &Town, after: &[u8]) {
    Caller::new(town, Role::Dealer, Role::Party(0)).0.write_all(after).unwrap();
}
