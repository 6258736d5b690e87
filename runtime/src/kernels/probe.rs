//! What the processor can do at best, to hold the kernels against.

use super::cpu::vectorised;
use super::{Cpu, RingWord, Scratch};

/// Multiply-adds of one round of [`multiply_adds`].
pub const PROBE_ROUND: usize = 768;

/// Does `rounds` times [`PROBE_ROUND`] multiply-adds on words that never leave L1, with the
/// instructions of `scratch`; the result depends on all of them.
pub fn multiply_adds<W: RingWord>(rounds: usize, scratch: &Scratch) -> W {
    let mut sums: [W; PROBE_ROUND] = std::array::from_fn(|i| W::from_u64(i as u64));
    probe(scratch.cpu, &mut sums, rounds, scratch.cpu >= Cpu::Avx512);
    sums.iter().fold(W::ZERO, |all, &sum| all.add(sum))
}

vectorised! {
    fn probe<W>(sums: &mut [W; PROBE_ROUND], rounds: usize, wide: bool) = probe_loop;
}

/// Multiplies vectors of 64 bytes sixteen at a time, many times over, or twelve of 32 bytes: they stay in
/// registers, and there are enough of them to hide how long a product takes. Where products of 64 bits are
/// made of smaller ones, words move to L1 and back meanwhile, which costs nothing; with fewer of them the
/// compiler would not use vectors.
#[inline(always)]
fn probe_loop<W: RingWord>(sums: &mut [W; PROBE_ROUND], rounds: usize, wide: bool) {
    match (W::BYTES, wide) {
        (4, true) => sums.as_chunks_mut::<256>().0.iter_mut().for_each(|held| chains(held, rounds)),
        (4, false) => sums.as_chunks_mut::<96>().0.iter_mut().for_each(|held| chains(held, rounds)),
        _ => sums.as_chunks_mut::<128>().0.iter_mut().for_each(|held| chains(held, rounds)),
    }
}

#[inline(always)]
fn chains<W: RingWord, const N: usize>(sums: &mut [W; N], rounds: usize) {
    let mut held = *sums;
    for round in 0..rounds {
        let x = W::from_u64(round as u64 | 1);
        for sum in &mut held {
            *sum = sum.mul(x).add(x);
        }
    }
    *sums = held;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_instruction_sets_probe_alike() {
        let probe = |cpu| multiply_adds::<u32>(1000, &Scratch::with_cpu(cpu));
        assert_eq!(Cpu::ALL.map(probe), [probe(Cpu::Portable); 4]);
    }
}
