//! Every message is sent once and received once, where it belongs.

use super::{Check, Place, PlanError, Rule, at_step};
use crate::plan::{Phase, Plan, Role, StepOp};

pub(super) fn check(plan: &Plan) -> Check {
    let ends = ends(plan)?;
    for (at, (message, ends)) in plan.messages.iter().zip(&ends).enumerate() {
        let fail = |rule| PlanError { place: Place::Message(at), rule };
        let planned = |role: Role| usize::from(plan.role(role).is_some());
        if ends.sent != planned(message.from) {
            return Err(fail(Rule::Sent { times: ends.sent }));
        }
        if ends.received != planned(message.to) {
            return Err(fail(Rule::Received { times: ends.received }));
        }
    }
    Ok(())
}

/// Per message, the one that its payload is computed from: itself where its sender has steps. A client adds its inputs
/// to the masks that the dealer sends it, and an owner its weights, byte by byte: `tables.rs` has checked that the two
/// are equally long.
pub(super) fn sources(plan: &Plan) -> Vec<u32> {
    let mut sources: Vec<u32> = (0..plan.messages.len() as u32).collect();
    for port in &plan.inputs {
        port.masked.iter().for_each(|&masked| sources[masked as usize] = port.mask);
    }
    for param in &plan.params {
        if let Some(mask) = param.mask {
            param.masked.iter().for_each(|&masked| sources[masked as usize] = mask);
        }
    }
    sources
}

/// How often a message is sent and received.
#[derive(Clone, Copy, Default)]
struct Ends {
    sent: usize,
    received: usize,
}

fn ends(plan: &Plan) -> Result<Vec<Ends>, PlanError> {
    let mut ends = vec![Ends::default(); plan.messages.len()];
    for role in &plan.roles {
        for phase in Phase::ALL {
            for (at, step) in role.steps(phase).iter().enumerate() {
                let Some((id, sends)) = end(&step.op) else { continue };
                let message = &plan.messages[id as usize];
                let here = if sends { message.from } else { message.to };
                if here != role.role || message.phase != phase {
                    let (from, to, phase_of) = (message.from, message.to, message.phase);
                    let rule = Rule::WrongPlace { message: id, from, to, phase: phase_of };
                    return Err(at_step(role.role, phase, at)(rule));
                }
                let count = &mut ends[id as usize];
                *(if sends { &mut count.sent } else { &mut count.received }) += 1;
            }
        }
    }
    Ok(ends)
}

/// The message that a step sends (`true`) or receives.
pub(super) fn end(op: &StepOp) -> Option<(u32, bool)> {
    match op {
        StepOp::Send { message, .. } => Some((*message, true)),
        StepOp::Receive { message, .. } => Some((*message, false)),
        StepOp::Map { .. }
        | StepOp::Conv { .. }
        | StepOp::MatMul { .. }
        | StepOp::Strided { .. }
        | StepOp::Fill { .. }
        | StepOp::Gather { .. }
        | StepOp::Sum { .. }
        | StepOp::Load { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::verify::testing::broken;
    use insta::assert_snapshot;

    #[test]
    fn each_message_is_sent_once_and_received_once() {
        assert_snapshot!(broken(&[("      2: send message 5 src run@64+13 after [1]\n", "      2: send message 8 src run@64+13 after [1]\n")]), @"message 5: is sent 0 times, not once");
        assert_snapshot!(broken(&[("2: send message 5 src run@64+13 after [1]", "2: fill dst run@272+4 value 0")]), @"message 5: is sent 0 times, not once");
        assert_snapshot!(broken(&[("3: receive message 5 dst run@64+13 after [0]", "3: receive message 2 dst run@208+16")]), @"message 2: is received 2 times, not once");
    }

    #[test]
    fn messages_travel_where_they_belong() {
        assert_snapshot!(broken(&[("2: send message 5", "2: send message 6")]), @"P0, online step 2: message 6 travels from P1 to P0 in the online phase, not here");
        assert_snapshot!(broken(&[("message 5: from P0 to P1 phase online", "message 5: from P0 to P1 phase offline")]), @"P0, online step 2: message 5 travels from P0 to P1 in the offline phase, not here");
    }
}
