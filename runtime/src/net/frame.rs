//! Frames: what one role sends to another over a link.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | payload length |
//! | 1 | [`Kind`] |
//! | 1 | phase: 0 setup, 1 offline, 2 online; 0 where it has no meaning |
//! | 2 | zero |
//! | 4 | message id |
//! | 4 | causal depth |
//! | 8 | run |
//! | length | payload |
//!
//! All integers are little-endian. A length is believed only up to the limit of the link.

use crate::packet::{Envelope, Packet};
use crate::payload::Payload;
use mpcc_ir::plan::Phase;
use std::fmt;

/// Bytes of a header.
pub const HEADER: usize = 24;

/// Longest payload of a frame that is not [`Kind::Data`].
pub const MAX_CONTROL: u64 = 1024;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First frame in each direction, see [`super::handshake`].
    Hello,
    /// A message of the plan.
    Data,
    /// A compute party's seed, to the dealer.
    Seed,
    /// `P_0` starts the session: the payload is what its roles share, `run` the first run.
    Begin,
    /// A compute party asks the dealer for `run`.
    Ask,
    /// A compute party has done the offline phase of `run`; to `P_0`.
    Ready,
    /// All have, and wait for the input: `P_0` to the client that has `run`.
    Go,
    /// Another role has begun `run`; to `P_0`.
    Began,
    /// `run` has come to its end at `P_0`, which says so to the others.
    Over,
    /// A client asks `P_0` for a run.
    Request,
    /// `P_0` gives a client the run `run`, which may not be ready yet; the payload is what shows it.
    Accept,
    /// A client says at another role that `run` is its own, and shows it.
    Claim,
    /// `run` is called off.
    Abort,
    /// The sender has finished and closes the link; the payload may say why in words.
    Bye,
}

impl Kind {
    const ALL: [Self; 14] = [
        Self::Hello,
        Self::Data,
        Self::Seed,
        Self::Begin,
        Self::Ask,
        Self::Ready,
        Self::Go,
        Self::Began,
        Self::Over,
        Self::Request,
        Self::Accept,
        Self::Claim,
        Self::Abort,
        Self::Bye,
    ];
}

/// Everything of a frame but its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload bytes.
    pub len: u32,
    /// What the frame is for.
    pub kind: Kind,
    /// Phase of a message.
    pub phase: Phase,
    /// Id of a message.
    pub message: u32,
    /// Causal depth of a message.
    pub depth: u32,
    /// Run.
    pub run: u64,
}

/// Bytes that are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum FrameError {
    #[error("a frame of unknown kind {kind}; is the other end mpcc of the same version?")]
    Kind { kind: u8 },
    #[error("a frame names phase {phase}, which does not exist")]
    Phase { phase: u8 },
    #[error("a frame has bits set that this version does not know")]
    Reserved,
    #[error("a frame of {len} bytes where at most {limit} are allowed")]
    TooLong { len: u64, limit: u64 },
}

impl Header {
    /// Reads a header; `data_limit` is the longest payload of a message of the plan.
    ///
    /// # Errors
    /// [`FrameError`] says which field is wrong. The payload has not been read then, so the link must be closed.
    pub fn parse(bytes: &[u8; HEADER], data_limit: u64) -> Result<Self, FrameError> {
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let kind = bytes[4];
        let known = Kind::ALL.get(usize::from(kind)).copied();
        let kind = known.ok_or(FrameError::Kind { kind })?;
        let phase = bytes[5];
        let known = Phase::ALL.get(usize::from(phase)).copied();
        let phase = known.ok_or(FrameError::Phase { phase })?;
        if bytes[6..8] != [0, 0] {
            return Err(FrameError::Reserved);
        }
        let limit = if kind == Kind::Data { data_limit } else { MAX_CONTROL };
        let len = word(0);
        if u64::from(len) > limit {
            return Err(FrameError::TooLong { len: len.into(), limit });
        }
        let run = u64::from(word(16)) | u64::from(word(20)) << 32;
        Ok(Self { len, kind, phase, message: word(8), depth: word(12), run })
    }

    /// The bytes of the header.
    pub fn bytes(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(&self.len.to_le_bytes());
        out[4] = self.kind as u8;
        out[5] = self.phase as u8;
        out[8..12].copy_from_slice(&self.message.to_le_bytes());
        out[12..16].copy_from_slice(&self.depth.to_le_bytes());
        out[16..].copy_from_slice(&self.run.to_le_bytes());
        out
    }
}

/// A header and its payload.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The header; `len` is the payload's length.
    pub header: Header,
    /// The payload: perhaps a share or a seed, so it is never printed.
    pub payload: Payload,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)
    }
}

impl Header {
    /// The header of a message of the plan.
    pub fn data(envelope: &Envelope) -> Self {
        let Envelope { phase, run, message, depth, bytes, .. } = *envelope;
        Self { len: bytes as u32, kind: Kind::Data, phase, message, depth, run }
    }
}

impl Frame {
    /// A message of the plan.
    pub fn data(packet: Packet) -> Self {
        Self { header: Header::data(&packet.envelope()), payload: packet.payload }
    }

    /// A frame that is not a message of the plan.
    pub fn control(kind: Kind, run: u64, payload: Vec<u8>) -> Self {
        let payload = Payload::from(payload);
        let len = payload.len() as u32;
        let header = Header { len, kind, phase: Phase::Setup, message: 0, depth: 0, run };
        Self { header, payload }
    }

    /// Bytes on the wire.
    pub fn wire_bytes(&self) -> u64 {
        (HEADER + self.payload.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn header() -> Header {
        let phase = Phase::Online;
        Header { len: 7, kind: Kind::Data, phase, message: 9, depth: 3, run: 1 << 40 }
    }

    #[test]
    fn headers_round_trip() {
        for kind in Kind::ALL {
            let header = Header { kind, ..header() };
            assert_eq!(Header::parse(&header.bytes(), 100), Ok(header));
        }
    }

    #[test]
    fn bad_headers_are_refused_before_their_payload_is_read() {
        let parse = |change: &dyn Fn(&mut [u8; HEADER])| {
            let mut bytes = header().bytes();
            change(&mut bytes);
            Header::parse(&bytes, 100).unwrap_err()
        };
        assert_snapshot!(parse(&|b| b[0] = 101), @"a frame of 101 bytes where at most 100 are allowed");
        assert_snapshot!(parse(&|b| b[3] = 0xff), @"a frame of 4278190087 bytes where at most 100 are allowed");
        assert_snapshot!(parse(&|b| b[4] = 77), @"a frame of unknown kind 77; is the other end mpcc of the same version?");
        assert_snapshot!(parse(&|b| b[5] = 3), @"a frame names phase 3, which does not exist");
        assert_snapshot!(parse(&|b| b[6] = 1), @"a frame has bits set that this version does not know");
    }

    #[test]
    fn control_frames_are_short() {
        let long = Header { len: 1025, kind: Kind::Begin, ..header() };
        let error = FrameError::TooLong { len: 1025, limit: MAX_CONTROL };
        assert_eq!(Header::parse(&long.bytes(), u64::MAX), Err(error));
    }
}
