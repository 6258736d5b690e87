//! Truncating opening: from shares of `z` modulo `2^k` to `z >> t` masked in `Z_{2^n}`.
//!
//! Party `b` sends `((([z]_b mod 2^(n+t)) >> t) + [r]_b) mod 2^n`.
//!
//! - Source: `PROTOCOLS.md`, Truncating opening. Shares are uniform, so each shift loses `(2^t - 1) / 2^(t+1)`
//!   units on average; `P_0` adds the loss of all `N` shares before its shift, where the source adds one
//!   half. The opened value is then the exact one on average, so that truncation errors do not add up in
//!   the sums of the next layer; for two parties a multiple of `2^t` has no error at all.
//! - Range: `|z| + N 2^(t-1) < 2^(n+t-1)`, `n + t <= k`.
//! - Error: at most `N / 2` units in the last place, zero on average, never a wrap-around.
//! - Cost: one round, `n` bits per element, no correction.

use super::builder::Builder;
use super::handle::{Masked, Share};

/// `z >> t`, rounded at random, masked in a ring of `n` bits.
pub fn open_truncated(b: &Builder, z: &Share, t: u8, n: u8, parties: u8) -> Masked {
    if t == 0 {
        return b.open_narrow(&z.narrow(n), z.ring());
    }
    let k = z.ring();
    let z = z.narrow(n + t);
    let lost = i64::from(parties) * ((1 << t) - 1) / 2;
    let lost = b.constant_at_p0(lost, n + t, &z.shape());
    b.open_narrow(&(z + lost).shr_each(t).narrow(n), k)
}
