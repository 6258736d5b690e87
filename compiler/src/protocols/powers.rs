//! Polynomials of a masked value from dealt powers of its mask: no round at all.
//!
//! `x^j = sum over i of C(j, i) D^(j-i) (-L)^i`; the dealer deals `L^2, .., L^degree`.
//!
//! - Source: `PROTOCOLS.md`, Functions of one variable, and `powers` of `masked.py`.
//! - Units: the caller scales the coefficients so that all terms have the fraction of `x^degree`.
//! - Cost: no round, nothing online; corrections `(degree - 1) k` bits per element.

use super::builder::Builder;
use super::handle::{AtP0, Delta, Mask, Masked, Share};

/// Shares of `sum_j coef[j] x^j`; `coef` has the constant first and at least one entry more.
///
/// By `i`, the power of the mask: `sum_i (-L)^i q_i(D)` with `q_i = sum_j coef[j] C(j, i) D^(j-i)`,
/// each `q_i` by Horner's rule.
pub fn polynomial(b: &Builder, x: &Masked, coef: &[i64]) -> Share {
    let degree = coef.len().saturating_sub(1);
    let mut sum: Share = public_part(x, &shifted(coef, 0)).at_p0().into();
    let mut power = x.lam.total();
    for i in 1..=degree {
        let share: Mask = if i == 1 {
            x.lam.clone()
        } else {
            power = power * x.lam.total();
            b.deal(&power)
        };
        let term = term(x, &shifted(coef, i), &share);
        sum = if i % 2 == 0 { sum + term } else { sum - term };
    }
    sum
}

/// `coef[j] C(j, i)` for `j = i, ..`: the coefficients of `q_i`.
fn shifted(coef: &[i64], i: usize) -> Vec<i64> {
    (i..coef.len()).map(|j| coef[j].wrapping_mul(binomial(j, i))).collect()
}

fn binomial(n: usize, k: usize) -> i64 {
    (0..k).fold(1, |acc, i| acc * (n - i) as i64 / (i as i64 + 1))
}

/// `q(D)` by Horner's rule.
fn public_part(x: &Masked, q: &[i64]) -> Delta {
    let (last, rest) = q.split_last().unwrap_or((&0, &[]));
    let mut rest = rest.iter().rev();
    let Some(next) = rest.next() else { return x.delta.times(0).plus(*last) };
    let first = x.delta.times(*last).plus(*next);
    rest.fold(first, |acc, c| (acc * &x.delta).plus(*c))
}

/// `q(D) [L^i]_b`.
fn term(x: &Masked, q: &[i64], share: &Mask) -> Share {
    match q {
        [c] => share.times(*c).into(),
        _ => public_part(x, q) * share,
    }
}
