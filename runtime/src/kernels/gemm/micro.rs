//! Microkernels: a small tile of the result, held in registers along the whole depth of a block.

use super::even;
use super::left::Part;
use crate::kernels::{Cpu, RingWord};

/// How a result is cut for an instruction set.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    /// Rows of a tile.
    pub(super) rows: usize,
    /// Columns of a tile, a multiple of `lanes`.
    pub(super) width: usize,
    /// Columns of a vector: the last panel may be as narrow as that.
    pub(super) lanes: usize,
}

impl Tiling {
    pub(super) fn of<W: RingWord>(cpu: Cpu) -> Self {
        let width = 64 / W::BYTES;
        match cpu {
            Cpu::Portable => Self { rows: 4, width, lanes: width },
            Cpu::Avx2 if W::BITS == 32 => Self { rows: 6, width, lanes: width / 2 },
            // A vector of the result takes two of sums.
            Cpu::Avx2 => Self { rows: 6, width: width / 2, lanes: width / 2 },
            Cpu::Avx512 | Cpu::Amx => Self { rows: 14, width: 2 * width, lanes: width },
        }
    }

    /// Columns of the panel that starts `left` columns before the end.
    pub(super) fn panel_width(self, left: usize) -> usize {
        self.width.min(left.next_multiple_of(self.lanes))
    }
}

/// All rows of a block and one panel of the right operand: `out = a b` or `out += a b`, a tile at a time.
pub(super) struct Strip<'a, W> {
    /// From the strip's first word on.
    pub(super) out: &'a mut [W],
    /// Words between rows of `out`.
    pub(super) out_stride: usize,
    /// The left operand's words.
    pub(super) left: &'a [W],
    /// Where the strip's rows begin in them, at least one.
    pub(super) places: &'a [usize],
    /// Where the words of the depth lie behind that.
    pub(super) parts: &'a [Part],
    /// The right operand from the strip's first word on.
    pub(super) right: &'a [W],
    /// Words between rows of `right`.
    pub(super) right_stride: usize,
    /// Words from this panel of `right` to the one that follows, which is fetched meanwhile.
    pub(super) right_next: usize,
    /// Where it is packed, `[depth, width]`, while the first tile is computed.
    pub(super) panel: &'a mut [W],
    /// Columns of the strip that are stored, at least 1.
    pub(super) cols: usize,
    /// Columns of the panel.
    pub(super) width: usize,
    /// Whether to add to `out`.
    pub(super) add: bool,
    /// Rows of a tile, at most; see [`Tiling`].
    pub(super) tile_rows: usize,
}

/// Writes `by_tiles`, which computes a strip with the function `multiply` of an instruction set, for tiles of each of
/// these numbers of rows. The first tile packs the panel.
#[cfg(target_arch = "x86_64")]
macro_rules! by_tiles {
    ($features:literal, [$($rows:literal)*]) => {
        #[target_feature(enable = $features)]
        unsafe fn by_tiles<W: RingWord, const V: usize>(strip: &mut Strip<'_, W>) {
            for (begin, end) in even(strip.places.len(), strip.tile_rows) {
                // SAFETY: passed on to the caller.
                unsafe {
                    match (end - begin, begin == 0) {
                        $(
                            ($rows, true) => multiply::<W, $rows, V, true>(strip, begin),
                            ($rows, false) => multiply::<W, $rows, V, false>(strip, begin),
                        )*
                        _ => unreachable!("registers hold the sums of a tile"),
                    }
                }
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use by_tiles;

impl<W: RingWord> Strip<'_, W> {
    pub(super) fn run(self, cpu: Cpu) {
        match cpu {
            Cpu::Portable => self.portable(),
            #[cfg(target_arch = "x86_64")]
            Cpu::Avx2 => super::avx2::avx2(self),
            #[cfg(target_arch = "x86_64")]
            Cpu::Avx512 | Cpu::Amx => super::avx512::avx512(self),
            #[cfg(not(target_arch = "x86_64"))]
            Cpu::Avx2 | Cpu::Avx512 | Cpu::Amx => self.portable(),
        }
    }

    /// Checks all lengths, for microkernels with vectors of `lanes` words that do not look at them.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn check(&self, lanes: usize) {
        let depth: usize = self.parts.iter().map(|part| part.len).sum();
        let rows = self.places.len();
        assert!(rows > 0 && (1..=self.width).contains(&self.cols) && depth > 0);
        assert!(self.parts.iter().all(|part| part.len > 0));
        assert!(self.out.len() >= (rows - 1) * self.out_stride + self.cols);
        assert!(self.width < self.cols + lanes);
        assert!(self.panel.len() >= depth * self.width);
        assert!(self.right.len() >= (depth - 1) * self.right_stride + self.cols);
        let place = self.places.iter().max().unwrap_or(&0);
        let end = self.parts.iter().map(|part| part.at + part.len).max().unwrap_or(0);
        assert!(self.left.len() >= place + end);
    }

    /// Plain loops over arrays that fit in registers.
    fn portable(mut self) {
        if W::BITS == 32 { self.by_tiles::<16>() } else { self.by_tiles::<8>() }
    }

    fn by_tiles<const N: usize>(&mut self) {
        let rows = self.right.chunks(self.right_stride);
        for (to, from) in self.panel.as_chunks_mut::<N>().0.iter_mut().zip(rows) {
            match from.as_chunks::<N>().0 {
                [from, ..] if self.cols == N => *to = *from,
                _ => to[..self.cols].copy_from_slice(&from[..self.cols]),
            }
        }
        for (begin, end) in even(self.places.len(), self.tile_rows) {
            match end - begin {
                1 => self.multiply::<1, N>(begin),
                2 => self.multiply::<2, N>(begin),
                3 => self.multiply::<3, N>(begin),
                _ => self.multiply::<4, N>(begin),
            }
        }
    }

    #[inline(always)]
    fn multiply<const R: usize, const N: usize>(&mut self, first: usize) {
        let mut sums = [[W::ZERO; N]; R];
        let mut panel = self.panel.as_chunks::<N>().0;
        for part in self.parts {
            let a: [&[W]; R] =
                std::array::from_fn(|r| &self.left[self.places[first + r] + part.at..][..part.len]);
            let (now, rest) = panel.split_at(part.len);
            for (k, b) in now.iter().enumerate() {
                for r in 0..R {
                    let x = a[r][k];
                    for j in 0..N {
                        sums[r][j] = sums[r][j].add(x.mul(b[j]));
                    }
                }
            }
            panel = rest;
        }
        for (r, sums) in (first..).zip(&sums) {
            let out = &mut self.out[r * self.out_stride..][..self.cols];
            for (out, &sum) in out.iter_mut().zip(sums) {
                *out = if self.add { out.add(sum) } else { sum };
            }
        }
    }
}
