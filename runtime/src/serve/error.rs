//! Why a process ends before its time.

use crate::error::RunError;
use crate::ledger::LedgerError;
use crate::net::handshake::HandshakeError;
use crate::store::StoreError;
use mpcc_ir::plan::Role;
use std::io;

/// Why a role ended before its time.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum ServeError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("cannot reach {role} at {address}: {why}; start it, or correct `peers.{role}`")]
    Unreachable { role: Role, address: String, why: String },
    #[error("{own} waited {seconds} s for {missing}; start what is missing, or raise `connect_s`")]
    Waiting { own: Role, missing: String, seconds: u64 },
    #[error("{own} needs the address of {role}; set `peers.{role}`")]
    NoAddress { own: Role, role: Role },
    #[error("{own} needs an address to be called at; set `listen`")]
    NoListener { own: Role },
    #[error("cannot start the network thread")]
    Network(#[source] io::Error),
    #[error("the system gives no random bytes; this process must not run")]
    Randomness,
    #[error("{role} ended: {why}")]
    PeerEnded { role: Role, why: String },
    #[error("P0 starts with run {run}, but {own} has used numbers up to {next}; restart all roles")]
    RunBehind { own: Role, run: u64, next: u64 },
    #[error("{own} was not given its store's session by P0; start all roles the same way")]
    Session { own: Role },
    #[error("the client does not serve; use `mpcc-party infer`")]
    ClientServes,
    #[error("stopped before the session was complete")]
    Stopped,
}

impl ServeError {
    /// What `role` said as it ended, cut to characters that cannot confuse a terminal.
    pub(super) fn last_words(role: Role, words: &[u8]) -> Self {
        let safe = |c: char| if c.is_control() { ' ' } else { c };
        let why = String::from_utf8_lossy(words).chars().map(safe).collect();
        Self::PeerEnded { role, why }
    }
}
