//! Reals as fixed-point ring elements and back: weights when compiling, inputs and outputs when running.

use serde::{Deserialize, Serialize};

/// A fixed-point format: `x` is the integer `round(x * 2^frac)` modulo `2^bits`, in two's complement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fixed {
    /// Bits of the ring, 1 to 64.
    pub bits: u8,
    /// Fractional bits; negative where one unit is worth more than 1.
    pub frac: i16,
}

/// Why a real has no place in a format. Says where, never which value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum FixedError {
    #[error("element {index} is not a number")]
    NotANumber { index: usize },
    #[error("element {index} is outside the range of its number format")]
    OutOfRange { index: usize },
}

impl Fixed {
    /// The ring elements of `x`, rounded to nearest, halves away from zero.
    ///
    /// Range: `-2^(bits-1) <= x * 2^frac < 2^(bits-1)` after rounding.
    ///
    /// # Errors
    /// [`FixedError`] names the first element that does not fit.
    pub fn encode(&self, x: impl IntoIterator<Item = f64>) -> Result<Vec<u64>, FixedError> {
        let scale = f64::from(self.frac).exp2();
        let end = f64::from(self.bits.saturating_sub(1)).exp2();
        let encode = |(index, x): (usize, f64)| {
            let scaled = (x * scale).round();
            if x.is_nan() {
                Err(FixedError::NotANumber { index })
            } else if (-end..end).contains(&scaled) {
                Ok(scaled as i64 as u64 & self.modulus())
            } else {
                Err(FixedError::OutOfRange { index })
            }
        };
        x.into_iter().enumerate().map(encode).collect()
    }

    /// The integer that a ring element stands for. Bits above the ring are ignored.
    pub fn signed(&self, word: u64) -> i64 {
        let spare = 64 - u32::from(self.bits.clamp(1, 64));
        ((word << spare) as i64) >> spare
    }

    /// The real that a ring element stands for, in ulps of `2^-frac`.
    pub fn decode(&self, word: u64) -> f64 {
        self.signed(word) as f64 * (-f64::from(self.frac)).exp2()
    }

    /// `2^bits - 1`: keeps the bits of the ring.
    pub fn modulus(&self) -> u64 {
        u64::MAX >> (64 - u32::from(self.bits.clamp(1, 64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reals_come_back_within_half_a_unit() {
        let format = Fixed { bits: 20, frac: 7 };
        for x in [-4096.0, -1.37, -0.003, 0.0, 0.5, 3.999, 4095.99] {
            let words = format.encode([x]).unwrap();
            assert!(words[0] >> 20 == 0);
            assert!((format.decode(words[0]) - x).abs() <= 1.0 / 256.0, "{x}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_by_place() {
        let format = Fixed { bits: 8, frac: 0 };
        let encode = |x: &[f64]| format.encode(x.iter().copied());
        assert_eq!(encode(&[0.0, f64::NAN]), Err(FixedError::NotANumber { index: 1 }));
        assert_eq!(encode(&[127.4, 127.5]), Err(FixedError::OutOfRange { index: 1 }));
        assert_eq!(encode(&[-128.4, -128.5]), Err(FixedError::OutOfRange { index: 1 }));
        assert_eq!(encode(&[f64::INFINITY]), Err(FixedError::OutOfRange { index: 0 }));
        assert_eq!(Fixed { bits: 64, frac: 0 }.encode([9.3e18]).ok(), None);
    }

    #[test]
    fn negative_fractional_bits_are_coarse() {
        let format = Fixed { bits: 8, frac: -4 };
        let words = format.encode([-160.0, 24.0]).unwrap();
        assert_eq!(words, [246, 2]);
        assert!((format.decode(246) + 160.0).abs() < 1e-9);
    }
}
