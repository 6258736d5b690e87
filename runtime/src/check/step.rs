//! The rules of one step: spans inside their arenas, lengths that kernels want.

use super::elements;
use crate::arena::Access;
use mpcc_ir::Window;
use mpcc_ir::plan::{OperandKind, Phase, Plan, Region, RolePlan, Span, StepOp, TileOp};

type Rule = &'static str;

/// Every span that `op` touches, in the order in which kernels want them: a `Map` step's operands,
/// otherwise what is read and then what is written.
pub fn accesses(plan: &Plan, op: &StepOp, out: &mut Vec<Access>) {
    let read = |span: Span| Access { span, write: false };
    let write = |span: Span| Access { span, write: true };
    match op {
        StepOp::Map { program, spans, .. } => {
            let operands = &plan.programs[*program as usize].operands;
            out.extend(
                spans
                    .iter()
                    .zip(operands)
                    .map(|(&span, operand)| Access { span, write: operand.write }),
            );
        }
        StepOp::Conv { x, w, out: dst, .. } => out.extend([read(*x), read(*w), write(*dst)]),
        StepOp::MatMul { a, b, out: dst, .. } => out.extend([read(*a), read(*b), write(*dst)]),
        StepOp::Strided { src, dst, .. }
        | StepOp::Gather { src, dst, .. }
        | StepOp::Sum { src, dst, .. } => out.extend([read(*src), write(*dst)]),
        StepOp::Fill { dst, .. } | StepOp::Load { dst, .. } | StepOp::Receive { dst, .. } => {
            out.push(write(*dst));
        }
        StepOp::Send { src, .. } => out.push(read(*src)),
    }
}

pub(super) fn check(plan: &Plan, role: &RolePlan, phase: Phase, op: &StepOp) -> Result<(), Rule> {
    check_shape(plan, role, phase, op)?;
    let mut touched = Vec::new();
    accesses(plan, op, &mut touched);
    for (i, access) in touched.iter().enumerate() {
        let Span { region, at, len } = access.span;
        let size = match region {
            Region::Deploy => role.deploy_bytes,
            Region::Run => role.run_bytes,
        };
        let bytes = matches!(op, StepOp::Map { .. } | StepOp::Send { .. } | StepOp::Receive { .. });
        want(bytes || at % plan.word.bytes() == 0, ALIGNED)?;
        want(at.checked_add(len).is_some_and(|end| end <= size), "a buffer leaves its arena")?;
        want(
            !access.write || region == Region::Run || phase == Phase::Setup,
            "runs do not write what a deployment keeps",
        )?;
        want(
            region == Region::Deploy || phase != Phase::Setup,
            "the setup has no buffers of a run",
        )?;
        want(
            touched[..i].iter().all(|other| !other.conflicts(access)),
            "a step's results do not overlap its operands",
        )?;
    }
    Ok(())
}

fn want(ok: bool, rule: Rule) -> Result<(), Rule> {
    if ok { Ok(()) } else { Err(rule) }
}

const ALIGNED: Rule = "spans of words start at multiples of the word";

const LENGTH: Rule = "a buffer's length does not match its shape";

fn check_shape(plan: &Plan, role: &RolePlan, phase: Phase, op: &StepOp) -> Result<(), Rule> {
    let holds = |span: &Span, extents: &[usize]| {
        let bytes = elements(extents).and_then(|n| n.checked_mul(plan.word.bytes()));
        want(bytes == Some(span.len), LENGTH)
    };
    match op {
        StepOp::Map { .. } => check_map(plan, role, op),
        StepOp::Conv { window, groups, x_shape, out_channels, x, w, out } => {
            let [oh, ow] = conv_output(window, x_shape)?;
            let fits = *groups > 0 && x_shape[3] % groups == 0 && out_channels % groups == 0;
            want(fits, "groups divide the channels")?;
            holds(x, x_shape)?;
            holds(w, &[window.kernel[0], window.kernel[1], x_shape[3] / groups, *out_channels])?;
            holds(out, &[x_shape[0], oh, ow, *out_channels])
        }
        StepOp::MatMul { batch, mkn: [m, k, n], shared_b, a, b, out } => {
            holds(a, &[*batch, *m, *k])?;
            holds(b, &[if *shared_b { 1 } else { *batch }, *k, *n])?;
            holds(out, &[*batch, *m, *n])
        }
        StepOp::Strided { shape, src, src_offset, src_strides, dst, dst_offset, dst_strides } => {
            want(dst_strides.iter().all(|&s| s > 0), "destination strides are positive")?;
            stays_inside(shape, *src_offset, src_strides, src, plan)?;
            stays_inside(shape, *dst_offset, dst_strides, dst, plan)
        }
        StepOp::Fill { dst, .. } => want(dst.len.is_multiple_of(plan.word.bytes()), LENGTH),
        StepOp::Gather { outer, extent, inner, indices, src, dst } => {
            want(indices.iter().all(|&i| (i as usize) < *extent), "an index is out of range")?;
            holds(src, &[*outer, *extent, *inner])?;
            holds(dst, &[*outer, indices.len(), *inner])
        }
        StepOp::Sum { outer, terms, inner, src, dst } => {
            holds(src, &[*outer, *terms, *inner])?;
            holds(dst, &[*outer, *inner])
        }
        StepOp::Load { param, dst } => {
            let param = plan.params.get(*param as usize).ok_or("no such parameter")?;
            want(param.elements * plan.word.bytes() == dst.len, LENGTH)
        }
        StepOp::Send { message, src } => {
            let message = plan.messages.get(*message as usize).ok_or("no such message")?;
            want(message.from == role.role, "a role sends its own messages")?;
            want(message.phase == phase, "the message belongs to another phase")?;
            want(message.bytes == src.len, LENGTH)
        }
        StepOp::Receive { message, dst } => {
            let message = plan.messages.get(*message as usize).ok_or("no such message")?;
            want(message.to == role.role, "a role receives its own messages")?;
            want(message.phase == phase, "the message belongs to another phase")?;
            want(message.bytes == dst.len, LENGTH)
        }
    }
}

fn check_map(plan: &Plan, role: &RolePlan, op: &StepOp) -> Result<(), Rule> {
    let StepOp::Map { program, first, count, values, spans } = op else { return Ok(()) };
    let program = plan.programs.get(*program as usize).ok_or("no such program")?;
    want(values.len() == usize::from(program.values), "one value per slot of the program")?;
    want(spans.len() == program.operands.len(), "one buffer per operand of the program")?;
    let end = first.checked_add(*count);
    want(end.is_some_and(|end| end <= super::MAX_ELEMENTS), "too many elements")?;
    for (operand, span) in program.operands.iter().zip(spans) {
        let bytes = match operand.kind {
            OperandKind::Words => count * plan.word.bytes(),
            OperandKind::Packed { bits } => (count * u64::from(bits)).div_ceil(8),
            OperandKind::Table { len, .. } => len * plan.word.bytes(),
        };
        want(span.len == bytes, LENGTH)?;
        let packed = matches!(operand.kind, OperandKind::Packed { .. });
        want(packed || span.at % plan.word.bytes() == 0, ALIGNED)?;
    }
    for op in &program.ops {
        if let TileOp::Random { party, .. } | TileOp::RandomBit { party, .. } = op {
            want(knows_mask(role, *party), "a role derives masks of seeds that it holds")?;
        }
    }
    Ok(())
}

fn knows_mask(role: &RolePlan, party: u8) -> bool {
    use mpcc_ir::plan::Role;
    match role.role {
        Role::Dealer => true,
        Role::Party(b) => b == party,
        Role::Client | Role::Owner => false,
    }
}

fn conv_output(window: &Window, x: &[usize; 4]) -> Result<[usize; 2], Rule> {
    let Window { kernel, strides, dilations, pads } = window;
    let small = |v: &usize| *v < 1 << 24;
    let all = kernel.iter().chain(strides).chain(dilations).chain(pads).chain(x);
    want(all.clone().all(small), "a window or image is too large")?;
    let steps = strides.iter().chain(dilations);
    want(steps.clone().all(|&s| s > 0), "strides and dilations are at least one")?;
    want(window.pads_modestly([x[1], x[2]], x[3]), "padding is most of the image")?;
    window.output([x[1], x[2]]).ok_or("no window fits into the image")
}

/// Whether all indices of a strided view are words of the span.
fn stays_inside(
    shape: &[usize],
    offset: usize,
    strides: &[i64],
    span: &Span,
    plan: &Plan,
) -> Result<(), Rule> {
    want(strides.len() == shape.len(), "one stride per axis")?;
    want(span.len.is_multiple_of(plan.word.bytes()), LENGTH)?;
    let total = elements(shape).ok_or("too many elements")?;
    let (mut low, mut high) = (offset as i128, offset as i128);
    for (&extent, &stride) in shape.iter().zip(strides) {
        let reach = i128::from(stride) * (extent as i128 - 1).max(0);
        low += reach.min(0);
        high += reach.max(0);
    }
    let words = i128::from(span.len / plan.word.bytes());
    want(total == 0 || (low >= 0 && high < words), "a strided view leaves its buffer")
}
