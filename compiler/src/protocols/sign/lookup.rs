//! A shared table read at a known index, by a tree of multiplexers.
//!
//! The dealer shares `T[v] = [v < r_j]` for `v = 0 .. 2^w - 2`; `T[2^w - 1]` is always zero. With
//! `T[-1] = 1`, `lt = T[d]` and `eq = T[d] ^ T[d - 1]`. Both are neighbours, so the tree decides the
//! high bits of `d` first and keeps one entry more than half: 19 multiplexers for both at `w = 4`, where
//! two trees would take 30.

use super::super::builder::Builder;
use super::super::handle::{AtP0, DealtBit, Delta, DeltaBit, Mask, ShareBit};

/// An entry of the table as shares.
#[derive(Clone)]
enum Entry {
    /// Zero at every party.
    Zero,
    /// One at `P_0`, zero elsewhere.
    One,
    /// Any bit.
    Bit(ShareBit),
}

/// Deals `[v < r_j]` for `v = 0 .. 2^w - 2`, where `r_j` is the block of `r` from bit `low` on.
pub(super) fn deal_table(b: &Builder, r: &Mask, low: u8, width: u8) -> Vec<ShareBit> {
    let bits: Vec<DealtBit> = (0..width).map(|i| r.total().bit(low + i)).collect();
    less_than(&bits).iter().map(|entry| b.deal(entry).into()).collect()
}

/// `[v < r]` for `v = 0 .. 2^w - 2`, where `bits` are those of `r`, the lowest first.
///
/// With the top bit `t` and the table `T` of the bits below: `t | T[v]` for the lower half, `t` in the
/// middle, `t & T[v]` for the upper half.
fn less_than(bits: &[DealtBit]) -> Vec<DealtBit> {
    let Some((top, rest)) = bits.split_last() else { return Vec::new() };
    let below = less_than(rest);
    let both: Vec<DealtBit> = below.iter().map(|t| top * t).collect();
    let either = below.iter().zip(&both).map(|(t, and)| top + t + and);
    either.chain([top.clone()]).chain(both.iter().cloned()).collect()
}

/// Shares of `[d < r]` and, where wanted, of `[d = r]`, for the block `d` of `delta` from bit `low` on.
pub(super) fn look_up(
    delta: &Delta,
    low: u8,
    width: u8,
    table: Vec<ShareBit>,
    want_eq: bool,
) -> (ShareBit, Option<ShareBit>) {
    let before = want_eq.then_some(Entry::One);
    let mut entries: Vec<Entry> =
        before.into_iter().chain(table.into_iter().map(Entry::Bit)).chain([Entry::Zero]).collect();
    for i in (0..width).rev() {
        entries = choose(&delta.bit(low + i), &entries, 1 << i);
    }
    let at = usize::from(want_eq);
    let any = delta.bit(low);
    let lt = share(&any, &entries[at]);
    let eq = want_eq.then(|| share(&any, &entries[0]) + &lt);
    (lt, eq)
}

/// Keeps the entries whose index has the bit `c` at the place worth `half`.
fn choose(c: &DeltaBit, entries: &[Entry], half: usize) -> Vec<Entry> {
    let not_c = c.not();
    let pair = |(low, high): (&Entry, &Entry)| match (high, low) {
        (Entry::Bit(a), Entry::Bit(b)) => Entry::Bit(c.mux(a, b)),
        (Entry::Bit(a), Entry::One) => Entry::Bit(c * a + not_c.at_p0()),
        (Entry::Bit(a), Entry::Zero) => Entry::Bit(c * a),
        (Entry::Zero, Entry::Bit(b)) => Entry::Bit(&not_c * b),
        (Entry::One, Entry::Bit(b)) => Entry::Bit(&not_c * b + c.at_p0()),
        (Entry::Zero, Entry::Zero) => Entry::Zero,
        (Entry::One, Entry::One) => Entry::One,
        (Entry::One, Entry::Zero) => Entry::Bit(c.at_p0().into()),
        (Entry::Zero, Entry::One) => Entry::Bit(not_c.at_p0().into()),
    };
    entries.iter().zip(&entries[half..]).map(pair).collect()
}

/// The entry as shares; `any` is a bit of the right shape.
fn share(any: &DeltaBit, entry: &Entry) -> ShareBit {
    match entry {
        Entry::Bit(bit) => bit.clone(),
        Entry::Zero => (any + any).at_p0().into(),
        Entry::One => (any + any.not()).at_p0().into(),
    }
}
