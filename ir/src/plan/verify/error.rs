//! Which rule a plan breaks, and where.

use crate::plan::{MAX_DEPTH, MessageKind, Phase, Role, Span};
use std::fmt;

/// A plan that must not be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {rule}")]
pub struct PlanError {
    /// The part of the plan.
    pub place: Place,
    /// The rule it breaks.
    pub rule: Rule,
}

/// A part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "indices into the tables of the plan")]
pub enum Place {
    Plan,
    Forecast,
    Input(usize),
    Output(usize),
    Param(usize),
    Message(usize),
    Program(usize),
    Instruction { program: usize, at: usize },
    Role(Role),
    Step { role: Role, phase: Phase, step: usize },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan => f.write_str("plan"),
            Self::Forecast => f.write_str("forecast"),
            Self::Input(i) => write!(f, "input {i}"),
            Self::Output(i) => write!(f, "output {i}"),
            Self::Param(i) => write!(f, "parameter {i}"),
            Self::Message(i) => write!(f, "message {i}"),
            Self::Program(i) => write!(f, "program {i}"),
            Self::Instruction { program, at } => write!(f, "program {program}, instruction {at}"),
            Self::Role(role) => write!(f, "{role}"),
            Self::Step { role, phase, step } => write!(f, "{role}, {phase} step {step}"),
        }
    }
}

/// A rule that a plan breaks.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum Rule {
    #[error("there are at least two compute parties")]
    Parties,
    #[error("there are 1 to {MAX_DEPTH} runs in flight")]
    Depth,
    #[error("the roles are the compute parties in order, then the dealer")]
    Roles,
    #[error("an arena, tensor or address is larger than any machine")]
    TooLarge,
    #[error("the plan is too fragmented to be verified in reasonable time")]
    TooMuchWork,
    #[error("{what} {index} does not exist, there are {len}")]
    Index { what: &'static str, index: u32, len: usize },
    #[error("a ring of {ring} bits does not fit the word")]
    Ring { ring: u8 },
    #[error("bounds, errors and times are finite numbers in order")]
    NotInOrder,
    #[error("has {found} {what}, expected {expected}")]
    Length { what: &'static str, found: u64, expected: u64 },
    #[error("{kind} messages do not go from {from} to {to} in the {phase} phase")]
    Route { kind: MessageKind, from: Role, to: Role, phase: Phase },
    #[error("message {message} is not the {kind} message from {from} to {to} that belongs here")]
    NotThisMessage { message: u32, kind: MessageKind, from: Role, to: Role },
    #[error("message {message} is named twice")]
    NamedTwice { message: u32 },
    #[error("no input, output or parameter names this message")]
    NotNamed,

    #[error("register {register} does not exist")]
    Register { register: u16 },
    #[error("register {register} is read before it is written")]
    RegisterUnwritten { register: u16 },
    #[error("operand {operand} does not exist or has another layout or direction")]
    Operand { operand: u16 },
    #[error("operand {operand} is written {times} times, not once")]
    OperandWrites { operand: u16, times: usize },
    #[error("{what} of {value} is out of range")]
    Immediate { what: &'static str, value: u64 },

    #[error("{span} does not end within the arena of {arena} bytes")]
    SpanEnd { span: SpanText, arena: u64 },
    #[error("{span} is not aligned to words")]
    Alignment { span: SpanText },
    #[error("{span} has {found} bytes, the operation needs {expected}")]
    SpanLength { span: SpanText, found: u64, expected: u64 },
    #[error("the geometry of the operation is impossible")]
    Geometry,
    #[error("a strided view leaves its buffer")]
    Strides,
    #[error("parameter {param} is not known to this role")]
    SecretParam { param: u32 },
    #[error("the mask stream of P{party} is not known to this role")]
    SecretMask { party: u8 },

    #[error("is listed after step {after}, which is not an earlier step")]
    After { after: u32 },
    #[error("{span} is not usable in this phase: setup uses deploy, and only setup writes it")]
    Region { span: SpanText },
    #[error("writes {span}, which the same step also uses")]
    Overlap { span: SpanText },
    #[error("reads byte {at} of {span}, which nothing has written")]
    Unwritten { span: SpanText, at: u64 },
    #[error("uses {span}, as step {other} does, and `after` does not order the two")]
    Unordered { span: SpanText, other: u32 },

    #[error("message {message} travels from {from} to {to} in the {phase} phase, not here")]
    WrongPlace { message: u32, from: Role, to: Role, phase: Phase },
    #[error("is sent {times} times, not once")]
    Sent { times: usize },
    #[error("is received {times} times, not once")]
    Received { times: usize },
    #[error("waits for ever: what it needs is never done")]
    Deadlock,

    #[error("message {message} leaves without a mask: {why}")]
    Unmasked { message: u32, why: Unmasked },
    #[error("value {value} of P{party} hides more than one payload")]
    MaskReused { party: u8, value: u32 },
    #[error("value {value} stands for more than one slot of the program")]
    ValueTwice { value: u32 },
}

/// Why a payload is not hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum Unmasked {
    #[error("step {step} of the {phase} phase, which wrote it, is not a map")]
    NotAMap { phase: Phase, step: u32 },
    #[error("step {step} of the {phase} phase adds no mask of P{party} that it uses nowhere else")]
    NoMask { phase: Phase, step: u32, party: u8 },
    #[error(
        "step {step} of the {phase} phase adds value {value} of P{party}, but what it loads was computed from that value"
    )]
    Loaded { phase: Phase, step: u32, party: u8, value: u32 },
    #[error(
        "step {step} of the {phase} phase adds value {value} of P{party}, which went into another payload whose mask went into this one"
    )]
    Circle { phase: Phase, step: u32, party: u8, value: u32 },
}

/// A span as the text form of plans shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanText(pub Span);

impl fmt::Display for SpanText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        crate::text::Attr::print(&self.0, &mut text);
        f.write_str(&text)
    }
}
