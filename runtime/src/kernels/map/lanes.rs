//! Loops over registers that may be the same one.
//!
//! A register is a stretch of `len` elements of one slice. Where the destination is also an operand
//! the loop works in place, so that each loop is free of overlap and the compiler turns it into
//! vector instructions.

use std::ops::Range;

/// `dst[i] = f(a[i])`.
#[inline(always)]
pub(super) fn unary<T: Copy>(
    regs: &mut [T],
    dst: Range<usize>,
    a: Range<usize>,
    f: impl Fn(T) -> T,
) {
    if dst == a {
        regs[dst].iter_mut().for_each(|d| *d = f(*d));
    } else {
        let [d, a] = disjoint(regs, [dst, a]);
        d.iter_mut().zip(&*a).for_each(|(d, &a)| *d = f(a));
    }
}

/// `dst[i] = f(dst[i], a[i], b[i])`.
#[inline(always)]
pub(super) fn binary<T: Copy>(
    regs: &mut [T],
    dst: Range<usize>,
    a: Range<usize>,
    b: Range<usize>,
    f: impl Fn(T, T, T) -> T,
) {
    if a == b {
        if dst == a {
            regs[dst].iter_mut().for_each(|d| *d = f(*d, *d, *d));
        } else {
            let [d, a] = disjoint(regs, [dst, a]);
            d.iter_mut().zip(&*a).for_each(|(d, &a)| *d = f(*d, a, a));
        }
    } else if dst == a {
        let [d, b] = disjoint(regs, [dst, b]);
        d.iter_mut().zip(&*b).for_each(|(d, &b)| *d = f(*d, *d, b));
    } else if dst == b {
        let [d, a] = disjoint(regs, [dst, a]);
        d.iter_mut().zip(&*a).for_each(|(d, &a)| *d = f(*d, a, *d));
    } else {
        let [d, a, b] = disjoint(regs, [dst, a, b]);
        d.iter_mut().zip(&*a).zip(&*b).for_each(|((d, &a), &b)| *d = f(*d, a, b));
    }
}

/// Different registers never overlap.
#[inline(always)]
fn disjoint<T, const N: usize>(regs: &mut [T], ranges: [Range<usize>; N]) -> [&mut [T]; N] {
    regs.get_disjoint_mut(ranges).expect("the plan loader checks register numbers")
}
