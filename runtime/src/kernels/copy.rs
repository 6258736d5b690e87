//! Copies between layouts: strided blocks and gathers along an axis.

use super::RingWord;

/// Copies a block of `shape` words between strided views; strides are in words.
///
/// Destination strides are positive and reach each word once; a source stride of zero repeats and a
/// negative one runs backwards. A block without axes is one word.
///
/// # Panics
/// If the ranks differ or a word lies outside its buffer. The plan loader has checked both.
pub fn strided<W: RingWord>(
    dst: &mut [W],
    dst_offset: usize,
    dst_strides: &[i64],
    src: &[W],
    src_offset: usize,
    src_strides: &[i64],
    shape: &[usize],
) {
    assert_eq!([dst_strides.len(), src_strides.len()], [shape.len(); 2]);
    if shape.contains(&0) {
        return;
    }
    let view = View { dst_strides, src_strides, shape };
    copy_block(dst, dst_offset, src, src_offset as i64, view);
}

/// The axes of a block that are still to be walked.
#[derive(Clone, Copy)]
struct View<'a> {
    dst_strides: &'a [i64],
    src_strides: &'a [i64],
    shape: &'a [usize],
}

impl View<'_> {
    fn inner(self) -> Self {
        Self {
            dst_strides: &self.dst_strides[1..],
            src_strides: &self.src_strides[1..],
            shape: &self.shape[1..],
        }
    }
}

fn copy_block<W: RingWord>(dst: &mut [W], to: usize, src: &[W], from: i64, view: View<'_>) {
    match view.shape {
        [] => dst[to] = src[from as usize],
        [len] => copy_line(dst, to, src, from, [view.dst_strides[0], view.src_strides[0]], *len),
        [rows, cols]
            if view.src_strides[0] == 1 && view.src_strides[1] > 1 && view.dst_strides[1] == 1 =>
        {
            transpose(dst, to, src, from as usize, view, [*rows, *cols]);
        }
        [extent, ..] => {
            for i in 0..*extent as i64 {
                let to = to + (i * view.dst_strides[0]) as usize;
                copy_block(dst, to, src, from + i * view.src_strides[0], view.inner());
            }
        }
    }
}

/// One line along the innermost axis.
fn copy_line<W: RingWord>(
    dst: &mut [W],
    to: usize,
    src: &[W],
    from: i64,
    [dst_stride, src_stride]: [i64; 2],
    len: usize,
) {
    if dst_stride == 1 && src_stride == 1 {
        dst[to..to + len].copy_from_slice(&src[from as usize..from as usize + len]);
    } else if dst_stride == 1 && src_stride == 0 {
        dst[to..to + len].fill(src[from as usize]);
    } else {
        let mut from = from;
        for word in dst[to..].iter_mut().step_by(dst_stride as usize).take(len) {
            *word = src[from as usize];
            from += src_stride;
        }
        let last = to + (len - 1) * dst_stride as usize;
        assert!(last < dst.len(), "a copy ends outside its buffer");
    }
}

/// A plane whose source runs along the outer axis: walked in squares that are read by lines and
/// written by lines, so that each cache line is touched once.
fn transpose<W: RingWord>(
    dst: &mut [W],
    to: usize,
    src: &[W],
    from: usize,
    view: View<'_>,
    [rows, cols]: [usize; 2],
) {
    const SIDE: usize = 16;
    let (stride, step) = (view.dst_strides[0] as usize, view.src_strides[1] as usize);
    for top in (0..rows).step_by(SIDE) {
        let height = SIDE.min(rows - top);
        for left in (0..cols).step_by(SIDE) {
            let width = SIDE.min(cols - left);
            let mut square = [[W::ZERO; SIDE]; SIDE];
            for (j, line) in square.iter_mut().enumerate().take(width) {
                line[..height].copy_from_slice(&src[from + top + (left + j) * step..][..height]);
            }
            for i in 0..height {
                let line = &mut dst[to + (top + i) * stride + left..][..width];
                line.iter_mut().zip(&square).for_each(|(word, column)| *word = column[i]);
            }
        }
    }
}

/// `dst[o, i, j] = src[o, indices[i], j]`, for `src: [outer, extent, inner]`.
///
/// The indices are public: they come from the plan.
///
/// # Panics
/// If a length does not match or an index is `extent` or more. The plan loader has checked both.
pub fn gather<W: RingWord>(
    dst: &mut [W],
    src: &[W],
    outer: usize,
    extent: usize,
    inner: usize,
    indices: &[u32],
) {
    assert_eq!([dst.len(), src.len()], [outer * indices.len() * inner, outer * extent * inner]);
    if dst.is_empty() {
        return;
    }
    let blocks = dst.chunks_exact_mut(indices.len() * inner).zip(src.chunks_exact(extent * inner));
    for (to, from) in blocks {
        for (entry, &index) in to.chunks_exact_mut(inner).zip(indices) {
            entry.copy_from_slice(&from[index as usize * inner..][..inner]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks all indices of `shape` one by one.
    fn naive(
        dst: &mut [u64],
        (to, dst_strides): (usize, &[i64]),
        src: &[u64],
        (from, src_strides): (usize, &[i64]),
        shape: &[usize],
    ) {
        for flat in 0..shape.iter().product::<usize>() {
            let (mut rest, mut d, mut s) = (flat, to as i64, from as i64);
            for axis in (0..shape.len()).rev() {
                let i = (rest % shape[axis]) as i64;
                rest /= shape[axis];
                d += i * dst_strides[axis];
                s += i * src_strides[axis];
            }
            dst[d as usize] = src[s as usize];
        }
    }

    /// Shape, destination strides, source strides, first source word.
    type Case<'a> = (&'a [usize], &'a [i64], &'a [i64], usize);

    #[test]
    fn strided_copies_match_a_walk_over_all_indices() {
        let src: Vec<u64> = (0..4000).map(|i| i * 31 + 7).collect();
        let cases: [Case<'_>; 9] = [
            (&[], &[], &[], 3),
            (&[5], &[1], &[1], 2),
            (&[5], &[1], &[0], 2),
            (&[5], &[3], &[-2], 20),
            (&[4, 6], &[6, 1], &[1, 4], 0),
            (&[33, 50], &[50, 1], &[1, 40], 1),
            (&[3, 4, 5], &[20, 5, 1], &[0, 7, -1], 40),
            (&[2, 3, 4, 5], &[60, 20, 5, 1], &[60, 1, 15, 3], 0),
            (&[2, 0, 3], &[3, 3, 1], &[1, 1, 1], 0),
        ];
        for (shape, dst_strides, src_strides, from) in cases {
            let (mut got, mut want) = (vec![0; 2000], vec![0; 2000]);
            strided(&mut got, 9, dst_strides, &src, from, src_strides, shape);
            naive(&mut want, (9, dst_strides), &src, (from, src_strides), shape);
            assert!(got == want, "{shape:?} {src_strides:?}");
        }
    }

    #[test]
    fn gathers_pick_entries() {
        let src: Vec<u32> = (0..24).collect();
        let mut dst = vec![0; 16];
        gather(&mut dst, &src, 2, 3, 4, &[2, 0]);
        assert_eq!(dst, [8, 9, 10, 11, 0, 1, 2, 3, 20, 21, 22, 23, 12, 13, 14, 15]);
        gather::<u32>(&mut [], &src, 2, 3, 4, &[]);
    }
}
