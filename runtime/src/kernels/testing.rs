//! Helpers of the kernels' tests.

use super::RingWord;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// `len` random words, the same for the same seed.
pub(super) fn random<W: RingWord>(len: usize, seed: u64) -> Vec<W> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..len).map(|_| W::from_u64(rng.next_u64())).collect()
}
