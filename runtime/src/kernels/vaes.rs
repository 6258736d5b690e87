//! Mask streams with VAES: counters are made, encrypted, cut and stored without leaving registers.
//!
//! The `aes` crate reaches a third of this, since counters and stream pass through memory. It stays
//! the only cipher elsewhere, and the tests of `mask` hold this one against it.
#![expect(unsafe_code, reason = "vector instructions")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions say where they are from")]

use super::RingWord;
use std::arch::x86_64::*;
use zeroize::ZeroizeOnDrop;

/// Vectors of four blocks that are encrypted at once: enough to hide the latency of a round.
const VECTORS: usize = 8;

/// The round keys of AES-128, on a processor that has VAES and AVX-512; wiped on drop.
#[derive(ZeroizeOnDrop)]
pub(crate) struct RoundKeys([__m128i; 11]);

impl RoundKeys {
    /// Expands `key`; `None` where the processor lacks the instructions.
    pub(crate) fn new(key: &[u8; 16]) -> Option<Self> {
        let available = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq");
        // SAFETY: the processor has the instructions.
        available.then(|| unsafe { Self(expand(key)) })
    }

    /// Writes the stream of value `value` from block `block` on: as many slots of `slot` bytes (4 or
    /// 8) as `out` has words, each cut to `keep`.
    pub(crate) fn fill<W: RingWord>(
        &self,
        value: u32,
        block: u64,
        slot: usize,
        keep: W,
        out: &mut [W],
    ) {
        assert!(slot == 4 || slot == 8);
        // SAFETY: `new` has checked the instructions.
        unsafe { fill(&self.0, value, block, slot, keep, out) }
    }
}

#[target_feature(enable = "aes")]
fn expand(key: &[u8; 16]) -> [__m128i; 11] {
    // SAFETY: a key is one vector long.
    let mut keys = [unsafe { _mm_loadu_si128(key.as_ptr().cast()) }; 11];
    macro_rules! round {
        ($($round:literal $constant:literal),*) => {$(
            let assist = _mm_aeskeygenassist_si128::<$constant>(keys[$round - 1]);
            keys[$round] = next_key(keys[$round - 1], assist);
        )*};
    }
    round!(1 0x01, 2 0x02, 3 0x04, 4 0x08, 5 0x10, 6 0x20, 7 0x40, 8 0x80, 9 0x1b, 10 0x36);
    keys
}

/// FIPS 197, section 5.2: each word is the sum of those before it and the substituted last one.
#[target_feature(enable = "aes")]
fn next_key(key: __m128i, assist: __m128i) -> __m128i {
    let two = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let four = _mm_xor_si128(two, _mm_slli_si128::<8>(two));
    _mm_xor_si128(four, _mm_shuffle_epi32::<0xff>(assist))
}

#[target_feature(enable = "aes,vaes,avx512f,avx512dq")]
fn fill<W: RingWord>(
    keys: &[__m128i; 11],
    value: u32,
    block: u64,
    slot: usize,
    keep: W,
    out: &mut [W],
) {
    // A loop, as a closure would be compiled without the instructions and then called for each key.
    let mut wide = [_mm512_setzero_si512(); 11];
    for (wide, key) in wide.iter_mut().zip(keys) {
        *wide = _mm512_broadcast_i32x4(*key);
    }
    let keys = wide;
    let (v, i) = (i64::from(value), block.cast_signed());
    let first = _mm512_set_epi64(v, 3, v, 2, v, 1, v, 0);
    let low_half = |i: i64| _mm512_maskz_set1_epi64(0b0101_0101, i);
    let step = low_half(4);
    let mut counter = _mm512_add_epi64(first, low_half(i));
    for out in out.chunks_mut(VECTORS * 64 / slot) {
        let mut blocks = [counter; VECTORS];
        for block in &mut blocks {
            *block = counter;
            counter = _mm512_add_epi64(counter, step);
        }
        for block in &mut blocks {
            *block = _mm512_xor_si512(*block, keys[0]);
        }
        for key in &keys[1..10] {
            for block in &mut blocks {
                *block = _mm512_aesenc_epi128(*block, *key);
            }
        }
        for (block, out) in blocks.iter().zip(out.chunks_mut(64 / slot)) {
            let bytes = _mm512_aesenclast_epi128(*block, keys[10]);
            store(bytes, slot, keep, out);
        }
    }
}

/// Stores the first slots of a vector, at most all of them, as words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn store<W: RingWord>(bytes: __m512i, slot: usize, keep: W, out: &mut [W]) {
    let mask = (1_u32 << out.len()).wrapping_sub(1);
    let to = out.as_mut_ptr();
    // SAFETY: the masks have as many ones as `out` has words, the lower first.
    unsafe {
        match (slot, W::BYTES) {
            (4, 4) => {
                let keep = _mm512_set1_epi32(keep.to_u64() as i32);
                let words = _mm512_and_si512(bytes, keep);
                _mm512_mask_storeu_epi32(to.cast(), mask as u16, words);
            }
            (8, 8) => {
                let keep = _mm512_set1_epi64(keep.to_u64() as i64);
                let words = _mm512_and_si512(bytes, keep);
                _mm512_mask_storeu_epi64(to.cast(), mask as u8, words);
            }
            (4, _) => {
                let keep = _mm512_set1_epi64(keep.to_u64() as i64);
                let low = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(bytes));
                let high = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64::<1>(bytes));
                let (low, high) = (_mm512_and_si512(low, keep), _mm512_and_si512(high, keep));
                _mm512_mask_storeu_epi64(to.cast(), mask as u8, low);
                _mm512_mask_storeu_epi64(to.wrapping_add(8).cast(), (mask >> 8) as u8, high);
            }
            _ => {
                let keep = _mm512_set1_epi64(keep.to_u64() as i64);
                let words = _mm512_and_si512(bytes, keep);
                _mm512_mask_cvtepi64_storeu_epi32(to.cast(), mask as u8, words);
            }
        }
    }
}
