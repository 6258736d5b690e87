//! The sign bit of a masked value, exact.
//!
//! `u = D - r` in `Z_{2^n}`, so `sign = D_top ^ r_top ^ [D' < r']` on the `n - 1` low bits, which are cut
//! into blocks of `w` bits, most significant first. Round 1 opens `lt_j = [D_j < r_j]` and
//! `eq_j = [D_j = r_j]` of each block (of the last only `lt`) from dealt tables; the next rounds join
//! them (`join`).
//!
//! - Source: `PROTOCOLS.md`, Sign, ReLU, max; `negative` of `masked.py`; `r` is `L_u`.
//! - Security: what is opened is masked by a fresh bit each.
//! - Cost for `m` blocks of `w` bits: `2m - 1 + 1` online bits and two rounds up to six blocks (see
//!   `join` beyond); corrections `2^w - 1` bits per block, and the join's, which takes `r_top` along (a single block
//!   has no join: one bit for `r_top`).

mod join;
mod lookup;

use super::builder::Builder;
use super::handle::{AtP0, Masked, MaskedBit};
use join::{Block, join};

/// One when `u < 0`; `block` bits are compared at once.
pub fn negative(b: &Builder, u: &Masked, block: u8) -> MaskedBit {
    let n = u.delta.ring();
    let cuts = split_blocks(n - 1, block.clamp(1, 8));
    let opened = cuts.iter().map(|&(low, width)| compare(b, u, low, width, low > 0)).collect();
    let dealt = join(b, opened, &u.lam.total().bit(n - 1));
    b.open(dealt + u.delta.bit(n - 1).at_p0())
}

/// Lowest bit and width of each block, most significant first.
fn split_blocks(bits: u8, block: u8) -> Vec<(u8, u8)> {
    let mut high = bits;
    let mut out = Vec::new();
    while high > 0 {
        let width = block.min(high);
        high -= width;
        out.push((high, width));
    }
    out
}

/// Opens `lt` and, where more blocks follow, `eq` of one block.
fn compare(b: &Builder, u: &Masked, low: u8, width: u8, more: bool) -> Block {
    let table = lookup::deal_table(b, &u.lam, low, width);
    let (lt, eq) = lookup::look_up(&u.delta, low, width, table, more);
    Block { lt: b.open(lt), eq: eq.map(|eq| b.open(eq)) }
}

#[cfg(test)]
mod tests {
    use super::split_blocks;

    #[test]
    fn the_last_block_takes_what_is_left() {
        assert_eq!(split_blocks(24, 5), [(19, 5), (14, 5), (9, 5), (4, 5), (0, 4)]);
        assert_eq!(split_blocks(1, 4), [(0, 1)]);
    }
}
