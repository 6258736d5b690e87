//! Words to and from the packed form of messages, for the roles that have no compiled steps.
//!
//! Element `e` of `bits` bits takes the bits `[e * bits, (e + 1) * bits)` of a little-endian bit stream;
//! the last byte is padded with zeros.

/// Packs the low `bits` bits of each word; `bits` is 1 to 64.
pub fn pack(words: &[u64], bits: u8) -> Vec<u8> {
    let (bits, keep) = (u32::from(bits), u64::MAX >> (64 - u32::from(bits)));
    let mut out = Vec::with_capacity((words.len() * bits as usize).div_ceil(8));
    let (mut pending, mut filled) = (0_u128, 0);
    for &word in words {
        pending |= u128::from(word & keep) << filled;
        filled += bits;
        while filled >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(pending as u8);
    }
    out
}

/// The first `count` words of a packed stream, zero-extended; missing bytes count as zero.
pub fn unpack(bytes: &[u8], bits: u8, count: usize) -> Vec<u64> {
    let (bits, keep) = (u32::from(bits), u64::MAX >> (64 - u32::from(bits)));
    let mut source = bytes.iter();
    let (mut pending, mut filled) = (0_u128, 0);
    let next = |_| {
        while filled < bits {
            pending |= u128::from(source.next().copied().unwrap_or(0)) << filled;
            filled += 8;
        }
        let word = pending as u64 & keep;
        pending >>= bits;
        filled -= bits;
        word
    };
    (0..count).map(next).collect()
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
            let packed = pack(&words, bits);
            assert_eq!(packed.len(), (13 * usize::from(bits)).div_ceil(8));
            let kept: Vec<u64> = words.iter().map(|w| w & keep).collect();
            assert_eq!(unpack(&packed, bits, 13), kept, "{bits} bits");
        }
        assert_eq!(pack(&[1, 2, 3], 4), [0x21, 0x03]);
    }
}
