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
    /// What `role` said as it ended, without characters that could confuse a terminal.
    pub(super) fn last_words(role: Role, words: &[u8]) -> Self {
        let mut why = String::new();
        for c in String::from_utf8_lossy(words).chars() {
            match c {
                // Quotes need no escape here.
                '\'' | '"' | '\\' => why.push(c),
                _ => why.extend(c.escape_debug()),
            }
        }
        Self::PeerEnded { role, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_do_nothing_to_a_terminal() {
        let said = |words: &str| ServeError::last_words(Role::Dealer, words.as_bytes()).to_string();
        let plain = "cannot write `/srv/müller's \"state\"`; check it";
        assert_eq!(said(plain), format!("dealer ended: {plain}"));
        assert_eq!(
            said("a\x1b[2Jb\nc\u{202e}d\u{2028}"),
            "dealer ended: a\\u{1b}[2Jb\\nc\\u{202e}d\\u{2028}"
        );
    }
}
