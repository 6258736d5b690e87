//! Bytes on the wire: frames, the handshake, links over TCP, and what measures them.
//!
//! Links are plain TCP: they keep order and detect loss, but hide nothing. Until TLS is there, run them
//! inside a tunnel or a network that nobody else reads: a party's seed travels to the dealer over one.

pub mod frame;
pub mod handshake;
pub mod hub;
pub mod link;
pub mod probe;
mod queue;
mod socket;

pub use queue::MAX_QUEUED;
