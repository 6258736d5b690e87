//! Sums along an axis.

use super::RingWord;

/// `dst[o, j] = sum over i of src[o, i, j]`, for `src: [outer, terms, inner]`.
///
/// # Panics
/// If a length does not match. The plan loader has checked them, so it would be a bug.
pub fn sum<W: RingWord>(dst: &mut [W], src: &[W], outer: usize, terms: usize, inner: usize) {
    assert_eq!([dst.len(), src.len()], [outer * inner, outer * terms * inner]);
    if terms == 0 || inner == 0 {
        dst.fill(W::ZERO);
    } else if inner == 1 {
        for (total, run) in dst.iter_mut().zip(src.chunks_exact(terms)) {
            *total = run.iter().fold(W::ZERO, |sum, &x| sum.add(x));
        }
    } else {
        for (totals, block) in dst.chunks_exact_mut(inner).zip(src.chunks_exact(terms * inner)) {
            totals.copy_from_slice(&block[..inner]);
            for row in block.chunks_exact(inner).skip(1) {
                for (total, &x) in totals.iter_mut().zip(row) {
                    *total = total.add(x);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_wrap_and_keep_their_place() {
        for (outer, terms, inner) in [(1, 1, 1), (2, 7, 1), (3, 5, 4), (1, 0, 3), (2, 33, 65)] {
            let src: Vec<u32> =
                (0..outer * terms * inner).map(|i| (i as u32).wrapping_mul(0x9e37_79b9)).collect();
            let mut dst = vec![1; outer * inner];
            sum(&mut dst, &src, outer, terms, inner);
            for (at, &got) in dst.iter().enumerate() {
                let (o, j) = (at / inner, at % inner);
                let term = |i| src[(o * terms + i) * inner + j];
                assert_eq!(got, (0..terms).map(term).fold(0, u32::wrapping_add));
            }
        }
    }
}
