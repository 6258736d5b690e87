//! Joins the comparisons of blocks: `lt_1 ^ eq_1 lt_2 ^ eq_1 eq_2 lt_3 ^ ..`, one opening per level.
//!
//! Written out in opened bits and masks, each product of opened bits has a factor that the dealer alone knows. Those
//! beside an opened `lt_j` are products of masks of `eq`s, the same for all `j`: every subset of two or more is shared
//! once. Those beside opened `eq`s alone are sums over the `j`s, which are shared as sums. The polynomial is
//! evaluated from the last block to the first: with `V_j(S)` a share of `(product of the masks of S) * lt_j` for `S` a
//! set of blocks before `j`, opening block `i` contracts `V(S)` and `V(S + i)` into `eq_i V`.
//!
//! - Source: `PROTOCOLS.md`, Sign, step 2; `bit_poly` of `masked.py`, which shares every product of masks apart:
//!   `(2^m - 1 - m) + (2^(m-1) - m)` corrections and one for the bit that is added here.
//! - Cost up to six blocks: nothing is opened here (the caller opens the sum), corrections
//!   `(2^(m-1) - m) + (2^(m-1) - 1)` bits for `m` blocks, two or more: the subsets of `eq`s and the sums.
//! - More than six blocks go in levels: up to six groups are joined and opened, `lt` and `eq` of
//!   each, in one round more and `2g - 1` bits for `g` groups; a group of `s` blocks whose `eq` is wanted costs
//!   `(2^s - 1 - s) + (2^(s-1) - 1)` corrections. `g` is what makes the bits fewest: three for eight
//!   blocks (n = 32: 17 corrections and 5 bits instead of 247), five for sixteen (n = 64).

use super::super::builder::Builder;
use super::super::handle::{AtP0, DealtBit, DeltaBit, MaskedBit, ShareBit};

/// Most blocks that are joined in one level.
const ONE_LEVEL: usize = 6;

/// What is opened of a block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// `[D_j < r_j]`.
    pub(super) lt: MaskedBit,
    /// `[D_j = r_j]`; none for the last block.
    pub(super) eq: Option<MaskedBit>,
}

/// Shares of `[D' < r'] ^ more` from the blocks, most significant first; there is at least one.
pub(super) fn join(b: &Builder, mut blocks: Vec<Block>, more: &DealtBit) -> ShareBit {
    while blocks.len() > ONE_LEVEL {
        let mut rest = &blocks[..];
        let mut joined = Vec::new();
        for size in group_sizes(blocks.len()) {
            let (group, after) = rest.split_at(size);
            let (lt, eq) = join_group(b, group, None);
            joined.push(Block { lt: b.open(lt), eq: eq.map(|eq| b.open(eq)) });
            rest = after;
        }
        blocks = joined;
    }
    join_group(b, &blocks, Some(more)).0
}

/// Shares of `lt ^ more` of a group taken as one block, and of its `eq` unless the group is the last.
fn join_group(
    b: &Builder,
    blocks: &[Block],
    more: Option<&DealtBit>,
) -> (ShareBit, Option<ShareBit>) {
    let eqs: Vec<&MaskedBit> = blocks.iter().filter_map(|block| block.eq.as_ref()).collect();
    let products = mask_products(&eqs);
    let shares: Vec<Term> = products.iter().enumerate().map(|(s, p)| deal(b, s, p, &eqs)).collect();
    let lt = less(b, blocks, &eqs, &products, &shares).plus(more).shared(b);
    let eq = (eqs.len() == blocks.len()).then(|| equal(&eqs, &shares));
    (lt, eq)
}

/// Product of the masks of a set of `eq`s; nothing for the empty set.
type Product = Option<DealtBit>;

/// Products of masks by set, bit `i` of the index standing for `eqs[i]`.
fn mask_products(eqs: &[&MaskedBit]) -> Vec<Product> {
    let mut products: Vec<Product> = vec![None];
    for eq in eqs {
        let lam = eq.lam.total();
        let with = products.iter().map(|p| p.as_ref().map_or(lam.clone(), |p| p * &lam));
        let with: Vec<Product> = with.map(Some).collect();
        products.extend(with);
    }
    products
}

/// A share of a product of masks.
enum Term {
    /// The empty product: one at `P_0`.
    One,
    /// Any bit.
    Bit(ShareBit),
}

impl Term {
    /// `d * self`.
    fn times(&self, d: &DeltaBit) -> ShareBit {
        match self {
            Self::One => d.at_p0().into(),
            Self::Bit(bit) => d * bit,
        }
    }
}

/// Shares of the product of set `s`: a mask alone is shared already.
fn deal(b: &Builder, s: usize, product: &Product, eqs: &[&MaskedBit]) -> Term {
    match product {
        None => Term::One,
        Some(_) if s.is_power_of_two() => Term::Bit((&eqs[s.trailing_zeros() as usize].lam).into()),
        Some(product) => Term::Bit(b.deal(product).into()),
    }
}

/// A sum of a bit that is shared and one that the dealer alone knows, if any.
struct Partial {
    shared: ShareBit,
    dealt: Option<DealtBit>,
}

impl Partial {
    fn plus(self, more: Option<&DealtBit>) -> Self {
        let dealt = match (self.dealt, more) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or_else(|| b.cloned()),
        };
        Self { dealt, ..self }
    }

    fn shared(self, b: &Builder) -> ShareBit {
        match &self.dealt {
            Some(dealt) => self.shared + b.deal(dealt),
            None => self.shared,
        }
    }
}

/// `lt_1 ^ eq_1 (lt_2 ^ eq_2 (..))`.
fn less(
    b: &Builder,
    blocks: &[Block],
    eqs: &[&MaskedBit],
    products: &[Product],
    shares: &[Term],
) -> Partial {
    // V_j(S): lt_j times the masks of S, for S a set of the blocks before j.
    let term = |j: usize, s: usize| -> Partial {
        let lt = &blocks[j].lt;
        let shared = shares[s].times(&lt.delta);
        match &products[s] {
            None => Partial { shared: shared + &lt.lam, dealt: None },
            Some(product) => Partial { shared, dealt: Some(product * lt.lam.total()) },
        }
    };
    let last = blocks.len() - 1;
    let mut acc: Vec<Partial> = (0..1 << last).map(|s| term(last, s)).collect();
    for j in (0..last).rev() {
        let with = acc.split_off(1 << j);
        let contracted = acc.into_iter().zip(with).enumerate().map(|(s, (without, with))| {
            let Partial { shared, dealt } = term(j, s);
            let shared = &eqs[j].delta * without.shared(b) + with.shared + shared;
            Partial { shared, dealt: with.dealt }.plus(dealt.as_ref())
        });
        acc = contracted.collect();
    }
    acc.swap_remove(0)
}

/// Shares of the product of all `eq`s.
fn equal(eqs: &[&MaskedBit], shares: &[Term]) -> ShareBit {
    let (last, rest) = (eqs.len() - 1, &eqs[..eqs.len() - 1]);
    let contract = |d: &DeltaBit, without: &Term, with: &Term| match with {
        Term::One => without.times(d),
        Term::Bit(bit) => without.times(d) + bit,
    };
    let mut acc: Vec<ShareBit> = (0..1 << last)
        .map(|s| contract(&eqs[last].delta, &shares[s], &shares[s | 1 << last]))
        .collect();
    for (j, eq) in rest.iter().enumerate().rev() {
        let (without, with) = acc.split_at(1 << j);
        acc = (0..1 << j).map(|s| &eq.delta * &without[s] + &with[s]).collect();
    }
    acc.swap_remove(0)
}

/// Sizes of the groups that `blocks` blocks, more than six, are cut into.
fn group_sizes(blocks: usize) -> Vec<usize> {
    let fewest = blocks.div_ceil(ONE_LEVEL);
    // As many as the next level joins at once: another level would cost another round.
    let most = ONE_LEVEL.max(fewest);
    let groups = (fewest..=most).min_by_key(|&g| cost(blocks, g)).unwrap_or(fewest);
    even(blocks, groups)
}

/// `groups` sizes that differ by at most one, the larger ones last: the last group is the cheapest.
fn even(blocks: usize, groups: usize) -> Vec<usize> {
    (0..groups).map(|i| (blocks + i) / groups).collect()
}

/// Corrections and opened bits of a join of `blocks` blocks in `groups` groups.
fn cost(blocks: usize, groups: usize) -> usize {
    let sizes = even(blocks, groups);
    let inner = sizes.iter().enumerate().map(|(i, &s)| group_cost(s, i + 1 < groups));
    let outer = if groups <= ONE_LEVEL {
        group_cost(groups, false)
    } else {
        group_sizes(groups).len() + cost(groups, group_sizes(groups).len())
    };
    inner.sum::<usize>() + 2 * groups - 1 + outer
}

/// Corrections of one group of `s` blocks.
fn group_cost(s: usize, want_eq: bool) -> usize {
    let sums = (1 << (s - 1)) - 1;
    sums + if want_eq { (1 << s) - 1 - s } else { (1 << (s - 1)) - s }
}

#[cfg(test)]
mod tests {
    use super::{group_cost, group_sizes};

    #[test]
    fn one_level_costs_less_than_the_specification_counts() {
        // n = 17: four blocks, n = 25: six; n = 32: eight, too many for one level. Separate products take 15, 83 and 367.
        assert_eq!([4, 6, 8].map(|m| group_cost(m, false)), [11, 57, 247]);
    }

    #[test]
    fn groups_are_even() {
        assert_eq!(group_sizes(7), [2, 2, 3]);
        assert_eq!(group_sizes(8), [2, 3, 3]);
        assert_eq!(group_sizes(16), [3, 3, 3, 3, 4]);
        assert!(group_sizes(63).iter().all(|s| *s <= 6));
    }
}
