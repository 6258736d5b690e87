//! Numbers that depend on the seed alone.
//!
//! Distributions of libraries may change between releases, and logarithms and cosines differ between
//! machines. So entries are uniform, and made from the generator's bits by exact operations.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, SeedableRng as _};

pub(crate) struct Random(Xoshiro256PlusPlus);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// `count` entries, uniform from `lo` to `hi`.
    pub(crate) fn uniform(&mut self, count: usize, lo: f32, hi: f32) -> Vec<f32> {
        // 24 bits: as many as single precision keeps.
        let mut unit = || (self.0.next_u64() >> 40) as f32 * 2_f32.powi(-24);
        (0..count).map(|_| lo + (hi - lo) * unit()).collect()
    }

    /// Weights that keep the spread of activations through a ReLU.
    ///
    /// Source: [HZRS15](https://arxiv.org/abs/1502.01852), section 2.2: variance `2 / fan_in`.
    pub(crate) fn kaiming(&mut self, count: usize, fan_in: usize) -> Vec<f32> {
        let bound = (6.0 / fan_in as f32).sqrt();
        self.uniform(count, -bound, bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_never_changes() {
        let drawn = Random::new(1).uniform(4, 0.0, 1.0);
        assert_eq!(drawn, [0.811_612_1, 0.747_104_7, 0.100_150_88, 0.746_216_83]);
    }

    #[test]
    fn weights_have_the_spread_of_their_fan_in() {
        let weights = Random::new(2).kaiming(100_000, 50);
        let mean = weights.iter().sum::<f32>() / 1e5;
        let variance = weights.iter().map(|w| w * w).sum::<f32>() / 1e5;
        assert!(mean.abs() < 2e-3 && (variance - 0.04).abs() < 1e-3, "{mean} {variance}");
    }
}
