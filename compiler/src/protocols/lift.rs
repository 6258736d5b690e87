//! Lift: from `Z_{2^n}` back to `Z_{2^k}`, exact with one spare bit.
//!
//! With `d = D + 2^(n-2)` the integer is `d - 2^(n-2) - r + 2^n [top(r) and not top(d)]`.
//!
//! - Source: `PROTOCOLS.md`, Truncating opening, and `lift` of `masked.py`; `r` is `L_u`.
//! - Range: `|u| < 2^(n-2)`.
//! - Cost: one round, `k` bits per element; the dealer sends `k - n` bits for `r`'s top, and for `r` as many where it is
//!   the rest of a mask in `Z_{2^k}`, else `k`. Nothing when `n = k`: the value is already there.

use super::builder::Builder;
use super::handle::{AtP0, Dealt, Delta, Mask, Masked, Share};

/// The same integer, masked afresh in a ring of `k` bits.
pub fn lift(b: &Builder, u: &Masked, k: u8) -> Masked {
    let n = u.delta.ring();
    if n == k {
        return u.clone();
    }
    let off = 1_i64 << (n - 2);
    let d = u.delta.plus(off);
    let rho = mask(b, &u.lam, k);
    let tp = b.deal_high(&top(&u.lam, k), n);
    let value = d.extend(k).plus(-off).at_p0() - rho + wrap(&d, &tp);
    b.open(value)
}

/// Shares of `r` itself in `Z_{2^k}`, for `r` in `Z_{2^n}`.
///
/// Where `r` is the rest of a mask `m` in `Z_{2^k}`, that is `m` less a multiple of `2^n`, which the dealer shares
/// with `k - n` bits. Otherwise `r` is shared with `k` bits, as in `masked.py`; if `n = k` it is shared already.
pub(super) fn mask(b: &Builder, r: &Mask, k: u8) -> Mask {
    if r.ring() == k {
        return r.clone();
    }
    let known = r.total().extend(k);
    match r.wide(k) {
        Some(m) => &m - b.deal_high(&(m.total() - known), r.ring()),
        None => b.deal(&known),
    }
}

/// `top(r) * 2^n` in `Z_{2^k}`, for `r` in `Z_{2^n}` with `n < k`.
pub(super) fn top(r: &Mask, k: u8) -> Dealt {
    let n = r.ring();
    r.total().bit(n - 1).word(k).shl(n)
}

/// `tp` where the top bit of `d` is not set: what the lift of `d - r` wraps by.
pub(super) fn wrap(d: &Delta, tp: &Mask) -> Share {
    d.bit(d.ring() - 1).not().select(tp)
}
