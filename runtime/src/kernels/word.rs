//! Ring words: the two integer types that kernels compute with.

use std::fmt::Debug;

/// A word of the ring `Z_{2^32}` or `Z_{2^64}`: `u32` or `u64`, no other.
///
/// All arithmetic wraps, by the name of the method.
pub trait RingWord: Copy + Default + Debug + Eq + Send + Sync + 'static + sealed::Lanes {
    /// Width in bits.
    const BITS: u32;
    /// Width in bytes.
    const BYTES: usize;
    /// Zero.
    const ZERO: Self;
    /// The low bits of `x`.
    fn from_u64(x: u64) -> Self;
    /// Zero-extends.
    fn to_u64(self) -> u64;
    /// From the [`Self::BYTES`] bytes of a little-endian word.
    fn from_le(bytes: &[u8]) -> Self;
    /// Writes [`Self::BYTES`] little-endian bytes.
    fn put_le(self, bytes: &mut [u8]);
    /// `self + y`.
    #[must_use]
    fn add(self, y: Self) -> Self;
    /// `self - y`.
    #[must_use]
    fn sub(self, y: Self) -> Self;
    /// `self * y`.
    #[must_use]
    fn mul(self, y: Self) -> Self;
    /// Bitwise and.
    #[must_use]
    fn and(self, y: Self) -> Self;
    /// `self << by`; zero if `by` is the width or more.
    #[must_use]
    fn shl(self, by: u32) -> Self;
    /// `self >> by` with zeros shifted in; zero if `by` is the width or more.
    #[must_use]
    fn shr(self, by: u32) -> Self;

    /// The word with the low `bits` bits set; all of them if `bits` is the width or more.
    fn low_mask(bits: u8) -> Self {
        Self::from_u64(u64::MAX).shr(Self::BITS.saturating_sub(u32::from(bits)))
    }
}

pub(super) mod sealed {
    /// What differs between word types inside the kernels.
    pub trait Lanes: Sized {
        /// The word registers of a scratch area.
        fn registers(scratch: &mut crate::kernels::Scratch) -> &mut Vec<Self>;
        /// The padded images of a scratch area.
        fn images(scratch: &mut crate::kernels::Scratch) -> &mut Vec<Self>;
    }
}

macro_rules! ring_word {
    ($word:ty, $registers:ident, $images:ident) => {
        impl RingWord for $word {
            const BITS: u32 = <$word>::BITS;
            const BYTES: usize = size_of::<$word>();
            const ZERO: Self = 0;
            #[inline(always)]
            fn from_u64(x: u64) -> Self {
                x as Self
            }
            #[inline(always)]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn from_le(bytes: &[u8]) -> Self {
                let mut word = [0; Self::BYTES];
                word.copy_from_slice(bytes);
                Self::from_le_bytes(word)
            }
            #[inline(always)]
            fn put_le(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }
            #[inline(always)]
            fn add(self, y: Self) -> Self {
                self.wrapping_add(y)
            }
            #[inline(always)]
            fn sub(self, y: Self) -> Self {
                self.wrapping_sub(y)
            }
            #[inline(always)]
            fn mul(self, y: Self) -> Self {
                self.wrapping_mul(y)
            }
            #[inline(always)]
            fn and(self, y: Self) -> Self {
                self & y
            }
            #[inline(always)]
            fn shl(self, by: u32) -> Self {
                self.unbounded_shl(by)
            }
            #[inline(always)]
            fn shr(self, by: u32) -> Self {
                self.unbounded_shr(by)
            }
        }

        impl sealed::Lanes for $word {
            fn registers(scratch: &mut crate::kernels::Scratch) -> &mut Vec<Self> {
                &mut scratch.$registers
            }
            fn images(scratch: &mut crate::kernels::Scratch) -> &mut Vec<Self> {
                &mut scratch.$images
            }
        }
    };
}

ring_word!(u32, words32, images32);
ring_word!(u64, words64, images64);
