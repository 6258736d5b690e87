//! The parameter tensors that a role knows.

use crate::error::RunError;
use crate::kernels::RingWord;
use mpcc_ir::plan::{Phase, Plan, RolePlan, StepOp};
use mpcc_ir::weights::Weights;
use std::sync::Arc;

/// The quantised weights, or nothing. Public parameters come with the plan.
#[derive(Clone, Default)]
pub struct Params(Option<Arc<Weights>>);

impl Params {
    /// What a role knows without a weights file.
    pub fn public() -> Self {
        Self(None)
    }

    /// What the owner of the weights knows.
    ///
    /// # Errors
    /// [`RunError::WeightsLength`] names the first parameter whose size differs from the plan's.
    pub fn owned(plan: &Plan, weights: Arc<Weights>) -> Result<Self, RunError> {
        for (at, param) in plan.params.iter().enumerate().filter(|(_, p)| p.public.is_none()) {
            let got = weights.params.get(at).map_or(0, Vec::len) as u64 / plan.word.bytes();
            if got != param.elements || weights.word != plan.word {
                let (param, expected) = (param.name.clone(), param.elements);
                return Err(RunError::WeightsLength { param, got, expected });
            }
        }
        Ok(Self(Some(weights)))
    }

    /// Whether every parameter that the role's steps load is here.
    pub(crate) fn check(&self, plan: &Plan, own: &RolePlan) -> Result<(), RunError> {
        for step in Phase::ALL.iter().flat_map(|&phase| own.steps(phase)) {
            let StepOp::Load { param, .. } = step.op else { continue };
            let info = &plan.params[param as usize];
            if info.public.is_none() && self.0.is_none() {
                return Err(RunError::NoWeights { role: own.role, param: info.name.clone() });
            }
        }
        Ok(())
    }

    /// The little-endian words of a secret parameter; `None` without a weights file.
    pub(crate) fn secret(&self, param: usize) -> Option<&[u8]> {
        self.0.as_ref().and_then(|weights| weights.params.get(param)).map(Vec::as_slice)
    }

    /// Copies a parameter into ring words.
    pub(crate) fn load<W: RingWord>(&self, plan: &Plan, param: usize, out: &mut [W]) {
        if let Some(values) = &plan.params[param].public {
            for (out, &value) in out.iter_mut().zip(values) {
                *out = W::from_u64(value as u64);
            }
        } else if let Some(bytes) = self.secret(param) {
            for (out, word) in out.iter_mut().zip(bytes.chunks_exact(W::BYTES)) {
                *out = W::from_le(word);
            }
        }
    }
}
