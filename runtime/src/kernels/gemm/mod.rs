//! Products of a matrix, or of the patches of an image, with a matrix: the core of `matmul` and `conv`.
//!
//! The left operand is read where it lies, unless its rows would crowd a cache. The result is cut into
//! blocks of rows and the depth into blocks of [`DEPTH`]; a panel of the right operand, as wide as a
//! microkernel's tile, is packed while the first tile of a block needs it, and then meets all others,
//! whose rows stay in L2. So packing is hidden behind products. Shapes with very few rows or columns
//! have loops of their own, at the speed of memory.

#[cfg(target_arch = "x86_64")]
pub(super) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
mod left;
mod micro;
mod thin;

use super::scratch::at_least;
use super::{Cpu, RingWord, Scratch};
pub(super) use left::Left;
use left::Part;
use micro::{Strip, Tiling};

/// Depth of a block, at most.
const DEPTH: usize = 512;

/// Bytes of the left operand per block: they stay in L2 while all panels pass by.
const BLOCK_BYTES: usize = 512 << 10;

/// Rows of a product that go through the right operand once where no cache holds it.
const THIN: usize = 6;

/// Bytes that a cache holds.
const CACHE_BYTES: usize = 16 << 20;

/// Bytes between rows that make all rows of a tile share one set of L1, which has room for half of them.
const CROWDED: usize = 4096;

/// Rows per block, at most.
const ROWS: usize = 504;

/// A right operand: rows of a matrix, `stride` words apart.
pub(super) struct Right<'a, W> {
    pub(super) words: &'a [W],
    pub(super) stride: usize,
}

/// `out = left right`, `n` columns, into rows of `out` that are `stride` words apart.
pub(super) fn gemm<W: RingWord>(
    out: &mut [W],
    stride: usize,
    left: &Left<'_, W>,
    right: &Right<'_, W>,
    n: usize,
    scratch: &mut Scratch,
) {
    let [m, k] = left.shape();
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        return out.chunks_mut(stride).take(m).for_each(|row| row[..n].fill(W::ZERO));
    }
    let cpu = scratch.cpu;
    let tiling = Tiling::of::<W>(cpu);
    // Dot products need some length; patches are copied for them.
    if n <= tiling.lanes / 2 && (left.as_matrix().is_some() || k >= 32 * n) {
        return thin::few_columns(cpu, out, stride, left, right, n, W::registers(scratch));
    }
    if m <= 2 || (m <= THIN && k * n * W::BYTES > CACHE_BYTES) {
        return thin::few_rows(cpu, out, stride, left, right, n, W::registers(scratch));
    }
    #[cfg(target_arch = "x86_64")]
    if cpu == Cpu::Amx && amx::pays([m, k, n]) {
        let mut words = std::mem::take(W::registers(scratch));
        let mut memory = amx::Memory { tiles: &mut scratch.tiles, words: &mut words };
        amx::gemm(out, stride, left, right, n, &mut memory);
        *W::registers(scratch) = words;
        return;
    }
    blocked(cpu, out, stride, left, right, n, W::registers(scratch));
}

fn blocked<W: RingWord>(
    cpu: Cpu,
    out: &mut [W],
    stride: usize,
    left: &Left<'_, W>,
    right: &Right<'_, W>,
    n: usize,
    memory: &mut Vec<W>,
) {
    let [m, k] = left.shape();
    let tiling = Tiling::of::<W>(cpu);
    // Blocks as even as can be.
    let block = k.div_ceil(k.div_ceil(DEPTH)).next_multiple_of(16).min(k);
    let rows = (BLOCK_BYTES / (block * W::BYTES)).clamp(tiling.rows, ROWS).min(m);
    let grain = 64 / W::BYTES;
    let pitch = block.next_multiple_of(grain) + grain;
    let copied = if crowded(left) { rows * pitch } else { 0 };
    let memory = at_least(memory, block * tiling.width + grain + copied);
    let skipped = memory.as_ptr().align_offset(64).min(grain);
    let (panel, copies) = memory[skipped..].split_at_mut(block * tiling.width);
    let (mut there, mut parts) = ([0; ROWS], [Part::default(); DEPTH]);
    let here: [usize; ROWS] = std::array::from_fn(|row| row * pitch);
    for first in (0..m).step_by(rows) {
        let rows = rows.min(m - first);
        left.places(first, &mut there[..rows]);
        for top in (0..k).step_by(block) {
            let depth = block.min(k - top);
            let mut count = left.parts(top..top + depth, &mut parts);
            let (mut words, mut places) = (left.words, &there[..rows]);
            if copied > 0 {
                for (&place, copy) in places.iter().zip(copies.chunks_mut(pitch)) {
                    left.copy(place, &parts[..count], copy);
                }
                (words, places) = (&*copies, &here[..rows]);
                (parts[0], count) = (Part { at: 0, len: depth }, 1);
            }
            for at in (0..n).step_by(tiling.width) {
                let width = tiling.panel_width(n - at);
                let last = at + tiling.width >= n;
                Strip {
                    out: &mut out[first * stride + at..],
                    out_stride: stride,
                    left: words,
                    places,
                    parts: &parts[..count],
                    right: &right.words[top * right.stride + at..],
                    right_stride: right.stride,
                    right_next: if last { depth * right.stride - at } else { tiling.width },
                    panel: &mut panel[..depth * width],
                    cols: tiling.width.min(n - at),
                    width,
                    add: top > 0,
                    tile_rows: tiling.rows,
                }
                .run(cpu);
            }
        }
    }
}

/// Whether rows of the left operand lie so that L1 would not hold a line of each: then they are copied.
fn crowded<W: RingWord>(left: &Left<'_, W>) -> bool {
    let step = left.row_steps[2] * W::BYTES;
    step > 0 && step.is_multiple_of(CROWDED)
}

/// Cuts `len` into ranges of at most `most`, as even as can be.
pub(super) fn even(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = len.div_ceil(most);
    let each = len.checked_div(count).unwrap_or(0);
    let start = move |i: usize| each * i + i.min(len - each * count);
    (0..count).map(move |i| (start(i), start(i + 1)))
}
