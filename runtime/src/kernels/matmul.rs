//! Matrix products.

use super::gemm::{Left, Right, gemm};
use super::{RingWord, Scratch};

/// `out = a b` for each of `batch` products: `a: [m, k]`, `b: [k, n]`, `out: [m, n]`, row-major.
///
/// With `shared_b` one `b` serves all products. Same time for all values.
///
/// # Panics
/// If a length does not match its shape. The plan loader has checked them, so it would be a bug.
pub fn matmul<W: RingWord>(
    out: &mut [W],
    a: &[W],
    b: &[W],
    batch: usize,
    [m, k, n]: [usize; 3],
    shared_b: bool,
    scratch: &mut Scratch,
) {
    // Products that share their right operand are one product with more rows.
    let (batch, m) = if shared_b { (1, batch * m) } else { (batch, m) };
    assert_eq!([out.len(), a.len(), b.len()], [batch * m * n, batch * m * k, batch * k * n]);
    for i in 0..batch {
        let left = Left::matrix(&a[i * m * k..][..m * k], [m, k]);
        let right = Right { words: &b[i * k * n..][..k * n], stride: n };
        gemm(&mut out[i * m * n..][..m * n], n, &left, &right, n, scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Cpu;
    use crate::kernels::testing::random;

    fn check<W: RingWord>(batch: usize, [m, k, n]: [usize; 3], shared_b: bool) {
        let copies = if shared_b { 1 } else { batch };
        let (a, b) = (random::<W>(batch * m * k, 1), random::<W>(copies * k * n, 2));
        let entry = |at: usize| {
            let (i, row, col) = (at / n / m, at / n, at % n);
            let b = &b[if shared_b { 0 } else { i * k * n }..];
            (0..k).fold(W::ZERO, |sum, j| sum.add(a[row * k + j].mul(b[j * n + col])))
        };
        let want: Vec<W> = (0..batch * m * n).map(entry).collect();
        for cpu in Cpu::ALL {
            let mut out = random::<W>(batch * m * n, 3);
            let mut scratch = Scratch::with_cpu(cpu);
            matmul(&mut out, &a, &b, batch, [m, k, n], shared_b, &mut scratch);
            assert!(out == want, "{batch} x {m} {k} {n}, {cpu:?}, {} bits", W::BITS);
        }
    }

    #[test]
    fn products_match_the_definition() {
        let extents = [
            [1, 1, 1],
            [1, 300, 1],
            [1, 70, 4100],
            [2, 5, 33],
            [3, 513, 17],
            [4, 9, 8],
            [7, 31, 15],
            [8, 256, 48],
            [9, 257, 49],
            [17, 40, 97],
            [13, 600, 500],
            [64, 3, 4],
            [57, 520, 33],
            [520, 20, 24],
            [3, 2100, 2000],
            [5, 0, 6],
            [0, 3, 4],
        ];
        for shape in extents {
            check::<u32>(1, shape, false);
            check::<u64>(1, shape, true);
            check::<u32>(3, shape, true);
            check::<u64>(3, shape, false);
        }
    }

    /// Digits at their largest, over more than a block's depth: sums must not overflow anywhere.
    #[test]
    fn the_largest_words_multiply() {
        let [m, k, n] = [16, 1100, 20];
        let (a, b) = (vec![u64::MAX; m * k], vec![u64::MAX; k * n]);
        for cpu in Cpu::ALL {
            let mut out = vec![0; m * n];
            matmul(&mut out, &a, &b, 1, [m, k, n], false, &mut Scratch::with_cpu(cpu));
            assert!(out.iter().all(|&x| x == k as u64), "{cpu:?}");
        }
    }
}
