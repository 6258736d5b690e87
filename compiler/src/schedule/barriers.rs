//! Schedules that overlap less than dependencies allow, to compare with.

use super::emit::Draft;
use mpcc_ir::plan::StepOp;

/// How much of communication and computation may happen at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Nothing at a party: it computes, or it sends and receives.
    Sequential,
    /// Chunks of a layer; a layer begins when the one before is done.
    Layer,
    /// Everything that does not depend on what is missing.
    #[default]
    Pipelined,
}

impl Overlap {
    /// The name that the command line takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Layer => "layer",
            Self::Pipelined => "pipelined",
        }
    }
}

/// Adds to `after` of a phase's steps what the schedule asks for.
pub(super) fn add(drafts: &mut [Draft], overlap: Overlap) {
    match overlap {
        Overlap::Sequential => between(drafts, |draft| (is_message(draft), 0)),
        Overlap::Layer => between(drafts, |draft| (false, draft.layer)),
        Overlap::Pipelined => return,
    }
    for draft in drafts {
        draft.after.sort_unstable();
        draft.after.dedup();
    }
}

fn is_message(draft: &Draft) -> bool {
    matches!(draft.op, StepOp::Send { .. } | StepOp::Receive { .. })
}

/// Makes each run of steps with the same key wait for the run before.
fn between<K: PartialEq>(drafts: &mut [Draft], key: impl Fn(&Draft) -> K) {
    let mut before: Vec<u32> = Vec::new();
    let mut first = 0;
    while first < drafts.len() {
        let of = key(&drafts[first]);
        let len = drafts[first..].iter().take_while(|draft| key(draft) == of).count();
        let run = first as u32..(first + len) as u32;
        let mut last = vec![true; len];
        for at in run.clone() {
            let draft = &mut drafts[at as usize];
            let inside: Vec<u32> =
                draft.after.iter().copied().filter(|step| run.contains(step)).collect();
            if inside.is_empty() {
                draft.after.extend(&before);
            }
            for step in inside {
                last[(step - run.start) as usize] = false;
            }
        }
        before = run.clone().filter(|at| last[(at - run.start) as usize]).collect();
        first += len;
    }
}
