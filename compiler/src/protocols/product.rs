//! Bilinear products: matrix product, convolution, element-wise product.
//!
//! `[z]_b = op(D_x, b0*D_y - [L_y]_b) - op([L_x]_b, D_y) + [op(L_x, L_y)]_b`
//!
//! Where `P_0` knows `y`, as its own weight or a public one, it needs one product instead of two, and the
//! dealer half of the mask: with `L'` for `L_x` without `P_0`'s share, what `P_0` lacks of `x` is `L'` alone,
//!
//! `[z]_0 = op(D_x - [L_x]_0, y) + [op(L', L_y)]_0` and `[z]_b = [op(L', L_y)]_b - op([L_x]_b, D_y)`.
//!
//! - Source: `PROTOCOLS.md`, Products, the first formula; the second is its own. `b0` is 1 for `P_0` and 0 for the
//!   others.
//! - Security: semi-honest; nothing is sent between compute parties.
//! - Units: fractional bits add up; a rescale drops them later.
//! - Cost: no round, nothing online. The dealer sends one ring element per element of the result,
//!   nothing when the weights are public.
//! - With a weight, the first term is all that depends on the run's input, and it is a node of its own:
//!   everything else, a bias included, is summed up before.

use super::builder::Builder;
use super::handle::{Bilinear, Mask, Masked, Share, Share0};
use super::weights::Weight;

/// A bias in the result's shape.
pub enum Bias {
    /// `P_0` knows it.
    AtP0(Share0),
    /// No party knows it.
    Shared(Share),
}

impl Bias {
    /// `offline` plus the bias.
    fn plus(&self, offline: &Share) -> Share {
        match self {
            Self::AtP0(bias) => offline + bias,
            Self::Shared(bias) => offline + bias,
        }
    }

    /// The bias less `cross`.
    fn minus(&self, cross: &Mask) -> Share {
        match self {
            Self::AtP0(bias) => bias - cross,
            Self::Shared(bias) => bias - cross,
        }
    }
}

/// A product by a weight, plus a bias.
pub fn by_weight(b: &Builder, op: &Bilinear, x: &Masked, w: &Weight, bias: Option<&Bias>) -> Share {
    let before = |lam: &Mask, masked: &Masked| {
        let share = offline(b, op, lam, masked);
        bias.map_or(share.clone(), |bias| bias.plus(&share))
    };
    match w {
        Weight::Public(w) => {
            let (online, cross) = (op.of(&x.known_to_p0(), w), op.of(&x.lam.without_p0(), w));
            bias.map_or(&online - &cross, |bias| &online + bias.minus(&cross))
        }
        Weight::Party0 { plain, masked } => {
            op.of(&x.known_to_p0(), plain) + before(&x.lam.without_p0(), masked)
        }
        Weight::Owner { operand, masked } => op.of(&x.delta, operand) + before(&x.lam, masked),
    }
}

/// A product of two values of the run, plus a bias.
pub fn of_masked(b: &Builder, op: &Bilinear, x: &Masked, y: &Masked, bias: Option<&Bias>) -> Share {
    let z = op.of(&x.delta, &y.shares()) + offline(b, op, &x.lam, y);
    bias.map_or(z.clone(), |bias| bias.plus(&z))
}

/// `[op(L_x, L_y)]_b - op([L_x]_b, D_y)`: no `D_x`, so offline when `D_y` is a weight's.
fn offline(b: &Builder, op: &Bilinear, lam: &Mask, y: &Masked) -> Share {
    let ll: Mask = b.deal(&op.of(&lam.total(), &y.lam.total()));
    ll - op.of(lam, &y.delta)
}
