//! Bilinear products: matrix product, convolution, element-wise product.
//!
//! `[z]_b = op(D_x, b0*D_y - [L_y]_b) - op([L_x]_b, D_y) + [op(L_x, L_y)]_b`
//!
//! - Source: `PROTOCOLS.md`, Products. `b0` is 1 for `P_0` and 0 for the others.
//! - Security: semi-honest; nothing is sent between compute parties.
//! - Units: fractional bits add up; a rescale drops them later.
//! - Cost: no round, nothing online. The dealer sends one ring element per element of the result,
//!   nothing when the weights are public.
//! - With a weight, the first term is all that depends on the run's input, and it is a node of its own:
//!   everything else, a bias included, is summed up before.

use super::builder::{Builder, to_shares};
use super::handle::{AtP0, Bilinear, Mask, Masked, Share};
use super::weights::Weight;

/// A product by a weight, plus a bias that is already in the result's shape.
pub fn by_weight(
    b: &Builder,
    op: &Bilinear,
    x: &Masked,
    w: &Weight,
    bias: Option<&Share>,
) -> Share {
    let with_bias = |offline: Share| bias.map_or(offline.clone(), |bias| offline + bias);
    match w {
        Weight::Public(w) => {
            let offline = op.of(&x.lam, w).neg();
            op.of(&x.delta.at_p0(), w) + with_bias(offline.into())
        }
        Weight::Party0 { plain, masked } => {
            op.of(&x.delta, plain) + with_bias(offline(b, op, x, masked))
        }
        Weight::Owner { operand, masked } => {
            op.of(&x.delta, operand) + with_bias(offline(b, op, x, masked))
        }
    }
}

/// A product of two values of the run.
pub fn of_masked(b: &Builder, op: &Bilinear, x: &Masked, y: &Masked) -> Share {
    op.of(&x.delta, &to_shares(y)) + offline(b, op, x, y)
}

/// `[op(L_x, L_y)]_b - op([L_x]_b, D_y)`: no `D_x`, so offline when `D_y` is a weight's.
fn offline(b: &Builder, op: &Bilinear, x: &Masked, y: &Masked) -> Share {
    let ll: Mask = b.deal(&op.of(&x.lam.total(), &y.lam.total()));
    ll - op.of(&x.lam, &y.delta)
}
