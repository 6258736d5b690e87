//! The parameter tensors that a role knows.

use crate::error::RunError;
use crate::kernels::RingWord;
use mpcc_ir::plan::{ParamInfo, Phase, Plan, RolePlan, StepOp};
use std::sync::Arc;

/// The quantised weights, or nothing. Public parameters come with the plan.
#[derive(Clone, Default)]
pub struct Params {
    /// Per parameter of the plan, its ring elements.
    words: Vec<Arc<[u64]>>,
}

impl Params {
    /// What a role knows without a weights file.
    pub fn public(plan: &Plan) -> Self {
        let words = |p: &ParamInfo| match &p.public {
            Some(values) => values.iter().map(|&v| v as u64).collect(),
            None => Arc::default(),
        };
        Self { words: plan.params.iter().map(words).collect() }
    }

    /// What the owner of the weights knows: `weights` holds one tensor per parameter of the plan
    /// (those of public ones are not looked at).
    ///
    /// # Errors
    /// [`RunError::WeightsLength`] names the first parameter whose size differs from the plan's.
    pub fn owned(plan: &Plan, weights: &[Vec<u64>]) -> Result<Self, RunError> {
        let mut known = Self::public(plan);
        for (at, param) in plan.params.iter().enumerate() {
            if param.public.is_some() {
                continue;
            }
            let words = weights.get(at).map_or(&[][..], Vec::as_slice);
            if words.len() as u64 != param.elements {
                let (param, expected) = (param.name.clone(), param.elements);
                return Err(RunError::WeightsLength { param, got: words.len() as u64, expected });
            }
            known.words[at] = words.into();
        }
        Ok(known)
    }

    /// Whether every parameter that the role's steps load is here.
    pub(crate) fn check(&self, plan: &Plan, own: &RolePlan) -> Result<(), RunError> {
        for step in Phase::ALL.iter().flat_map(|&phase| own.steps(phase)) {
            let StepOp::Load { param, .. } = step.op else { continue };
            let info = &plan.params[param as usize];
            if self.words(param as usize).len() as u64 != info.elements {
                return Err(RunError::NoWeights { role: own.role, param: info.name.clone() });
            }
        }
        Ok(())
    }

    /// The elements of a parameter; empty where it is not known.
    pub(crate) fn words(&self, param: usize) -> &[u64] {
        self.words.get(param).map_or(&[], |words| words)
    }

    pub(crate) fn load<W: RingWord>(&self, param: usize, out: &mut [W]) {
        for (out, &word) in out.iter_mut().zip(self.words(param)) {
            *out = W::from_u64(word);
        }
    }
}
