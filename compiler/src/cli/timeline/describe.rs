//! What bars of the timeline stand for: steps and messages, in words.

use mpcc_ir::plan::{Phase, Plan, Role, Span, Step, StepOp};

/// What a bar of the timeline stands for; its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Linear,
    Map,
    Copy,
    Message,
    Wire,
    /// A send waits until there is room in the queue of its link.
    Queued,
}

impl Kind {
    /// All kinds, in the order of their numbers, with their names on the page.
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Linear, "linear: products, sums"),
        (Self::Map, "element-wise programs"),
        (Self::Copy, "data movement"),
        (Self::Message, "send, receive"),
        (Self::Wire, "on the wire"),
        (Self::Queued, "send waits for the wire"),
    ];

    pub(super) fn of(op: &StepOp) -> Self {
        match op {
            StepOp::Conv { .. } | StepOp::MatMul { .. } | StepOp::Sum { .. } => Self::Linear,
            StepOp::Map { .. } => Self::Map,
            StepOp::Strided { .. }
            | StepOp::Fill { .. }
            | StepOp::Gather { .. }
            | StepOp::Load { .. } => Self::Copy,
            StepOp::Send { .. } | StepOp::Receive { .. } => Self::Message,
        }
    }
}

/// The step that a bar of a role's thread stands for.
pub(super) fn step_of(plan: &Plan, role: Role, phase: Phase, at: u32) -> Option<&Step> {
    plan.role(role)?.steps(phase).get(at as usize)
}

/// A step in words, without its layer.
pub(super) fn step(plan: &Plan, step: &Step) -> String {
    match &step.op {
        StepOp::Conv { groups, x_shape, out_channels, .. } => {
            let [n, h, w, c] = x_shape;
            let groups = if *groups > 1 { format!(", {groups} groups") } else { String::new() };
            format!("convolution of {n}x{h}x{w}x{c} to {out_channels} channels{groups}")
        }
        StepOp::MatMul { batch, mkn: [m, k, n], .. } => {
            format!("product of {batch} matrices {m}x{k} by {k}x{n}")
        }
        StepOp::Sum { outer, terms, inner, .. } => {
            format!("sum of {terms} terms of {inner} words, {outer} times")
        }
        StepOp::Map { count, program, .. } => {
            let ops = plan.programs.get(*program as usize).map_or(0, |p| p.ops.len());
            format!("program of {ops} operations over {count} elements")
        }
        StepOp::Strided { shape, .. } => format!("copy of {shape:?} words"),
        StepOp::Fill { dst, .. } => format!("fill of {} B", dst.len),
        StepOp::Gather { outer, inner, indices, .. } => {
            format!("gather of {outer}x{}x{inner} words", indices.len())
        }
        StepOp::Load { param, .. } => {
            let name = plan.params.get(*param as usize).map_or("", |p| &p.name);
            format!("load of {name}")
        }
        StepOp::Send { message, .. } => format!("send {}", self::message(plan, *message)),
        StepOp::Receive { message, .. } => format!("receive {}", self::message(plan, *message)),
    }
}

/// A message in words.
pub(super) fn message(plan: &Plan, id: u32) -> String {
    let info = &plan.messages[id as usize];
    let round = if info.round > 0 { format!(", round {}", info.round) } else { String::new() };
    format!("{} {id}, {} to {}{round}", info.kind, info.from, info.to)
}

/// Bytes of a step's message, or of all its buffers together.
pub(super) fn bytes(step: &Step) -> u64 {
    let sum = |spans: &[&Span]| spans.iter().map(|span| span.len).sum();
    match &step.op {
        StepOp::Map { spans, .. } => spans.iter().map(|span| span.len).sum(),
        StepOp::Conv { x, w, out, .. } => sum(&[x, w, out]),
        StepOp::MatMul { a, b, out, .. } => sum(&[a, b, out]),
        StepOp::Strided { src, dst, .. }
        | StepOp::Gather { src, dst, .. }
        | StepOp::Sum { src, dst, .. } => sum(&[src, dst]),
        StepOp::Fill { dst, .. } | StepOp::Load { dst, .. } | StepOp::Receive { dst, .. } => {
            dst.len
        }
        StepOp::Send { src, .. } => src.len,
    }
}
