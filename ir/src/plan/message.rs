//! Everything that travels between roles.

use super::Role;
use serde::{Deserialize, Serialize};
use std::fmt;

/// When a message travels or a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Once per deployment: weights.
    Setup,
    /// Once per run, before the input is known.
    Offline,
    /// Once per run, from the input to the output.
    Online,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Self; 3] = [Self::Setup, Self::Offline, Self::Online];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setup => "setup",
            Self::Offline => "offline",
            Self::Online => "online",
        })
    }
}

/// Why a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MessageKind {
    /// A party's masked share, broadcast to the other compute parties.
    Open,
    /// What the last party needs to hold its share of a dealt value.
    Correction,
    /// The mask of an input or a weight, from the dealer to its owner.
    Mask,
    /// A masked input, from the client.
    Input,
    /// A masked weight, from its owner.
    Weight,
    /// An output's masked value or mask share, to the client.
    Reveal,
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Correction => "correction",
            Self::Mask => "mask",
            Self::Input => "input",
            Self::Weight => "weight",
            Self::Reveal => "reveal",
        })
    }
}

/// One message; its id is its index in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Sender.
    pub from: Role,
    /// Receiver.
    pub to: Role,
    /// When it travels.
    pub phase: Phase,
    /// Why it travels.
    pub kind: MessageKind,
    /// Payload bytes.
    pub bytes: u64,
    /// Length of the longest chain of openings that ends in this one, from 1; 0 for other kinds.
    pub round: u32,
    /// Index into the plan's layers.
    pub layer: u32,
}
