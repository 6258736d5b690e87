//! Words to and from the packed form of messages, for the roles that have no compiled steps.
//!
//! Element `e` of `bits` bits takes the bits `[e * bits, (e + 1) * bits)` of a little-endian bit stream;
//! the last byte is padded with zeros.

use crate::payload::Payload;

/// Packs the low `bits` bits of each word; `bits` is 1 to 64.
pub fn pack(words: impl ExactSizeIterator<Item = u64>, bits: u8) -> Payload {
    let (bits, keep) = (u32::from(bits), u64::MAX >> (64 - u32::from(bits)));
    let len = (words.len() * bits as usize).div_ceil(8);
    let mut payload = Payload::with_room(len + 8);
    let out = payload.bytes_mut();
    let (mut pending, mut filled) = (0_u64, 0);
    for word in words {
        let word = word & keep;
        pending |= word << filled;
        filled += bits;
        if filled >= 64 {
            out.extend_from_slice(&pending.to_le_bytes());
            filled -= 64;
            // What did not fit; all of it did where nothing is left over, as a shift by 64 would say.
            pending = word.checked_shr(bits - filled).unwrap_or(0);
        }
    }
    out.extend_from_slice(&pending.to_le_bytes());
    out.truncate(len);
    payload
}

/// The first `count` words of a packed stream, zero-extended; missing bytes count as zero.
pub fn unpack(bytes: &[u8], bits: u8, count: usize) -> impl ExactSizeIterator<Item = u64> {
    /// Widest words that lie, from whichever bit on, in eight bytes.
    const NARROW: usize = 57;
    const SPAN: usize = size_of::<u128>();
    let (bits, keep) = (usize::from(bits), u64::MAX >> (64 - u32::from(bits)));
    (0..count).map(move |element| {
        let (at, shift) = (element * bits / 8, element * bits % 8);
        let rest = bytes.get(at..).unwrap_or_default();
        if let (true, Some(near)) = (bits <= NARROW, rest.first_chunk()) {
            return (u64::from_le_bytes(*near) >> shift) & keep;
        }
        let mut span = [0; SPAN];
        if let Some(whole) = rest.first_chunk() {
            span = *whole;
        } else {
            span[..rest.len()].copy_from_slice(rest);
        }
        (u128::from_le_bytes(span) >> shift) as u64 & keep
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_round_trips_at_every_width() {
        for bits in 1..=64 {
            let keep = u64::MAX >> (64 - bits);
            let word = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let words: Vec<u64> = (0..13).map(word).collect();
            let packed = pack(words.iter().copied(), bits);
            assert_eq!(packed.len(), (13 * usize::from(bits)).div_ceil(8));
            let kept: Vec<u64> = words.iter().map(|w| w & keep).collect();
            assert_eq!(unpack(&packed, bits, 13).collect::<Vec<u64>>(), kept, "{bits} bits");
            assert_eq!(unpack(&packed[..1], bits, 13).nth(12), Some(0));
        }
        assert_eq!(pack([1, 2, 3].into_iter(), 4)[..], [0x21, 0x03]);
    }
}
