//! ReLU of `u` in `Z_{2^n}`, lifted to `Z_{2^k}`.
//!
//! Opens `s * u` in `Z_{2^k}` with `s = 1 - sign`. For `u >= 0` the integer is
//! `D - r + 2^n [top(r) and not top(D)]`, so the lift rides along with the product by the sign: the
//! dealer deals `r`, `top(r) 2^n`, `l`, `l r` and `l top(r) 2^n`, `l` being the mask of `s`.
//!
//! - Source: `PROTOCOLS.md`, Sign, ReLU, max; `relu` of `masked.py`; `r` is `L_u`.
//! - Range: `|u| < 2^(n-1)`. Exact.
//! - Cost: the sign's, then one round and `k` bits; corrections `2k + 2(k - n)` and those of `r`, `k - n` or `k` (see
//!   `lift`). With `n = k` there is nothing to lift: `r` is shared already and the wrap is none, corrections
//!   `2k`.

use super::builder::Builder;
use super::handle::{AtP0, Delta, Mask, MaskBit, Masked, Share};
use super::lift::{mask, top, wrap};
use super::sign::negative;

/// What the parties hold of `r` (or of `l r`) and its wrap.
struct Lifted {
    /// `r` or `l r` in `Z_{2^k}`.
    low: Mask,
    /// Its top bit times `2^n`; none when `n = k`.
    top: Option<Mask>,
}

impl Lifted {
    /// `minuend - low`, plus the wrap where there is one.
    fn below(&self, d: &Delta, minuend: Share) -> Share {
        let value = minuend - &self.low;
        match &self.top {
            Some(tp) => value + wrap(d, tp),
            None => value,
        }
    }
}

/// `max(u, 0)` in a ring of `k` bits; comparisons by blocks of `block` bits.
pub fn relu(b: &Builder, u: &Masked, k: u8, block: u8) -> Masked {
    let sign = negative(b, u, block);
    let (s, l) = (sign.delta.not(), sign.lam);
    let d = u.delta.extend(k);
    let r = deal_mask(b, &u.lam, k);
    let lr = deal_product(b, &l, &u.lam, k);
    let l = b.deal(&l.total().word(k));
    // u, and l * u, as shares.
    let val = r.below(&u.delta, d.at_p0().into());
    let lval = lr.below(&u.delta, &d * l);
    // (s ^ l) * u = s * u + (1 - 2 s) * l * u.
    let twice = lval.shl(1);
    b.open(s.select(&(val - twice)) + lval)
}

fn deal_mask(b: &Builder, r: &Mask, k: u8) -> Lifted {
    let n = r.ring();
    Lifted { low: mask(b, r, k), top: (n < k).then(|| b.deal_high(&top(r, k), n)) }
}

fn deal_product(b: &Builder, l: &MaskBit, r: &Mask, k: u8) -> Lifted {
    let n = r.ring();
    let low = b.deal(&l.total().select(&r.total().extend(k)));
    let top = (n < k).then(|| b.deal_high(&l.total().select(&top(r, k)), n));
    Lifted { low, top }
}
