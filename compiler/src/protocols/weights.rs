//! Weights: masked once per deployment, never opened again.
//!
//! | mode | online operand `a_b = b0*D_w - [L_w]_b` | mask | dealer |
//! |---|---|---|---|
//! | [`WeightsMode::Party0`] | the plain weight at `P_0`, nothing elsewhere | whole at `P_0` | `op(L_x without [L_x]_0, L_w)` |
//! | [`WeightsMode::Owner`] | formed once from `D_w` and the mask's share | shared | `op(L_x, L_w)` |
//! | [`WeightsMode::Public`] | the plain weight at `P_0`, nothing elsewhere | none | nothing |
//!
//! Operations that move elements apply to every part; parts that no product reads are dead code and
//! cost nothing (a bias of `P_0` needs no mask, for example).

use super::builder::Builder;
use super::handle::{AtP0, Masked, Public, Share, Share0};
use mpcc_ir::plan::WeightsMode;
use mpcc_ir::{ParamId, Shape};

/// A weight or public constant, in the parts that its mode needs.
#[derive(Clone, Debug)]
pub enum Weight {
    /// Everybody knows it.
    Public(Public),
    /// `P_0` knows it; the others know `D_w`.
    Party0 {
        /// The weight.
        plain: Share0,
        /// `D_w` and `L_w`.
        masked: Masked,
    },
    /// No compute party knows it.
    Owner {
        /// `a_b`.
        operand: Share,
        /// `D_w` and `L_w`.
        masked: Masked,
    },
}

impl Weight {
    /// A parameter of the owner, or a public one.
    pub fn load(
        b: &Builder,
        param: ParamId,
        ring: u8,
        shape: &Shape,
        mode: WeightsMode,
        public: bool,
    ) -> Self {
        match mode {
            WeightsMode::Party0 if !public => Self::Party0 {
                plain: b.weight_at_p0(param, ring, shape),
                masked: b.weight(param, ring, shape, true),
            },
            WeightsMode::Owner if !public => {
                let masked = b.weight(param, ring, shape, false);
                Self::Owner { operand: masked.shares(), masked }
            }
            WeightsMode::Public | WeightsMode::Party0 | WeightsMode::Owner => {
                Self::Public(b.public(param, ring, shape))
            }
        }
    }

    /// Shares of the weight: what a bias adds.
    pub fn shares(&self) -> Share {
        match self {
            Self::Public(w) => w.at_p0().into(),
            Self::Party0 { plain, .. } => plain.into(),
            Self::Owner { operand, .. } => operand.clone(),
        }
    }
}
