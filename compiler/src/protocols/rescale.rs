//! Truncating opening: from shares of `z` modulo `2^k` to `z >> t` masked in `Z_{2^n}`.
//!
//! Party `b` sends `((([z]_b mod 2^(n+t)) >> t) + [r]_b) mod 2^n`.
//!
//! - Source: `PROTOCOLS.md`, Truncating opening. `P_0` adds one half before the shift.
//! - Range: `|z| < 2^(n+t-1)`, `n + t <= k`.
//! - Error: at most `N - 1` units in the last place, never a wrap-around.
//! - Cost: one round, `n` bits per element, no correction.

use super::builder::Builder;
use super::handle::{Masked, Share};

/// `z >> t`, rounded, masked in a ring of `n` bits.
pub fn open_truncated(b: &Builder, z: &Share, t: u8, n: u8) -> Masked {
    if t == 0 {
        return b.open(z.narrow(n));
    }
    let z = z.narrow(n + t);
    let half = b.constant_at_p0(1 << (t - 1), n + t, &z.shape());
    b.open((z + half).shr_each(t).narrow(n))
}
