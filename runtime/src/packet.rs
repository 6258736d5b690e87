//! Messages in flight and what is counted about them.

use crate::error::PeerError;
use crate::payload::Payload;
use mpcc_ir::plan::{Message, MessageKind, Phase, Plan, Role};
use std::collections::BTreeMap;
use std::fmt;

/// One message of a plan on its way.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sender.
    pub from: Role,
    /// Receiver.
    pub to: Role,
    /// The phase that it belongs to.
    pub phase: Phase,
    /// The run that it belongs to; 0 in the setup phase.
    pub run: u64,
    /// Its id in the plan.
    pub message: u32,
    /// Openings on the longest causal chain that ends in this message, itself included.
    pub depth: u32,
    /// The bytes that the plan announces.
    pub payload: Payload,
}

impl fmt::Debug for Packet {
    /// Leaves the payload out: it may be a share.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, phase, run, message, depth, payload } = self;
        let bytes = payload.len();
        write!(f, "message {message} {from}->{to} {phase} run {run} depth {depth}, {bytes} B")
    }
}

impl Packet {
    /// Compares the packet with the plan, for its receiver `role`.
    ///
    /// # Errors
    /// [`PeerError`] says what does not match.
    pub fn check<'p>(&self, plan: &'p Plan, role: Role) -> Result<&'p Message, PeerError> {
        self.envelope().check(plan, role)
    }

    /// A message with its payload.
    pub fn new(envelope: Envelope, payload: Payload) -> Self {
        let Envelope { from, to, phase, run, message, depth, .. } = envelope;
        Self { from, to, phase, run, message, depth, payload }
    }

    /// The message without its payload.
    pub fn envelope(&self) -> Envelope {
        let Self { from, to, phase, run, message, depth, ref payload } = *self;
        Envelope { from, to, phase, run, message, depth, bytes: payload.len() as u64 }
    }
}

/// Everything of a message but its payload; see [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `Packet`")]
pub struct Envelope {
    pub from: Role,
    pub to: Role,
    pub phase: Phase,
    pub run: u64,
    pub message: u32,
    pub depth: u32,
    /// Length of the payload.
    pub bytes: u64,
}

impl Envelope {
    /// Compares the message with the plan, for its receiver `role`.
    ///
    /// # Errors
    /// [`PeerError`] says what does not match.
    pub fn check<'p>(&self, plan: &'p Plan, role: Role) -> Result<&'p Message, PeerError> {
        let (id, got) = (self.message, self.bytes);
        let Some(message) = plan.messages.get(id as usize) else {
            return Err(PeerError::UnknownMessage { message: id });
        };
        if message.to != role || self.to != role {
            Err(PeerError::WrongReceiver { message: id, role, expected: message.to })
        } else if message.from != self.from {
            let (from, expected) = (self.from, message.from);
            Err(PeerError::WrongSender { message: id, from, expected })
        } else if message.phase != self.phase {
            let (phase, expected) = (self.phase, message.phase);
            Err(PeerError::WrongPhase { message: id, phase, expected })
        } else if message.bytes != got {
            Err(PeerError::WrongLength { message: id, got, expected: message.bytes })
        } else {
            Ok(message)
        }
    }
}

/// What one role counted in one phase of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Payload bytes sent, by phase and kind.
    pub sent: BTreeMap<(Phase, MessageKind), u64>,
    /// Messages sent.
    pub messages: u64,
    /// Openings on the longest causal chain of the online phase.
    pub rounds: u32,
    /// Nanoseconds that compute threads spent on steps.
    pub busy_ns: u64,
    /// Nanoseconds that compute threads had nothing to do.
    pub wait_ns: u64,
}

impl Counts {
    /// Adds a sent message.
    pub fn count_sent(&mut self, message: &Message, depth: u32) {
        *self.sent.entry((message.phase, message.kind)).or_default() += message.bytes;
        self.messages += 1;
        self.count_depth(message.phase, depth);
    }

    /// Takes note of the causal depth of a message of `phase`.
    pub fn count_depth(&mut self, phase: Phase, depth: u32) {
        if phase == Phase::Online {
            self.rounds = self.rounds.max(depth);
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (key, bytes) in &other.sent {
            *self.sent.entry(*key).or_default() += bytes;
        }
        self.messages += other.messages;
        self.rounds = self.rounds.max(other.rounds);
        self.busy_ns += other.busy_ns;
        self.wait_ns += other.wait_ns;
    }

    /// Payload bytes sent in `phase`.
    pub fn sent_bytes(&self, phase: Phase) -> u64 {
        self.sent.iter().filter(|((p, _), _)| *p == phase).map(|(_, bytes)| bytes).sum()
    }
}
