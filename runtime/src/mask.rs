//! Masks by address: every mask share is a fixed slice of an AES-128-CTR stream.
//!
//! - Key: the first 16 bytes of BLAKE3 `derive_key` (context [`CONTEXT`]) over the party's seed, one
//!   byte for the kind of epoch (0 deployment, 1 run) and the run number as 8 little-endian bytes.
//! - Counter block of block `i` of value `v`: the 128-bit integer `v * 2^64 + i`, little-endian; so
//!   bytes 0..8 hold `i` and bytes 8..16 hold `v`, each little-endian.
//! - Element `e` of at most 1 bit is bit `e` of the stream (bit `e % 8` of byte `e / 8`); of 2 to 32
//!   bits the low bits of the 32-bit word `e`; of 33 to 64 bits the low bits of the 64-bit word `e`.
//!
//! A mask thus does not depend on how tensors are split, on threads or on the order of messages. The
//! `aes` crate chooses AES-NI or VAES when it runs, and constant-time portable code otherwise.
#![expect(clippy::inline_always, reason = "loops must end up inside the cipher's vector functions")]

#[cfg(target_arch = "x86_64")]
use crate::kernels::vaes::RoundKeys;
use crate::kernels::{Cpu, RingWord};
use crate::share::Seed;
use aes::Aes128;
use aes::cipher::{
    Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser,
    KeyInit, ParBlocks, consts::U16,
};
use zeroize::Zeroizing;

/// Context string of the key derivation; changing anything about addresses changes it.
pub const CONTEXT: &str = "mpcc mask stream, AES-128-CTR, version 1";

/// How long a mask lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Epoch {
    /// As long as the deployment: weights.
    Deploy,
    /// One run. A run number is never used twice.
    Run(u64),
}

/// The mask streams that a role can compute: its own as a compute party, all as the dealer.
pub struct Masks {
    streams: Vec<Option<Stream>>,
}

/// One party's stream.
struct Stream {
    cipher: Aes128,
    /// The same cipher where the processor is good at it.
    #[cfg(target_arch = "x86_64")]
    fast: Option<RoundKeys>,
}

impl Masks {
    /// No stream yet, for `parties` compute parties.
    pub fn new(parties: u8) -> Self {
        Self { streams: (0..parties).map(|_| None).collect() }
    }

    /// Adds the stream of `party` for one epoch.
    ///
    /// # Panics
    /// If there is no such party.
    #[must_use]
    pub fn with_party(mut self, party: u8, seed: &Seed, epoch: Epoch) -> Self {
        self.streams[usize::from(party)] = Some(Stream::new(seed, epoch, Cpu::active()));
        self
    }

    /// Whether the stream of `party` is known here; a plan that asks for others must be refused.
    pub fn knows(&self, party: u8) -> bool {
        self.streams.get(usize::from(party)).is_some_and(Option::is_some)
    }

    /// Fills `out` with the elements `first..` of value `value`, `bits` uniform bits each.
    ///
    /// Range: `bits` from 0 to 64, `first + out.len() < 2^60`; bits above the word's are dropped.
    ///
    /// # Panics
    /// If [`Self::knows`] is false for `party`: the plan loader has checked.
    pub fn fill_words<W: RingWord>(
        &self,
        party: u8,
        value: u32,
        bits: u8,
        first: u64,
        out: &mut [W],
    ) {
        match bits {
            0 => out.fill(W::ZERO),
            1 => self.fill_words_from_bits(party, value, first, out),
            2..=32 => self.fill_slots::<W, 4>(party, value, bits, first, out),
            _ => self.fill_slots::<W, 8>(party, value, bits, first, out),
        }
    }

    /// Fills `out` with the `len` one-bit elements `first..` of value `value`.
    ///
    /// Element `first + i` becomes bit `i % 64` of word `i / 64`; the rest of the last word is zero
    /// and later words are left alone.
    ///
    /// # Panics
    /// If [`Self::knows`] is false for `party`, or `out` is shorter than `len` bits.
    pub fn fill_bits(&self, party: u8, value: u32, first: u64, len: usize, out: &mut [u64]) {
        let out = &mut out[..len.div_ceil(64)];
        if first.is_multiple_of(64) {
            self.fill_slots::<u64, 8>(party, value, 64, first / 64, out);
        } else {
            self.fill_shifted(party, value, first, out);
        }
        if let (Some(last), tail @ 1..) = (out.last_mut(), len % 64) {
            *last &= (1 << tail) - 1;
        }
    }

    /// Bits from inside a word of the stream: each ends one word of `out` and starts the next.
    fn fill_shifted(&self, party: u8, value: u32, first: u64, out: &mut [u64]) {
        let shift = first % 64;
        let mut words = [0; 129];
        let mut at = first / 64;
        for out in out.chunks_mut(128) {
            let words = &mut words[..=out.len()];
            self.fill_slots::<u64, 8>(party, value, 64, at, words);
            for (out, pair) in out.iter_mut().zip(words.windows(2)) {
                *out = pair[0] >> shift | pair[1] << (64 - shift);
            }
            at += out.len() as u64;
        }
    }

    /// Words of one bit: a bit per element, like [`Self::fill_bits`].
    fn fill_words_from_bits<W: RingWord>(&self, party: u8, value: u32, first: u64, out: &mut [W]) {
        let mut at = first;
        for chunk in out.chunks_mut(4096) {
            let mut plane = [0; 64];
            self.fill_bits(party, value, at, chunk.len(), &mut plane);
            for (words, bits) in chunk.chunks_mut(64).zip(plane) {
                for (i, word) in words.iter_mut().enumerate() {
                    *word = W::from_u64((bits >> i) & 1);
                }
            }
            at += chunk.len() as u64;
        }
    }

    /// Words of a slot of `SLOT` bytes each.
    fn fill_slots<W: RingWord, const SLOT: usize>(
        &self,
        party: u8,
        value: u32,
        bits: u8,
        first: u64,
        out: &mut [W],
    ) {
        let (per_block, keep) = (16 / SLOT as u64, W::low_mask(bits));
        #[cfg(target_arch = "x86_64")]
        if let Some(keys) = &self.of(party).fast {
            let ahead = first.next_multiple_of(per_block) - first;
            let (head, rest) = out.split_at_mut(out.len().min(ahead as usize));
            if !head.is_empty() {
                let mut block = [W::ZERO; 4];
                keys.fill(value, first / per_block, SLOT, keep, &mut block[..16 / SLOT]);
                head.copy_from_slice(&block[(first % per_block) as usize..][..head.len()]);
            }
            return keys.fill(value, first.div_ceil(per_block), SLOT, keep, rest);
        }
        let skip = (first % per_block) as usize * SLOT;
        let mut left = &mut out[..];
        let bytes = skip + left.len() * SLOT;
        self.stream(party, value, first / per_block, skip, bytes, |chunk| {
            let (now, later) = std::mem::take(&mut left).split_at_mut(chunk.len() / SLOT);
            for (word, slot) in now.iter_mut().zip(words_of::<SLOT>(chunk)) {
                *word = W::from_u64(slot).and(keep);
            }
            left = later;
        });
    }

    /// Hands the bytes `skip..end` after the start of block `block` to `take`, in pieces that start
    /// and end at multiples of 8 bytes if `skip` and `end` do.
    fn stream(
        &self,
        party: u8,
        value: u32,
        block: u64,
        skip: usize,
        end: usize,
        take: impl FnMut(&[u8]),
    ) {
        let counter = Counter { value, block, skip, end, take };
        self.of(party).cipher.encrypt_with_backend(counter);
    }

    fn of(&self, party: u8) -> &Stream {
        let stream = self.streams[usize::from(party)].as_ref();
        stream.expect("the plan loader refuses plans that ask for another's masks")
    }
}

/// A stretch of a value's stream, made inside the cipher so that it is compiled for the same
/// instructions and meets as many blocks at once as they can take.
struct Counter<F> {
    value: u32,
    block: u64,
    skip: usize,
    end: usize,
    take: F,
}

impl<F> BlockSizeUser for Counter<F> {
    type BlockSize = U16;
}

impl<F: FnMut(&[u8])> BlockCipherEncClosure for Counter<F> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(mut self, backend: &B) {
        let mut blocks = ParBlocks::<B>::default();
        let batch = blocks.len();
        let mut done = 0;
        while done < self.end {
            // The rest is made whole: blocks beyond the end cost less than going one by one.
            for (counter, i) in blocks.iter_mut().zip(0_u64..) {
                let address = u128::from(self.value) << 64 | u128::from(self.block + i);
                *counter = Array(address.to_le_bytes());
            }
            backend.encrypt_par_blocks((&mut blocks).into());
            let bytes = Array::slice_as_flattened(blocks.as_slice());
            (self.take)(&bytes[self.skip..bytes.len().min(self.end - done)]);
            self.skip = 0;
            self.block += batch as u64;
            done += bytes.len();
        }
    }
}

/// The little-endian words of `SLOT` bytes in `bytes`, zero-extended.
#[inline(always)]
fn words_of<const SLOT: usize>(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<SLOT>().0.iter().map(|slot| {
        let mut word = [0; 8];
        word[..SLOT].copy_from_slice(slot);
        u64::from_le_bytes(word)
    })
}

impl Stream {
    fn new(seed: &Seed, epoch: Epoch, cpu: Cpu) -> Self {
        let key = key(seed, epoch);
        #[cfg(not(target_arch = "x86_64"))]
        let _ = cpu;
        Self {
            cipher: Aes128::new((&*key).into()),
            #[cfg(target_arch = "x86_64")]
            fast: if cpu >= Cpu::Avx512 { RoundKeys::new(&key) } else { None },
        }
    }
}

fn key(seed: &Seed, epoch: Epoch) -> Zeroizing<[u8; 16]> {
    let (kind, run) = match epoch {
        Epoch::Deploy => (0, 0),
        Epoch::Run(q) => (1, q),
    };
    let mut material = Zeroizing::new([0; Seed::LEN + 9]);
    material[..Seed::LEN].copy_from_slice(seed.expose_bytes());
    material[Seed::LEN] = kind;
    material[Seed::LEN + 1..].copy_from_slice(&run.to_le_bytes());
    let long = Zeroizing::new(blake3::derive_key(CONTEXT, material.as_slice()));
    let mut key = Zeroizing::new([0; 16]);
    key.copy_from_slice(&long[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(epoch: Epoch) -> Masks {
        Masks::new(2).with_party(1, &Seed::from_bytes([9; 32]), epoch)
    }

    /// With and without the processor's best instructions.
    fn all_masks(epoch: Epoch) -> [Masks; 2] {
        let portable = Stream::new(&Seed::from_bytes([9; 32]), epoch, Cpu::Portable);
        [masks(epoch), Masks { streams: vec![None, Some(portable)] }]
    }

    /// The stream by the definition in the header, one block at a time.
    fn byte_at(epoch: Epoch, value: u32, at: u64) -> u8 {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&(at / 16).to_le_bytes());
        block[8..12].copy_from_slice(&value.to_le_bytes());
        let mut block = Array(block);
        let key = key(&Seed::from_bytes([9; 32]), epoch);
        Aes128::new((&*key).into()).encrypt_block(&mut block);
        block[(at % 16) as usize]
    }

    #[test]
    fn the_cipher_is_aes_128() {
        // FIPS 197, appendix B.
        let key = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
        let mut block = Array(0x3243_f6a8_885a_308d_3131_98a2_e037_0734_u128.to_be_bytes());
        Aes128::new(&key.into()).encrypt_block(&mut block);
        assert_eq!(block.0, 0x3925_841d_02dc_09fb_dc11_8597_196a_0b32_u128.to_be_bytes());
    }

    #[test]
    fn streams_are_pinned() {
        // A change here makes stored correlations and other versions' parties incompatible.
        let (mut deploy, mut run) = ([0_u64; 1], [0_u64; 1]);
        masks(Epoch::Deploy).fill_words(1, 3, 64, 5, &mut deploy);
        masks(Epoch::Run(1)).fill_words(1, 3, 64, 5, &mut run);
        assert_eq!([deploy[0], run[0]], [1_116_048_460_101_885_553, 4_160_332_994_541_629_275]);
    }

    #[test]
    fn words_are_slices_of_the_stream() {
        let epoch = Epoch::Run(77);
        for (bits, slot) in [(2, 4), (25, 4), (32, 4), (33, 8), (64, 8)] {
            for (first, len) in
                [(0, 0), (0, 300), (1, 1), (2, 300), (3, 17), (7, 64), (1 << 40, 130)]
            {
                let [mut out, mut portable] = [vec![0_u64; len], vec![0; len]];
                let [best, other] = all_masks(epoch);
                best.fill_words(1, 12, bits, first, &mut out);
                other.fill_words(1, 12, bits, first, &mut portable);
                assert_eq!(out, portable, "{bits} bits from {first}");
                for (e, got) in (first..).zip(out).step_by(7) {
                    let bytes =
                        (0..slot).map(|i| u64::from(byte_at(epoch, 12, e * slot + i)) << (8 * i));
                    let want: u64 = bytes.sum();
                    assert_eq!(got, want & (u64::MAX >> (64 - bits)), "{bits} bits at {e}");
                }
            }
        }
    }

    #[test]
    fn words_of_either_width_agree() {
        for bits in [0, 1, 2, 17, 32, 40] {
            let (mut narrow, mut wide) = (vec![7_u32; 5000], vec![7_u64; 5000]);
            masks(Epoch::Deploy).fill_words(1, 4, bits, 129, &mut narrow);
            masks(Epoch::Deploy).fill_words(1, 4, bits, 129, &mut wide);
            assert!(narrow.iter().zip(wide).all(|(&n, w)| n == w as u32), "{bits}");
        }
    }

    #[test]
    fn bits_are_the_bits_of_the_stream() {
        let epoch = Epoch::Deploy;
        for first in [0, 1, 63, 64, 65, 127, 128, 1000, 8192, 10_001] {
            for len in [0, 1, 64, 65, 300, 9000] {
                let mut plane = vec![u64::MAX; len / 64 + 2];
                let mut portable = plane.clone();
                let [best, other] = all_masks(epoch);
                best.fill_bits(1, 5, first, len, &mut plane);
                other.fill_bits(1, 5, first, len, &mut portable);
                assert!(plane == portable, "{len} from {first}");
                let mut words = vec![0_u32; len];
                masks(epoch).fill_words(1, 5, 1, first, &mut words);
                for i in (0..len).step_by(29) {
                    let e = first + i as u64;
                    let want = byte_at(epoch, 5, e / 8) >> (e % 8) & 1;
                    assert_eq!(plane[i / 64] >> (i % 64) & 1, u64::from(want), "{first} {i}");
                    assert_eq!(words[i], u32::from(want));
                }
                if len % 64 != 0 {
                    assert_eq!(plane[len / 64] >> (len % 64), 0);
                }
                assert_eq!(plane[len / 64 + 1], u64::MAX, "words beyond are left alone");
            }
        }
    }

    #[test]
    fn parties_values_and_epochs_differ() {
        let (a, b) = (Seed::from_bytes([1; 32]), Seed::from_bytes([2; 32]));
        let masks = Masks::new(2).with_party(0, &a, Epoch::Run(0)).with_party(1, &b, Epoch::Run(0));
        let other = Masks::new(2).with_party(0, &a, Epoch::Deploy);
        assert!(masks.knows(0) && masks.knows(1) && !other.knows(1) && !other.knows(2));
        let draw = |masks: &Masks, party, value| {
            let mut out = [0_u64; 2];
            masks.fill_words(party, value, 64, 0, &mut out);
            out
        };
        let all = [draw(&masks, 0, 0), draw(&masks, 1, 0), draw(&masks, 0, 1), draw(&other, 0, 0)];
        let distinct: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(distinct.len(), 4);
    }
}
