//! Products of a matrix with columns that are made on the fly: the core of `matmul` and `conv`.
//!
//! The right operand is cut into blocks of [`DEPTH`] rows and [`BLOCK_BYTES`] bytes; each is packed into panels
//! as wide as a microkernel's tile, and then every group of rows of the left operand meets every
//! panel. The left operand is read in place: its rows run along the depth. Shapes with very few rows
//! or columns have loops of their own, at the speed of memory.

#[cfg(target_arch = "x86_64")]
pub(super) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod columns;
mod micro;
mod thin;

use super::cpu::vectorised;
use super::scratch::at_least;
use super::{Cpu, RingWord, Scratch};
pub(super) use columns::{Columns, Patches, Rows, every};
use micro::{Micro, Tiling};

/// Rows of the right operand per block.
const DEPTH: usize = 256;

/// Bytes of a packed block: they stay in L2 while all rows of the left operand pass by.
const BLOCK_BYTES: usize = 384 << 10;

/// `out = a b` for `a: [m, k]` row-major, `b` with `k` rows and `n` columns, `out: [m, n]` row-major.
pub(super) fn gemm<W: RingWord>(
    out: &mut [W],
    a: &[W],
    b: &impl Columns<W>,
    [m, k, n]: [usize; 3],
    scratch: &mut Scratch,
) {
    assert_eq!([out.len(), a.len()], [m * n, m * k]);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        return out.fill(W::ZERO);
    }
    let cpu = scratch.cpu;
    let tiling = Tiling::of::<W>(cpu);
    if n <= tiling.lanes / 2 {
        let columns = at_least(W::registers(scratch), (k + 1) * n);
        return thin::few_columns(cpu, out, a, b, [k, n], columns);
    }
    if let Some(b) = b.as_rows().filter(|_| m <= 2) {
        return thin::few_rows(cpu, out, a, b, [k, n]);
    }
    #[cfg(target_arch = "x86_64")]
    if cpu == Cpu::Amx && amx::pays([m, k, n]) {
        let mut words = std::mem::take(W::registers(scratch));
        let mut memory = amx::Memory { tiles: &mut scratch.tiles, words: &mut words };
        amx::gemm(out, a, b, [m, k, n], &mut memory);
        *W::registers(scratch) = words;
        return;
    }
    blocked(cpu, tiling, out, a, b, [m, k, n], W::registers(scratch));
}

fn blocked<W: RingWord>(
    cpu: Cpu,
    tiling: Tiling,
    out: &mut [W],
    a: &[W],
    b: &impl Columns<W>,
    [m, k, n]: [usize; 3],
    memory: &mut Vec<W>,
) {
    let block = BLOCK_BYTES / (DEPTH * W::BYTES) / tiling.width * tiling.width;
    let block = block.min(n.next_multiple_of(tiling.lanes));
    let memory = at_least(memory, block * (DEPTH.min(k) + 1));
    let (line, panels) = memory.split_at_mut(block);
    for left in (0..n).step_by(block) {
        let cols = block.min(n - left);
        for top in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - top);
            for row in 0..depth {
                let wanted = left..left + cols;
                if let Some(lying) = b.lying(top + row, &wanted) {
                    scatter(cpu, panels, lying.words, row, depth, tiling);
                    for column in lying.outside().flatten() {
                        let at = column / tiling.width * tiling.width;
                        let width = tiling.panel_width(cols - at);
                        panels[at * depth + row * width + column - at] = W::ZERO;
                    }
                } else {
                    b.line(top + row, wanted, &mut line[..cols]);
                    scatter(cpu, panels, &line[..cols], row, depth, tiling);
                }
            }
            for first in (0..m).step_by(tiling.rows) {
                let rows = tiling.rows.min(m - first);
                for at in (0..cols).step_by(tiling.width) {
                    let width = tiling.panel_width(cols - at);
                    Micro {
                        out: &mut out[first * n + left + at..],
                        out_stride: n,
                        a: &a[first * k + top..],
                        a_stride: k,
                        b: &panels[at * depth..][..depth * width],
                        rows,
                        cols: tiling.width.min(cols - at),
                        width,
                        add: top > 0,
                    }
                    .run(cpu);
                }
            }
        }
    }
}

vectorised! {
    /// Spreads one row of a block over its panels; each panel is `[depth, width]`.
    fn scatter<W>(panels: &mut [W], line: &[W], row: usize, depth: usize, tiling: Tiling) = scatter_loop;
}

#[inline(always)]
fn scatter_loop<W: RingWord>(
    panels: &mut [W],
    line: &[W],
    row: usize,
    depth: usize,
    tiling: Tiling,
) {
    // Copies of a known length are a few vector instructions.
    let whole = match tiling.width {
        48 => scatter_whole::<W, 48>(panels, line, row, depth),
        24 => scatter_whole::<W, 24>(panels, line, row, depth),
        16 => scatter_whole::<W, 16>(panels, line, row, depth),
        _ => 0,
    };
    for at in (whole..line.len()).step_by(tiling.width) {
        let width = tiling.panel_width(line.len() - at);
        let rest = &line[at..line.len().min(at + width)];
        panels[at * depth + row * width..][..rest.len()].copy_from_slice(rest);
    }
}

/// Fills whole panels of `N` columns; returns where they end.
#[inline(always)]
fn scatter_whole<W: RingWord, const N: usize>(
    panels: &mut [W],
    line: &[W],
    row: usize,
    depth: usize,
) -> usize {
    let parts = line.as_chunks::<N>().0;
    for (part, panel) in parts.iter().zip(panels.chunks_mut(N * depth)) {
        panel.as_chunks_mut::<N>().0[row] = *part;
    }
    parts.len() * N
}
