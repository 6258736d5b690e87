//! Microkernels: a small tile of the result, held in registers along the whole depth of a block.

use crate::kernels::{Cpu, RingWord};

/// How a block is cut for an instruction set.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    /// Rows of a tile.
    pub(super) rows: usize,
    /// Columns of a tile, a multiple of `lanes`.
    pub(super) width: usize,
    /// Columns of a vector: the last panel of a block may be as narrow as that.
    pub(super) lanes: usize,
}

impl Tiling {
    pub(super) fn of<W: RingWord>(cpu: Cpu) -> Self {
        let lanes = match cpu {
            Cpu::Portable | Cpu::Avx2 => return Self { rows: 4, width: WIDTH, lanes: WIDTH },
            Cpu::Avx512 | Cpu::Amx => 64 / W::BYTES,
        };
        Self { rows: 8, width: 3 * lanes, lanes }
    }

    /// Columns of the panel that starts `left` columns before the end of a block.
    pub(super) fn panel_width(self, left: usize) -> usize {
        self.width.min(left.next_multiple_of(self.lanes))
    }
}

/// Columns of a portable tile.
const WIDTH: usize = 16;

/// One tile: `out = a b` or `out += a b`.
pub(super) struct Micro<'a, W> {
    /// From the tile's first word on.
    pub(super) out: &'a mut [W],
    /// Words between rows of `out`.
    pub(super) out_stride: usize,
    /// From the first row's first word on.
    pub(super) a: &'a [W],
    /// Words between rows of `a`.
    pub(super) a_stride: usize,
    /// A panel, `[depth, width]`.
    pub(super) b: &'a [W],
    /// Rows of the tile, at least 1.
    pub(super) rows: usize,
    /// Columns of the tile that are stored, at least 1.
    pub(super) cols: usize,
    /// Columns of the panel.
    pub(super) width: usize,
    /// Whether to add to `out`.
    pub(super) add: bool,
}

impl<W: RingWord> Micro<'_, W> {
    pub(super) fn run(self, cpu: Cpu) {
        match cpu {
            Cpu::Portable => self.portable(),
            #[cfg(target_arch = "x86_64")]
            Cpu::Avx2 => super::avx512::avx2(self),
            #[cfg(target_arch = "x86_64")]
            Cpu::Avx512 | Cpu::Amx => super::avx512::avx512(self),
            #[cfg(not(target_arch = "x86_64"))]
            Cpu::Avx2 | Cpu::Avx512 | Cpu::Amx => self.portable(),
        }
    }

    /// Plain loops over arrays that fit in registers; also compiled for AVX2.
    #[inline(always)]
    pub(super) fn portable(self) {
        match self.rows {
            1 => self.rows_of::<1>(),
            2 => self.rows_of::<2>(),
            3 => self.rows_of::<3>(),
            _ => self.rows_of::<4>(),
        }
    }

    #[inline(always)]
    fn rows_of<const R: usize>(self) {
        let mut sums = [[W::ZERO; WIDTH]; R];
        let depth = self.b.len() / WIDTH;
        let a: [&[W]; R] = std::array::from_fn(|r| &self.a[r * self.a_stride..][..depth]);
        for (k, b) in self.b.as_chunks::<WIDTH>().0.iter().enumerate() {
            for r in 0..R {
                let x = a[r][k];
                for j in 0..WIDTH {
                    sums[r][j] = sums[r][j].add(x.mul(b[j]));
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let out = &mut self.out[r * self.out_stride..][..self.cols];
            for (out, &sum) in out.iter_mut().zip(sums) {
                *out = if self.add { out.add(sum) } else { sum };
            }
        }
    }
}
