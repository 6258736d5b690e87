//! Which nodes a role has to look at: what leads to the messages that it sends.

use crate::schedule::groups::Traffic;
use mpcc_ir::Id;
use mpcc_ir::plan::Role;
use mpcc_ir::views::{Op, View, ViewsProgram};

/// What a role needs in order to send what it sends.
pub(super) fn needed(views: &ViewsProgram, traffic: &Traffic, role: Role) -> Vec<bool> {
    let mut needed = vec![false; views.nodes.len()];
    for group in traffic.groups.values() {
        if traffic.sends(role, group.payload) {
            for id in &group.members {
                needed[id.index()] = true;
            }
        }
    }
    for id in views.ids().rev() {
        let node = &views[id];
        // A dealt value and a delta of an input are leaves for a party; the dealer has no deltas.
        let leaf =
            role != Role::Dealer && matches!(node.op, Op::Deal { .. } | Op::InputDelta { .. });
        if needed[id.index()] && !leaf {
            for arg in &node.args {
                needed[arg.index()] = true;
            }
        }
    }
    needed
}

/// The opening of which a node is `D - [L]_0`, what `P_0` knows of the value.
pub(in crate::schedule) fn what_p0_knows(views: &ViewsProgram, id: Id) -> Option<Id> {
    let operand = |id: Id, at: usize, op: &Op| {
        views[id].args.get(at).copied().filter(|operand| views[*operand].op == *op)
    };
    let (delta, mask) = (operand(id, 0, &Op::AtP0)?, operand(id, 1, &Op::OfP0)?);
    let open = operand(delta, 0, &Op::Open)?;
    (views[id].op == Op::Sub && views[open].args[1] == views[mask].args[0]).then_some(open)
}

/// Masks from which an [`Op::WithoutP0`] follows.
pub(super) fn masks_behind_without_p0(views: &ViewsProgram) -> Vec<bool> {
    let mut behind = vec![false; views.nodes.len()];
    for id in views.ids().rev() {
        let node = &views[id];
        let derived = behind[id.index()] && !matches!(node.op, Op::Deal { .. });
        if derived || node.op == Op::WithoutP0 {
            for arg in &node.args {
                behind[arg.index()] = views[*arg].ty.view == View::Mask;
            }
        }
    }
    behind
}
