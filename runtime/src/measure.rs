//! How long single steps take on this machine: for cost models, and to check what they predict.
//!
//! No kernel branches on data, so steps over made-up contents take as long as those of a run.

use crate::arena::Memory;
use crate::cpu_time;
use crate::error::RunError;
use crate::kernels::Scratch;
use crate::mask::{Epoch, Masks};
use crate::role::RoleState;
use crate::serve::median;
use crate::share::Seed;
use mpcc_ir::plan::{Phase, Plan, Role, StepOp};
use std::sync::Arc;

/// Microseconds of processor time of each step of `role` in `phase`, one after another on one thread
/// in the order of the plan, as they usually are in `rounds` passes over all steps.
///
/// The least of all passes compares steps best, where something else disturbs one or the other. But a run meets the
/// same disturbances, such as neighbours on the same core of a virtual machine: so all are longer by what the middle
/// one of the passes takes more than all the least times.
///
/// The plan need not be one that could run: roles without a peer and steps that depend on nothing
/// will do. `Send` and `Receive`, and a `Load` of a parameter that is not public, count as nothing.
///
/// # Errors
/// A role that the plan does not have, a span outside its arena, or too little memory.
///
/// # Panics
/// If a buffer's length does not fit a step's shape: the plan's verifier refuses such steps.
pub fn time_steps(
    plan: Arc<Plan>,
    role: Role,
    phase: Phase,
    rounds: usize,
) -> Result<Vec<f64>, RunError> {
    let state = RoleState::for_measuring(Arc::clone(&plan), role)?;
    let memory = Memory { deploy: state.deploy_arena(), run: state.run_arena()? };
    let mut masks = Masks::new(plan.parties);
    for party in 0..plan.parties {
        masks = masks.with_party(party, &Seed::from_bytes([party; 32]), Epoch::Run(0));
    }
    let mut scratch = Scratch::new();
    for span in state.arenas() {
        // Pages that were never written are all the same page, which caches make too fast.
        state.execute(
            &memory,
            &masks,
            &StepOp::Fill { dst: span, value: 1 },
            None,
            &mut scratch,
        )?;
    }
    let mut least = vec![f64::INFINITY; state.steps(phase).len()];
    let mut passes = Vec::new();
    for _ in 0..rounds.max(1) {
        let mut pass = 0.0;
        for (step, least) in state.steps(phase).iter().zip(&mut least) {
            let is_message = matches!(step.op, StepOp::Send { .. } | StepOp::Receive { .. });
            let is_absent = matches!(step.op, StepOp::Load { param, .. }
                if plan.params[param as usize].public.is_none());
            if is_message || is_absent {
                *least = 0.0;
                continue;
            }
            let before = cpu_time::of_thread();
            state.execute(&memory, &masks, &step.op, None, &mut scratch)?;
            let used = cpu_time::of_thread().saturating_sub(before).as_secs_f64() * 1e6;
            *least = least.min(used);
            pass += used;
        }
        passes.push(pass);
    }
    let usual = median(passes) / least.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    Ok(least.into_iter().map(|us| us * usual).collect())
}
