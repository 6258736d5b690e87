//! The dependency graph of one phase of one role, in the form that the executor counts down.

use mpcc_ir::plan::{Step, StepOp};
use std::collections::BTreeMap;

/// What each step waits for and what waits for it. Made once per plan, shared by all runs.
#[derive(Debug)]
pub struct Schedule {
    /// How many events each step waits for: steps before it, and its message if it receives one.
    pub(crate) missing: Vec<u32>,
    /// `dependents[starts[i]..starts[i + 1]]` are the steps that wait for step `i`.
    starts: Vec<u32>,
    dependents: Vec<u32>,
    /// The step that receives each message.
    pub(crate) receives: BTreeMap<u32, u32>,
}

impl Schedule {
    /// The schedule of a phase's steps, which a plan check has passed.
    pub fn new(steps: &[Step]) -> Self {
        let mut starts = vec![0_u32; steps.len() + 1];
        let mut receives = BTreeMap::new();
        let mut missing = Vec::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            for &before in &step.after {
                starts[before as usize + 1] += 1;
            }
            let mut events = step.after.len() as u32;
            if let StepOp::Receive { message, .. } = step.op {
                receives.insert(message, at as u32);
                events += 1;
            }
            missing.push(events);
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut fill = starts.clone();
        let mut dependents = vec![0; starts.last().map_or(0, |&n| n as usize)];
        for (at, step) in steps.iter().enumerate() {
            for &before in &step.after {
                let slot = &mut fill[before as usize];
                dependents[*slot as usize] = at as u32;
                *slot += 1;
            }
        }
        Self { missing, starts, dependents, receives }
    }

    /// The steps that wait for `step`.
    pub(crate) fn dependents(&self, step: usize) -> &[u32] {
        &self.dependents[self.starts[step] as usize..self.starts[step + 1] as usize]
    }
}
