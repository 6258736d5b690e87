//! Refuses plans that a step could not execute: every length, index and span is looked at once,
//! so that nothing behind this point has to.
//!
//! A plan is public but comes from outside. The verifier of `mpcc-ir` proves the rules of safety; this
//! check is about the machine: no kernel panics and no memory outside an arena is named.

mod step;
mod tile;

pub use step::accesses;

use crate::error::PlanError;
use mpcc_ir::plan::{MAX_DEPTH, Message, MessageKind, Phase, Plan, Role, RolePlan, StepOp};
use mpcc_ir::shape::Shape;
use std::collections::BTreeSet;

/// Longest message that a frame carries.
pub const MAX_MESSAGE_BYTES: u64 = 1 << 31;
/// Most elements of a tensor, and most words along an axis.
pub const MAX_ELEMENTS: u64 = 1 << 40;

/// Checks everything that roles rely on.
///
/// # Errors
/// [`PlanError`] names the part of the plan and the rule that it breaks.
pub fn check_plan(plan: &Plan) -> Result<(), PlanError> {
    let part = |place: &str, rule| PlanError::Part { place: place.to_owned(), rule };
    if plan.parties < 2 || plan.parties > 64 {
        return Err(part("parties", "there are 2 to 64 compute parties"));
    }
    if !(1..=MAX_DEPTH).contains(&plan.depth) {
        return Err(part("depth", "there are 1 to 16 runs in flight"));
    }
    let roles: Vec<Role> = plan.compute_parties().chain([Role::Dealer]).collect();
    if !plan.roles.iter().map(|r| r.role).eq(roles) {
        return Err(part("roles", "compute parties come in order, then the dealer"));
    }
    for (id, message) in plan.messages.iter().enumerate() {
        if message.bytes > MAX_MESSAGE_BYTES || message.from == message.to {
            let place = format!("message {id}");
            return Err(part(&place, "goes to another role and has at most 2 GiB"));
        }
    }
    for (id, program) in plan.programs.iter().enumerate() {
        tile::check(program, plan)
            .map_err(|rule| PlanError::Part { place: format!("program {id}"), rule })?;
    }
    check_ports(plan)?;
    check_params(plan)?;
    plan.roles.iter().try_for_each(|role| check_role(plan, role))
}

fn check_role(plan: &Plan, role: &RolePlan) -> Result<(), PlanError> {
    for phase in Phase::ALL {
        let (mut sent, mut received) = (BTreeSet::new(), BTreeSet::new());
        for (at, step) in role.steps(phase).iter().enumerate() {
            let fail = |rule| PlanError::Step { role: role.role, phase, step: at, rule };
            if step.after.iter().any(|&before| before as usize >= at) {
                return Err(fail("a step comes after those that it depends on"));
            }
            step::check(plan, role, phase, &step.op).map_err(fail)?;
            let mut again = false;
            if let StepOp::Send { message, .. } = step.op {
                again = !sent.insert(message);
            } else if let StepOp::Receive { message, .. } = step.op {
                again = !received.insert(message);
            }
            if again {
                return Err(fail("a message travels once"));
            }
        }
    }
    Ok(())
}

/// Bytes of `elements` elements of `bits` bits; `None` where a limit is passed.
pub fn packed_bytes(elements: u64, bits: u8) -> Option<u64> {
    (elements <= MAX_ELEMENTS).then(|| (elements * u64::from(bits)).div_ceil(8))
}

/// Product of extents; `None` above [`MAX_ELEMENTS`].
pub(crate) fn elements(extents: &[usize]) -> Option<u64> {
    extents.iter().try_fold(1_u64, |product, &extent| {
        product.checked_mul(extent as u64).filter(|&p| p <= MAX_ELEMENTS)
    })
}

/// What a port or parameter wants of a message.
struct Wanted {
    from: Option<Role>,
    to: Option<Role>,
    phase: Phase,
    kind: MessageKind,
    bytes: u64,
}

fn message_is(plan: &Plan, id: u32, want: &Wanted) -> bool {
    let fits = |m: &Message| {
        want.from.is_none_or(|from| from == m.from)
            && want.to.is_none_or(|to| to == m.to)
            && (m.phase, m.kind, m.bytes) == (want.phase, want.kind, want.bytes)
    };
    plan.messages.get(id as usize).is_some_and(fits)
}

fn port_bytes(plan: &Plan, shape: &Shape, ring: u8) -> Option<u64> {
    let fits = (1..=plan.word.bits()).contains(&ring);
    elements(shape).filter(|_| fits).and_then(|n| packed_bytes(n, ring))
}

fn check_ports(plan: &Plan) -> Result<(), PlanError> {
    let rule = "messages match the port's shape, ring and roles";
    for port in &plan.inputs {
        let fail = || PlanError::Part { place: format!("input `{}`", port.name), rule };
        let bytes = port_bytes(plan, &port.shape, port.ring).ok_or_else(fail)?;
        let client = Some(Role::Client);
        let mask = Wanted {
            from: Some(Role::Dealer),
            to: client,
            phase: Phase::Offline,
            kind: MessageKind::Mask,
            bytes,
        };
        let masked = |party| Wanted {
            from: client,
            to: Some(party),
            phase: Phase::Online,
            kind: MessageKind::Input,
            bytes,
        };
        let ok = message_is(plan, port.mask, &mask)
            && port
                .masked
                .iter()
                .all(|&id| plan.compute_parties().any(|p| message_is(plan, id, &masked(p))));
        if !ok {
            return Err(fail());
        }
    }
    for port in &plan.outputs {
        let fail = || PlanError::Part { place: format!("output `{}`", port.name), rule };
        let bytes = port_bytes(plan, &port.shape, port.ring).ok_or_else(fail)?;
        let reveal = Wanted {
            from: None,
            to: Some(Role::Client),
            phase: Phase::Online,
            kind: MessageKind::Reveal,
            bytes,
        };
        let ids = port.shares.iter().chain([&port.masked]);
        if !ids.clone().all(|&id| message_is(plan, id, &reveal)) {
            return Err(fail());
        }
        crate::clear::check(&port.shape, &port.clear)
            .map_err(|rule| PlanError::Part { place: format!("output `{}`", port.name), rule })?;
    }
    Ok(())
}

fn check_params(plan: &Plan) -> Result<(), PlanError> {
    for param in &plan.params {
        let place = || format!("parameter `{}`", param.name);
        let fail = |rule| PlanError::Part { place: place(), rule };
        if param.elements > MAX_ELEMENTS {
            return Err(fail("it has too many elements"));
        }
        if param.public.as_ref().is_some_and(|values| values.len() as u64 != param.elements) {
            return Err(fail("its public values do not match its size"));
        }
        let bytes = param.elements * plan.word.bytes();
        let wanted = |from, to, kind| Wanted { from, to, phase: Phase::Setup, kind, bytes };
        let masked = wanted(None, None, MessageKind::Weight);
        let mask = wanted(Some(Role::Dealer), Some(Role::Owner), MessageKind::Mask);
        if !param.masked.iter().all(|&id| message_is(plan, id, &masked))
            || !param.mask.iter().all(|&id| message_is(plan, id, &mask))
        {
            return Err(fail("messages match its size and roles"));
        }
    }
    Ok(())
}
