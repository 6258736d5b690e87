//! What can go wrong at run time: a bad plan, a bad peer, or a run that does not complete.
//!
//! Messages name the role, the step or the message and what to do. They never hold a share, a seed
//! or an input value.

use mpcc_ir::plan::{MessageKind, Phase, Role};

/// An error and its causes in one line, for people. A cause that the text so far quotes is left out.
pub fn in_one_line<'e>(
    chain: impl IntoIterator<Item = &'e (dyn std::error::Error + 'static)>,
) -> String {
    let mut line = String::new();
    for text in chain.into_iter().map(ToString::to_string) {
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line += ": ";
            line += &text;
        }
    }
    line
}

/// A plan that the runtime refuses to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum PlanError {
    #[error("plan: {place}: {rule}; compile the model again")]
    Part { place: String, rule: &'static str },
    #[error("plan: {role}, {phase} step {step}: {rule}; compile the model again")]
    Step { role: Role, phase: Phase, step: usize, rule: &'static str },
    #[error("plan has no steps for {role}; it knows {parties} compute parties and the dealer")]
    NoRole { role: Role, parties: u8 },
}

/// A peer that does not keep to the plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum PeerError {
    #[error("message {message} does not exist in this plan; check that both run the same plan")]
    UnknownMessage { message: u32 },
    #[error("message {message} came from {from}, but the plan says {expected}")]
    WrongSender { message: u32, from: Role, expected: Role },
    #[error("message {message} is for {expected} and reached {role}")]
    WrongReceiver { message: u32, role: Role, expected: Role },
    #[error("message {message} belongs to the {expected} phase and came in the {phase} phase")]
    WrongPhase { message: u32, phase: Phase, expected: Phase },
    #[error("message {message} has {got} bytes instead of {expected}")]
    WrongLength { message: u32, got: u64, expected: u64 },
    #[error("message {message} came twice")]
    Twice { message: u32 },
    #[error("{role} sent a message of run {run}, which is over or too far ahead of run {newest}")]
    WrongRun { role: Role, run: u64, newest: u64 },
    #[error("{role} hung up; see its log for the cause")]
    HungUp { role: Role },
}

/// A run that did not complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum RunError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("{role}: {source}")]
    Peer { role: Role, source: PeerError },
    #[error("cannot reserve {bytes} bytes of memory for {role}; use a larger machine")]
    Memory { role: Role, bytes: u64 },
    #[error(
        "{role} needs parameter `{param}` and has no weights file; set `weights` in its configuration"
    )]
    NoWeights { role: Role, param: String },
    #[error("parameter `{param}` has {got} elements in the weights file instead of {expected}")]
    WeightsLength { param: String, got: u64, expected: u64 },
    #[error("{role} lacks the seed of P{party}; run the handshake with it first")]
    NoSeed { role: Role, party: u8 },
    #[error(
        "{role} waits in the {phase} phase for message {message} ({kind}) from {from}, which does not come"
    )]
    Stalled { role: Role, phase: Phase, message: u32, kind: MessageKind, from: Role },
    #[error("{role}: no step of the {phase} phase can go on; compile the model again")]
    Deadlock { role: Role, phase: Phase },
    #[error("{role} cannot start {threads} compute threads; ask for fewer")]
    Threads { role: Role, threads: usize },
    #[error("{role}: a thread stopped in the middle of a step; see its log")]
    ThreadLost { role: Role },
    #[error("{role}: the run was called off")]
    Aborted { role: Role },
    #[error(transparent)]
    Input(#[from] crate::client::InputError),
    #[error("{count} inputs given, but the plan has {expected}")]
    InputCount { count: usize, expected: usize },
}

#[test]
fn a_cause_is_said_once() {
    let quoted =
        RunError::Peer { role: Role::Dealer, source: PeerError::HungUp { role: Role::Party(0) } };
    let error = anyhow::Error::from(quoted).context("cannot run");
    let said = in_one_line(error.chain());
    assert_eq!(said, "cannot run: dealer: P0 hung up; see its log for the cause");
}
