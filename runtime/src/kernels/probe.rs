//! What the processor can do at best, to hold the kernels against.

use super::cpu::vectorised;
use super::{RingWord, Scratch};

/// Multiply-adds of one round of [`multiply_adds`].
pub const PROBE_ROUND: usize = 256;

/// Does `rounds` times [`PROBE_ROUND`] multiply-adds on words that never leave L1, with the
/// instructions of `scratch`; the result depends on all of them.
pub fn multiply_adds<W: RingWord>(rounds: usize, scratch: &Scratch) -> W {
    let mut sums: [W; PROBE_ROUND] = std::array::from_fn(|i| W::from_u64(i as u64));
    probe(scratch.cpu, &mut sums, rounds);
    sums.iter().fold(W::ZERO, |all, &sum| all.add(sum))
}

vectorised! {
    fn probe<W>(sums: &mut [W; PROBE_ROUND], rounds: usize) = probe_loop;
}

/// Multiplies sixteen vectors of 64 bytes many times over: they stay in registers, and there are enough of
/// them to hide how long a product takes.
#[inline(always)]
fn probe_loop<W: RingWord>(sums: &mut [W; PROBE_ROUND], rounds: usize) {
    match W::BYTES {
        4 => sums.as_chunks_mut::<256>().0.iter_mut().for_each(|held| chains(held, rounds)),
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
    use crate::kernels::Cpu;

    #[test]
    fn all_instruction_sets_probe_alike() {
        let probe = |cpu| multiply_adds::<u32>(1000, &Scratch::with_cpu(cpu));
        assert_eq!(Cpu::ALL.map(probe), [probe(Cpu::Portable); 4]);
    }
}
