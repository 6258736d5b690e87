//! The parameter tensors that a role knows.

use crate::error::RunError;
use crate::kernels::RingWord;
use mpcc_ir::plan::{Phase, Plan, RolePlan, StepOp};
use mpcc_ir::weights::Weights;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The quantised weights, tensor by tensor, or nothing. Public parameters come with the plan.
#[derive(Clone, Default)]
pub struct Params(Vec<Option<Arc<Zeroizing<Vec<u8>>>>>);

impl Params {
    /// What a role knows without a weights file.
    pub fn public() -> Self {
        Self::default()
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
        let params = match Arc::try_unwrap(weights) {
            Ok(mut own) => std::mem::take(&mut own.params),
            Err(shared) => shared.params.clone(),
        };
        let hold = |bytes| Some(Arc::new(Zeroizing::new(bytes)));
        Ok(Self(params.into_iter().map(hold).collect()))
    }

    /// Whether every parameter that the role's steps load is here.
    pub(crate) fn check(&self, plan: &Plan, own: &RolePlan) -> Result<(), RunError> {
        for step in Phase::ALL.iter().flat_map(|&phase| own.steps(phase)) {
            let StepOp::Load { param, .. } = step.op else { continue };
            let info = &plan.params[param as usize];
            if info.public.is_none() && self.secret(param as usize).is_none() {
                return Err(RunError::NoWeights { role: own.role, param: info.name.clone() });
            }
        }
        Ok(())
    }

    /// The little-endian words of a secret parameter; `None` without a weights file.
    pub(crate) fn secret(&self, param: usize) -> Option<&[u8]> {
        self.0.get(param)?.as_ref().map(|bytes| bytes.as_slice())
    }

    /// The bytes of a secret parameter, shared.
    pub(crate) fn get(&self, param: usize) -> Option<Arc<Zeroizing<Vec<u8>>>> {
        self.0.get(param)?.clone()
    }

    /// Hands over a secret parameter, so that it is wiped and freed when the caller has used it.
    pub(crate) fn take(&mut self, param: usize) -> Option<Arc<Zeroizing<Vec<u8>>>> {
        self.0.get_mut(param)?.take()
    }
}

/// Copies a parameter into ring words: a public one from the plan, or a secret one from its bytes.
pub(crate) fn load<W: RingWord>(public: Option<&[i64]>, secret: Option<&[u8]>, out: &mut [W]) {
    if let Some(values) = public {
        for (out, &value) in out.iter_mut().zip(values) {
            *out = W::from_u64(value as u64);
        }
    } else if let Some(bytes) = secret {
        for (out, word) in out.iter_mut().zip(bytes.chunks_exact(W::BYTES)) {
            *out = W::from_le(word);
        }
    }
}
