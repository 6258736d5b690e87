//! Matrix products.

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
    _scratch: &mut Scratch,
) {
    let copies = if shared_b { 1 } else { batch };
    assert_eq!([out.len(), a.len(), b.len()], [batch * m * n, batch * m * k, copies * k * n]);
    for i in 0..batch {
        let b = if shared_b { b } else { &b[i * k * n..][..k * n] };
        let (out, a) = (&mut out[i * m * n..][..m * n], &a[i * m * k..][..m * k]);
        for row in 0..m {
            let out = &mut out[row * n..][..n];
            out.fill(W::ZERO);
            for (&x, b_row) in a[row * k..][..k].iter().zip(b.chunks_exact(n.max(1))) {
                for (o, &y) in out.iter_mut().zip(b_row) {
                    *o = o.add(x.mul(y));
                }
            }
        }
    }
}
