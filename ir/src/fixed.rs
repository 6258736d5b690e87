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
    pub fn encode<X>(&self, x: X) -> Result<Vec<u64>, FixedError>
    where
        X: IntoIterator<Item = f64, IntoIter: Clone>,
    {
        let (x, keep) = (x.into_iter(), self.modulus());
        let scale = f64::from(self.frac).exp2();
        let end = f64::from(self.bits.saturating_sub(1)).exp2();
        let fits = |scaled: f64| (-end..end).contains(&scaled);
        // Without a way out of the loop, which is faster; NaN never fits.
        let mut all_fit = true;
        let encode = |x: f64| {
            let scaled = round(x * scale);
            all_fit &= fits(scaled);
            scaled as i64 as u64 & keep
        };
        let words: Vec<u64> = x.clone().map(encode).collect();
        let bad = if all_fit { None } else { x.enumerate().find(|(_, x)| !fits(round(x * scale))) };
        match bad {
            None => Ok(words),
            Some((index, x)) if x.is_nan() => Err(FixedError::NotANumber { index }),
            Some((index, _)) => Err(FixedError::OutOfRange { index }),
        }
    }

    /// The integer that a ring element stands for. Bits above the ring are ignored.
    #[inline]
    pub fn signed(&self, word: u64) -> i64 {
        let spare = 64 - u32::from(self.bits.clamp(1, 64));
        ((word << spare) as i64) >> spare
    }

    /// The real that a ring element stands for, in ulps of `2^-frac`.
    pub fn decode(&self, word: u64) -> f64 {
        self.signed(word) as f64 * self.unit()
    }

    /// The reals of many such integers; see [`Fixed::signed`].
    pub fn reals(&self, integers: &[i64]) -> impl ExactSizeIterator<Item = f64> {
        let unit = self.unit();
        integers.iter().map(move |&integer| integer as f64 * unit)
    }

    fn unit(&self) -> f64 {
        (-f64::from(self.frac)).exp2()
    }

    /// `2^bits - 1`: keeps the bits of the ring.
    #[inline]
    pub fn modulus(&self) -> u64 {
        u64::MAX >> (64 - u32::from(self.bits.clamp(1, 64)))
    }
}

/// As [`f64::round`], which is a call of the C library where the processor may be an old one.
#[inline]
fn round(x: f64) -> f64 {
    /// From here on there are no halves.
    const WHOLE: f64 = (1_u64 << 52) as f64;
    if x.abs() < WHOLE {
        let whole = x as i64 as f64;
        let rest = x - whole;
        whole + f64::from(i8::from(rest >= 0.5) - i8::from(rest <= -0.5))
    } else {
        x
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
    fn halves_are_rounded_away_from_zero() {
        let near = [0.0, 0.25, 0.5, 0.75, 1.0].map(|x: f64| [x.next_down(), x, x.next_up()]);
        let far = [0.0, 1.0, 2.0, 1e6, 4e15, 4.5e15, 9e15, 1e18, 1e300, f64::INFINITY];
        for x in far.iter().flat_map(|far| near.as_flattened().iter().map(move |near| far + near)) {
            assert!(round(x) == x.round() && round(-x) == (-x).round(), "{x}");
        }
        assert!(round(f64::NAN).is_nan());
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
