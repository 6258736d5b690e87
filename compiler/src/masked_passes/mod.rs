//! Passes over the masked program: openings and local work that lowering, which looks at one nn node
//! at a time, could not see to be needless.
//!
//! A pass keeps what is revealed, but for the last place of truncating openings that it joins, and
//! does not fail. Masks keep their numbers; those of openings that are gone are not used again.

mod drop_local;
mod join_rescale;
mod merge_equal;
mod merge_scale;
mod sink_transposes;
mod skip_lift;
#[cfg(test)]
pub(crate) mod testing;

use mpcc_ir::Id;
use mpcc_ir::masked::{MaskedProgram, Op};

/// A change to a masked program.
pub type Pass = fn(&mut MaskedProgram);

/// All passes in order.
pub const PIPELINE: &[(&str, Pass)] = &[
    // Equal values first: the later passes ask whether a value has one reader.
    ("merge_equal", merge_equal::run),
    // The later passes look at neighbours: no transpose must stand between them.
    ("sink_transposes", sink_transposes::run),
    ("skip_lift", skip_lift::run),
    ("merge_scale", merge_scale::run),
    ("drop_local", drop_local::run),
    ("join_rescale", join_rescale::run),
    // Skipped operations leave further equal values behind.
    ("merge_equal", merge_equal::run),
];

/// Runs all passes.
pub fn run_all(program: &mut MaskedProgram) {
    for (_, pass) in PIPELINE {
        pass(program);
    }
}

/// Makes every reader of `from[i]` read `to[i]`, where there is one, then drops what nothing reads.
fn redirect(program: &mut MaskedProgram, to: &[Option<Id>]) {
    let follow = |mut id: Id| {
        while let Some(next) = to[id.index()] {
            id = next;
        }
        id
    };
    for node in &mut program.nodes {
        for arg in &mut node.args {
            *arg = follow(*arg);
        }
    }
    for output in &mut program.outputs {
        *output = follow(*output);
    }
    remove_dead(program);
}

/// Drops what nothing reads, but not the inputs: the client sends them whatever becomes of them.
pub(crate) fn remove_dead(program: &mut MaskedProgram) {
    program.remove_dead(|op| matches!(op, Op::Input { .. }));
}
