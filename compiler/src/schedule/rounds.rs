//! Rounds as they will be measured: the longest chain of openings that ends in each message.
//!
//! A chain follows what a step waits for: messages, and earlier steps through the bytes they share. It
//! can be shorter than in PROTOCOLS.md: where `P_0` owns the weights, the other parties' shares of a
//! product do not depend on what was opened before.

use mpcc_ir::plan::{Message, MessageKind, Phase, RolePlan, StepOp};

/// Sets `round` of every opening.
pub(super) fn count(messages: &mut [Message], roles: &[RolePlan]) {
    let mut arrived: Vec<Option<u32>> = messages.iter().map(outside).collect();
    let mut done: Vec<Vec<Option<u32>>> =
        roles.iter().map(|role| vec![None; role.online.len()]).collect();
    let mut progress = true;
    while progress {
        progress = false;
        for (role, done) in roles.iter().zip(&mut done) {
            for at in 0..role.online.len() {
                if done[at].is_none() {
                    done[at] = advance(role, at, done, &mut arrived, messages);
                    progress |= done[at].is_some();
                }
            }
        }
    }
    for (message, depth) in messages.iter_mut().zip(arrived) {
        if message.kind == MessageKind::Open {
            message.round = depth.unwrap_or(0);
        }
    }
}

/// What comes from outside, or before the online phase, ends no chain.
fn outside(message: &Message) -> Option<u32> {
    (message.kind != MessageKind::Open || message.phase != Phase::Online).then_some(0)
}

/// The chain that ends in a step; `None` while what it waits for is unknown.
fn advance(
    role: &RolePlan,
    at: usize,
    done: &[Option<u32>],
    arrived: &mut [Option<u32>],
    messages: &[Message],
) -> Option<u32> {
    let step = &role.online[at];
    let before = step.after.iter().map(|before| done[*before as usize]);
    let depth = before.collect::<Option<Vec<u32>>>()?.into_iter().max().unwrap_or(0);
    match step.op {
        StepOp::Receive { message, .. } => Some(depth.max(arrived[message as usize]?)),
        StepOp::Send { message, .. } if messages[message as usize].kind == MessageKind::Open => {
            arrived[message as usize] = Some(depth + 1);
            Some(depth)
        }
        _ => Some(depth),
    }
}
