//! The dependency graph of one phase of one role, in the form that the executor counts down.

use crate::arena::Access;
use crate::check::accesses;
use mpcc_ir::plan::{Phase, Plan, Region, RolePlan, Step, StepOp};
use std::collections::BTreeMap;

/// What each step waits for and what waits for it. Made once per plan, shared by all runs.
#[derive(Debug)]
pub struct Schedule {
    /// How many events each step waits for: steps before it, and its message if it receives one.
    pub(crate) missing: Vec<u32>,
    after: Edges,
    after_setup: Edges,
    /// The step that receives each message.
    pub(crate) receives: BTreeMap<u32, u32>,
}

impl Schedule {
    /// The schedule of a phase of a role, which a plan check has passed.
    pub fn new(plan: &Plan, role: &RolePlan, phase: Phase) -> Self {
        let steps = role.steps(phase);
        let after = |(at, step): (usize, &Step)| {
            step.after.iter().map(|&before| (before, at as u32)).collect::<Vec<_>>()
        };
        let after = Edges::new(steps.len(), steps.iter().enumerate().flat_map(after).collect());
        let mut missing = vec![0; steps.len()];
        for &step in &after.to {
            missing[step as usize] += 1;
        }
        let mut receives = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            if let StepOp::Receive { message, .. } = step.op {
                receives.insert(message, at as u32);
                missing[at] += 1;
            }
        }
        let after_setup = Edges::new(role.setup.len(), uses_of_setup(plan, role, phase));
        Self { missing, after, after_setup, receives }
    }

    /// A schedule of no steps.
    pub(crate) fn empty() -> Self {
        let [after, after_setup] = [Edges::new(0, vec![]), Edges::new(0, vec![])];
        Self { missing: vec![], after, after_setup, receives: BTreeMap::new() }
    }

    /// The steps that wait for `step`.
    pub(crate) fn dependents(&self, step: usize) -> &[u32] {
        self.after.of(step)
    }

    /// The steps that wait for `step` of the setup, where that is not over when the phase begins.
    pub(crate) fn dependents_of_setup(&self, step: usize) -> &[u32] {
        self.after_setup.of(step)
    }
}

/// The steps of a run's phase that read what a step of the setup writes, as (step of the setup, step).
fn uses_of_setup(plan: &Plan, role: &RolePlan, phase: Phase) -> Vec<(u32, u32)> {
    if phase == Phase::Setup {
        return vec![];
    }
    let mut touched = Vec::new();
    let mut deployed = |op: &StepOp, found: &mut dyn FnMut(&Access)| {
        touched.clear();
        accesses(plan, op, &mut touched);
        touched.iter().filter(|access| access.span.region == Region::Deploy).for_each(found);
    };
    let mut written = Vec::new();
    for (step, setup) in (0..).zip(&role.setup) {
        deployed(&setup.op, &mut |access| {
            if access.write {
                written.push((*access, step));
            }
        });
    }
    written.sort_unstable_by_key(|(access, _)| access.span.at);
    // The furthest end of all up to each: no write before the first that reaches behind a byte touches it.
    let mut reach = Vec::with_capacity(written.len());
    for (Access { span, .. }, _) in &written {
        reach.push(reach.last().map_or(0, |&end: &u64| end).max(span.at + span.len));
    }
    let mut uses = Vec::new();
    for (at, step) in (0..).zip(role.steps(phase)) {
        deployed(&step.op, &mut |access| {
            let first = reach.partition_point(|&end| end <= access.span.at);
            let end = access.span.at + access.span.len;
            let near = written[first..].iter().take_while(|(write, _)| write.span.at < end);
            uses.extend(near.filter(|(w, _)| w.conflicts(access)).map(|(_, step)| (*step, at)));
        });
    }
    uses
}

/// A relation between steps, by the first.
#[derive(Debug)]
struct Edges {
    /// `to[starts[i]..starts[i + 1]]` belong to step `i`.
    starts: Vec<u32>,
    to: Vec<u32>,
}

impl Edges {
    fn new(steps: usize, mut pairs: Vec<(u32, u32)>) -> Self {
        pairs.sort_unstable();
        pairs.dedup();
        let start = |step| pairs.partition_point(|(from, _)| (*from as usize) < step) as u32;
        let starts = (0..=steps).map(start).collect();
        Self { starts, to: pairs.into_iter().map(|(_, to)| to).collect() }
    }

    fn of(&self, step: usize) -> &[u32] {
        &self.to[self.starts[step] as usize..self.starts[step + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpcc_ir::plan::{Role, Span, WeightsMode, Word};

    #[test]
    fn steps_of_a_run_wait_for_the_parts_of_the_setup_that_they_read() {
        let deploy = |at, len| Span { region: Region::Deploy, at, len };
        let fill = |span| Step::new(StepOp::Fill { value: 0, dst: span });
        let sum = |src: Span| {
            let (terms, dst) = (src.len as usize / 4, Span { region: Region::Run, at: 0, len: 4 });
            Step::new(StepOp::Sum { outer: 1, terms, inner: 1, src, dst })
        };
        let role = RolePlan {
            role: Role::Party(0),
            deploy_bytes: 256,
            run_bytes: 4,
            // Not in order of address, and one writes over a part of another.
            setup: vec![fill(deploy(64, 64)), fill(deploy(0, 64)), fill(deploy(96, 8))],
            offline: [(0, 4), (60, 8), (100, 4), (104, 4), (128, 64), (0, 192)]
                .map(|(at, len)| sum(deploy(at, len)))
                .into(),
            online: vec![sum(deploy(64, 4))],
        };
        let plan = Plan::empty(Word::W32, 2, WeightsMode::Party0);
        let waiting = |phase| {
            let schedule = Schedule::new(&plan, &role, phase);
            [0, 1, 2].map(|step| schedule.dependents_of_setup(step).to_vec())
        };
        assert_eq!(waiting(Phase::Offline), [vec![1, 2, 3, 5], vec![0, 1, 5], vec![2, 5]]);
        assert_eq!(waiting(Phase::Online), [vec![0], vec![], vec![]]);
        assert!(waiting(Phase::Setup).iter().all(Vec::is_empty));
    }
}
