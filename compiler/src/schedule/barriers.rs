//! Schedules that overlap less than dependencies allow: to compare with, and to keep uplinks free.
//!
//! A party whose shares do not depend on what is opened could send those of all layers at once, and
//! what the other party waits for would queue behind them.

use super::emit::Draft;
use mpcc_ir::plan::StepOp;
use std::collections::VecDeque;

/// How much of communication and computation may happen at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// No step that computes beside one that sends or receives. A role that waits for nobody, as a dealer, computes all of
    /// a run's phase before it sends.
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
pub(super) fn add(drafts: &mut [Draft], overlap: Overlap, ahead: Option<usize>) {
    match overlap {
        Overlap::Sequential => between(drafts, 1, |draft| (is_message(draft), 0)),
        Overlap::Layer => between(drafts, 1, |draft| (false, draft.layer)),
        Overlap::Pipelined => match ahead {
            Some(runs) => between(drafts, runs, |draft| (false, draft.layer)),
            None => return,
        },
    }
    for draft in drafts {
        draft.after.sort_unstable();
        draft.after.dedup();
    }
}

/// Puts what is sent in a phase after all that is computed, where nothing is received: a role that waits for nobody would
/// compute the next message while one is on the wire. To be called while steps wait for no bytes yet.
pub(super) fn send_last(drafts: &mut [Draft]) {
    let received = |draft: &Draft| matches!(draft.op, StepOp::Receive { .. });
    if !drafts.iter().any(received) {
        drafts.sort_by_key(is_message);
    }
}

fn is_message(draft: &Draft) -> bool {
    matches!(draft.op, StepOp::Send { .. } | StepOp::Receive { .. })
}

/// Makes each run of steps with the same key wait for the run that is so many before it.
fn between<K: PartialEq>(drafts: &mut [Draft], distance: usize, key: impl Fn(&Draft) -> K) {
    let mut ends: VecDeque<Vec<u32>> = vec![Vec::new(); distance.max(1)].into();
    let mut first = 0;
    while first < drafts.len() {
        let of = key(&drafts[first]);
        let len = drafts[first..].iter().take_while(|draft| key(draft) == of).count();
        let run = first as u32..(first + len) as u32;
        let before = ends.pop_front().unwrap_or_default();
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
        ends.push_back(run.clone().filter(|at| last[(at - run.start) as usize]).collect());
        first += len;
    }
}
