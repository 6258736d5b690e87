//! Expands a masked program into views: every protocol of PROTOCOLS.md, written once for all roles.
//!
//! A masked value becomes `delta` and `mask`, shares stay shares, and a weight becomes what the
//! [`WeightsMode`] needs. One file per section of PROTOCOLS.md; the letters are the source's.
//! [`handle`] has the operators, [`builder`] the ways to deal, open and reveal.

pub mod builder;
mod expand;
pub mod handle;
pub mod lift;
pub mod local;
pub mod powers;
pub mod product;
pub mod relu;
pub mod rescale;
pub mod sign;
pub mod weights;

pub use builder::Builder;
pub use expand::expand;
pub use handle::{
    AtP0, Bilinear, Bit, Dealt, DealtBit, Delta, DeltaBit, Mask, MaskBit, Masked, MaskedBit,
    MaskedIn, Public, Share, Share0, ShareBit, Val, Word,
};

use mpcc_ir::plan::WeightsMode;

/// How protocols are instantiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpandOptions {
    /// Who knows the weights.
    pub weights: WeightsMode,
    /// Bits per block of a comparison, 1 to 8; four cost least in most rings.
    pub block: u8,
    /// Number of compute parties, at least 2. Every protocol here works for any.
    pub parties: u8,
}

impl Default for ExpandOptions {
    fn default() -> Self {
        Self { weights: WeightsMode::Party0, block: 4, parties: 2 }
    }
}

#[cfg(test)]
mod tests;
