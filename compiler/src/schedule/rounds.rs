//! Rounds as they will be measured: the longest chain of openings that ends in each message; and the longest chain of
//! messages of the offline phase.
//!
//! A chain follows what a step waits for: messages, and earlier steps through the bytes they share. It
//! can be shorter than in PROTOCOLS.md: where `P_0` owns the weights, the other parties' shares of a
//! product do not depend on what was opened before.

use mpcc_ir::plan::{Message, MessageKind, Phase, RolePlan, Step, StepOp};

/// Sets `round` of every opening.
pub(super) fn count(messages: &mut [Message], roles: &[RolePlan]) {
    let is_opening = |message: &Message| message.kind == MessageKind::Open;
    let chains = chains(messages, roles, Phase::Online, is_opening);
    for (message, chain) in messages.iter_mut().zip(chains) {
        if is_opening(message) {
            message.round = chain.unwrap_or(0);
        }
    }
}

/// Messages on the longest chain of the offline phase.
pub(super) fn offline_hops(messages: &[Message], roles: &[RolePlan]) -> u32 {
    let chains = chains(messages, roles, Phase::Offline, |_| true);
    chains.into_iter().flatten().max().unwrap_or(0)
}

/// How many messages that count are on the longest chain of a phase that ends in each message, itself included. What comes
/// from outside, or before the phase, ends no chain.
fn chains(
    messages: &[Message],
    roles: &[RolePlan],
    phase: Phase,
    counts: impl Fn(&Message) -> bool,
) -> Vec<Option<u32>> {
    let counts = |message: &Message| message.phase == phase && counts(message);
    let before = |message: &Message| (!counts(message)).then_some(0);
    let mut arrived: Vec<Option<u32>> = messages.iter().map(before).collect();
    let mut done: Vec<Vec<Option<u32>>> =
        roles.iter().map(|role| vec![None; role.steps(phase).len()]).collect();
    let mut progress = true;
    while progress {
        progress = false;
        for (role, done) in roles.iter().zip(&mut done) {
            for (at, step) in role.steps(phase).iter().enumerate() {
                if done[at].is_some() {
                    continue;
                }
                done[at] = chain_before(step, done, &arrived);
                progress |= done[at].is_some();
                if let (Some(chain), StepOp::Send { message, .. }) = (done[at], &step.op) {
                    let counted = u32::from(counts(&messages[*message as usize]));
                    arrived[*message as usize] = Some(chain + counted);
                }
            }
        }
    }
    arrived
}

/// The chain that ends in a step; `None` while what it waits for is unknown.
fn chain_before(step: &Step, done: &[Option<u32>], arrived: &[Option<u32>]) -> Option<u32> {
    let before = step.after.iter().map(|before| done[*before as usize]);
    let chain = before.collect::<Option<Vec<u32>>>()?.into_iter().max().unwrap_or(0);
    match step.op {
        StepOp::Receive { message, .. } => Some(chain.max(arrived[message as usize]?)),
        _ => Some(chain),
    }
}
