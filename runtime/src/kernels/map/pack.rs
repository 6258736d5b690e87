//! The instructions whose layout changes: between words, bits and packed bytes. Portable form.

use crate::kernels::RingWord;
use std::ops::Range;

/// Instructions that have a variant per instruction set.
///
/// Registers of words are ranges of `words`; they are equal or do not overlap. Bit `i` of a plane is
/// bit `i % 64` of word `i / 64`. Lengths of registers are multiples of 64.
pub(super) trait Special {
    /// `bits[i] = (a[i] >> index) & 1`.
    fn bit_at<W: RingWord>(bits: &mut [u64], a: &[W], index: u8);
    /// `words[dst][i] = words[a][i] if bits[i] else 0`.
    fn select<W: RingWord>(words: &mut [W], dst: Range<usize>, a: Range<usize>, bits: &[u64]);
    /// `dst[i] = bits[i]`.
    fn from_bit<W: RingWord>(dst: &mut [W], bits: &[u64]);
    /// Writes the low `width` bits of each word, little-endian bit order; the last byte is padded
    /// with zeros. `packed` is exactly as long as needed.
    fn pack<W: RingWord>(packed: &mut [u8], words: &[W], width: u8);
    /// The reverse of `pack`, zero-extended (and cut to the word).
    fn unpack<W: RingWord>(words: &mut [W], packed: &[u8], width: u8);
}

/// Any processor.
pub(super) struct Portable;

impl Special for Portable {
    #[inline(always)]
    fn bit_at<W: RingWord>(bits: &mut [u64], a: &[W], index: u8) {
        for (bits, a) in bits.iter_mut().zip(a.chunks_exact(64)) {
            let picked = |(i, &x): (usize, &W)| (x.shr(u32::from(index)).to_u64() & 1) << i;
            *bits = a.iter().enumerate().map(picked).fold(0, |all, bit| all | bit);
        }
    }

    #[inline(always)]
    fn select<W: RingWord>(words: &mut [W], dst: Range<usize>, a: Range<usize>, bits: &[u64]) {
        if dst != a {
            words.copy_within(a, dst.start);
        }
        for (chunk, bits) in words[dst].chunks_exact_mut(64).zip(bits) {
            for (i, x) in chunk.iter_mut().enumerate() {
                let keep = W::ZERO.sub(W::from_u64((bits >> i) & 1));
                *x = x.and(keep);
            }
        }
    }

    #[inline(always)]
    fn from_bit<W: RingWord>(dst: &mut [W], bits: &[u64]) {
        for (chunk, bits) in dst.chunks_exact_mut(64).zip(bits) {
            for (i, x) in chunk.iter_mut().enumerate() {
                *x = W::from_u64((bits >> i) & 1);
            }
        }
    }

    #[inline(always)]
    fn pack<W: RingWord>(packed: &mut [u8], words: &[W], width: u8) {
        match width {
            8 => put_bytes::<W, 1>(packed, words),
            16 => put_bytes::<W, 2>(packed, words),
            32 => put_bytes::<W, 4>(packed, words),
            64 => put_bytes::<W, 8>(packed, words),
            _ => pack_any(packed, words, u32::from(width)),
        }
    }

    #[inline(always)]
    fn unpack<W: RingWord>(words: &mut [W], packed: &[u8], width: u8) {
        match width {
            8 => get_bytes::<W, 1>(words, packed),
            16 => get_bytes::<W, 2>(words, packed),
            32 => get_bytes::<W, 4>(words, packed),
            64 => get_bytes::<W, 8>(words, packed),
            _ => unpack_any(words, packed, u32::from(width)),
        }
    }
}

#[inline(always)]
fn put_bytes<W: RingWord, const N: usize>(packed: &mut [u8], words: &[W]) {
    for (to, x) in packed.as_chunks_mut::<N>().0.iter_mut().zip(words) {
        to.copy_from_slice(&x.to_u64().to_le_bytes()[..N]);
    }
}

#[inline(always)]
fn get_bytes<W: RingWord, const N: usize>(words: &mut [W], packed: &[u8]) {
    for (word, from) in words.iter_mut().zip(packed.as_chunks::<N>().0) {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(from);
        *word = W::from_u64(u64::from_le_bytes(bytes));
    }
}

/// Collects 64 bits at a time, from pairs of words where two fit. Branches depend on positions alone.
#[inline(always)]
fn pack_any<W: RingWord>(packed: &mut [u8], words: &[W], width: u32) {
    let keep = u64::MAX >> (64 - width);
    let mut bits = Bits { packed, ready: 0, fill: 0 };
    if width <= 32 {
        let (pairs, rest) = words.as_chunks::<2>();
        for [low, high] in pairs {
            bits.push(low.to_u64() & keep | (high.to_u64() & keep) << width, 2 * width);
        }
        if let [x] = rest {
            bits.push(x.to_u64() & keep, width);
        }
    } else {
        for x in words {
            bits.push(x.to_u64() & keep, width);
        }
    }
    bits.finish();
}

/// A little-endian bit stream being written.
struct Bits<'a> {
    packed: &'a mut [u8],
    ready: u64,
    fill: u32,
}

impl Bits<'_> {
    /// Appends `width` bits, at least one; the others of `x` are zero.
    #[inline(always)]
    fn push(&mut self, x: u64, width: u32) {
        self.ready |= x << self.fill;
        self.fill += width;
        if self.fill >= 64 {
            let (now, later) = std::mem::take(&mut self.packed).split_at_mut(8);
            now.copy_from_slice(&self.ready.to_le_bytes());
            self.packed = later;
            self.fill -= 64;
            self.ready = x.unbounded_shr(width - self.fill);
        }
    }

    fn finish(self) {
        let rest = self.packed.len();
        self.packed.copy_from_slice(&self.ready.to_le_bytes()[..rest]);
    }
}

/// Reads eight words from as many bytes as a word has bits; the last ones with care for the end.
#[inline(always)]
fn unpack_any<W: RingWord>(words: &mut [W], packed: &[u8], width: u32) {
    let keep = u64::MAX >> (64 - width);
    let step = width as usize;
    let (groups, _) = words.as_chunks_mut::<8>();
    // A word of up to 57 bits lies in the 8 bytes from its first one on.
    let fast =
        if width <= 57 { groups.len().min(packed.len().saturating_sub(8) / step) } else { 0 };
    for (group, bytes) in groups.iter_mut().zip(packed.windows(step + 8).step_by(step)).take(fast) {
        for (i, word) in group.iter_mut().enumerate() {
            let bit = i * step;
            let mut near = [0; 8];
            near.copy_from_slice(&bytes[bit / 8..][..8]);
            *word = W::from_u64((u64::from_le_bytes(near) >> (bit % 8)) & keep);
        }
    }
    let mut bit = fast * 8 * step;
    for word in &mut words[fast * 8..] {
        let from = &packed[bit / 8..];
        let mut bytes = [0; 16];
        match from.first_chunk::<16>() {
            Some(chunk) => bytes = *chunk,
            None => bytes[..from.len()].copy_from_slice(from),
        }
        *word = W::from_u64((u128::from_le_bytes(bytes) >> (bit % 8)) as u64 & keep);
        bit += step;
    }
}
