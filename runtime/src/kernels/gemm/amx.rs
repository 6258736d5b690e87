//! Products with AMX: matrix instructions on bytes, several times as fast as vectors of words.
//!
//! A word is cut into digits of eight bits: `a b = sum of a_i b_j 2^(8 (i + j))` over the pairs with
//! `i + j` below the number of digits, the others vanish in the ring. Each sum of digits `i + j` has
//! its own accumulator tile of 16 x 16 32-bit sums, which are joined once per block. For 32-bit words
//! sums may wrap, as the ring does. For 64-bit words those of the lower half must not:
//! `4 DEPTH 255^2 < 2^32`; those of the upper half may.
//!
//! Intel's instructions take the same time for all values. Their intrinsics are not stable in Rust,
//! so the few needed are written as assembly.
#![expect(unsafe_code, reason = "matrix instructions")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions say where they are from")]

use super::Columns;
use crate::kernels::RingWord;
use crate::kernels::scratch::{Line, at_least};
use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

/// Rows of the right operand per block.
const DEPTH: usize = 512;
/// Columns of the right operand per block.
const COLS: usize = 384;
/// Rows and columns of a tile of the result.
const SIDE: usize = 16;
/// Depth of one tile: a row of 64 digits.
const STEP: usize = 64;

/// Whether this processor has the instructions and the system lets us use them.
pub(in crate::kernels) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let tiles_and_bytes = 1 << 24 | 1 << 25;
        let has =
            __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & tiles_and_bytes == tiles_and_bytes;
        has && is_x86_feature_detected!("avx512bw") && request_tiles()
    })
}

/// Asks Linux for the tile registers, for all threads of this process.
#[cfg(target_os = "linux")]
fn request_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: this system call grants a permission and touches no memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request_tiles() -> bool {
    false
}

/// Whether the shape fills tiles well enough.
pub(super) fn pays([m, k, n]: [usize; 3]) -> bool {
    m >= 8 && k >= 24 && n >= 12
}

/// The memory of a product: panels of digits, and lines of the right operand.
pub(super) struct Memory<'a, W> {
    pub(super) tiles: &'a mut Vec<Line>,
    pub(super) words: &'a mut Vec<W>,
}

/// `out = a b`, see [`super::gemm`].
pub(super) fn gemm<W: RingWord>(
    out: &mut [W],
    a: &[W],
    b: &impl Columns<W>,
    [m, k, n]: [usize; 3],
    memory: Memory<'_, W>,
) {
    let steps = DEPTH.min(k).div_ceil(STEP);
    let panel = steps * W::BYTES * SIDE;
    let panels = COLS.min(n).div_ceil(SIDE);
    let lines = at_least(memory.tiles, (panels + 1) * panel + 4 * SIDE);
    let (left, rest) = lines.split_at_mut(panel);
    let (sums, right) = rest.split_at_mut(4 * SIDE);
    let words = at_least(memory.words, 4 * panels * SIDE);
    let _tiles = Configured::new();
    for from in (0..n).step_by(COLS) {
        let cols = COLS.min(n - from);
        for top in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - top);
            let panel = depth.div_ceil(STEP) * W::BYTES * SIDE;
            pack_right(right, words, b, [top, depth], [from, cols]);
            for first in (0..m).step_by(SIDE) {
                let rows = SIDE.min(m - first);
                pack_left(left, &a[first * k + top..], k, [rows, depth]);
                for at in (0..cols).step_by(SIDE) {
                    let right = &right[at / SIDE * panel..][..panel];
                    let shape = [rows, SIDE.min(cols - at), n];
                    let out = &mut out[first * n + from + at..];
                    multiply(out, shape, &left[..panel], right, sums, top > 0);
                }
            }
        }
    }
}

/// Keeps the tile registers configured as full tiles; frees them when dropped, so that the system
/// need not save them any more.
struct Configured;

impl Configured {
    fn new() -> Self {
        let mut config = Line([0; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64;
            config.0[48 + tile] = SIDE as u8;
        }
        // SAFETY: `available` has been asked; the configuration is valid and 64 bytes long.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly));
        }
        Self
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: nothing of value is in the tiles.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}

/// Digits of up to 16 rows: for each step of depth and each digit a tile of 16 rows of 64 digits.
fn pack_left<W: RingWord>(tiles: &mut [Line], a: &[W], stride: usize, [rows, depth]: [usize; 2]) {
    for (step, tiles) in
        tiles.chunks_exact_mut(W::BYTES * SIDE).take(depth.div_ceil(STEP)).enumerate()
    {
        let take = STEP.min(depth - step * STEP);
        for row in 0..SIDE {
            let words = if row < rows { &a[row * stride + step * STEP..][..take] } else { &[] };
            // SAFETY: AMX is there, so is AVX-512.
            unsafe { pack_row(tiles, row, words) };
        }
    }
}

/// Writes the digits of up to 64 words into row `row` of the tiles of one step.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pack_row<W: RingWord>(tiles: &mut [Line], row: usize, words: &[W]) {
    for half in 0..W::BYTES / 4 {
        let mut digits: [__m512i; 4] = std::array::from_fn(|v| {
            let from = words.get(v * 16..).unwrap_or_default();
            split_digits(load_half(&from[..from.len().min(16)], half))
        });
        transpose_quarters(&mut digits);
        for (i, digit) in digits.into_iter().enumerate() {
            store_line(&mut tiles[(half * 4 + i) * SIDE + row], digit);
        }
    }
}

/// The lower (`half` 0) or upper 32 bits of up to 16 words, zeros beyond them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn load_half<W: RingWord>(words: &[W], half: usize) -> __m512i {
    let mask = (1_u32 << words.len()).wrapping_sub(1);
    // SAFETY: the masks have as many ones as there are words.
    unsafe {
        if W::BITS == 32 {
            return _mm512_maskz_loadu_epi32(mask as u16, words.as_ptr().cast());
        }
        let from = words.as_ptr().cast::<i64>();
        let mut low = _mm512_maskz_loadu_epi64(mask as u8, from);
        let mut high = _mm512_maskz_loadu_epi64((mask >> 8) as u8, from.wrapping_add(8));
        if half == 1 {
            (low, high) = (_mm512_srli_epi64::<32>(low), _mm512_srli_epi64::<32>(high));
        }
        let low = _mm512_castsi256_si512(_mm512_cvtepi64_epi32(low));
        _mm512_inserti64x4::<1>(low, _mm512_cvtepi64_epi32(high))
    }
}

/// Of 16 words of 32 bits: quarter `i` becomes the digits `i` of all.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn split_digits(words: __m512i) -> __m512i {
    let bytes = _mm512_set4_epi32(0x0f0b_0703, 0x0e0a_0602, 0x0d09_0501, 0x0c08_0400);
    let dwords = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    _mm512_permutexvar_epi32(dwords, _mm512_shuffle_epi8(words, bytes))
}

/// Exchanges quarter `j` of vector `i` with quarter `i` of vector `j`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_quarters(v: &mut [__m512i; 4]) {
    let low = [_mm512_shuffle_i64x2::<0x44>(v[0], v[1]), _mm512_shuffle_i64x2::<0x44>(v[2], v[3])];
    let high = [_mm512_shuffle_i64x2::<0xee>(v[0], v[1]), _mm512_shuffle_i64x2::<0xee>(v[2], v[3])];
    *v = [
        _mm512_shuffle_i64x2::<0x88>(low[0], low[1]),
        _mm512_shuffle_i64x2::<0xdd>(low[0], low[1]),
        _mm512_shuffle_i64x2::<0x88>(high[0], high[1]),
        _mm512_shuffle_i64x2::<0xdd>(high[0], high[1]),
    ];
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_line(line: &mut Line, bytes: __m512i) {
    // SAFETY: a line is one vector.
    unsafe { _mm512_store_si512((&raw mut *line).cast(), bytes) }
}

/// Digits of a block of the right operand: for each 16 columns, step and digit a tile whose row `r`
/// holds, column by column, the digits of rows `4 r` to `4 r + 3`.
fn pack_right<W: RingWord>(
    tiles: &mut [Line],
    words: &mut [W],
    b: &impl Columns<W>,
    [top, depth]: [usize; 2],
    [from, cols]: [usize; 2],
) {
    let panel = depth.div_ceil(STEP) * W::BYTES * SIDE;
    let width = cols.next_multiple_of(SIDE);
    let words = &mut words[..4 * width];
    for quad in (0..depth.next_multiple_of(STEP)).step_by(4) {
        for (row, line) in (quad..).zip(words.chunks_exact_mut(width)) {
            if row < depth {
                b.line(top + row, from..from + cols, &mut line[..cols]);
            } else {
                line.fill(W::ZERO);
            }
        }
        let at = quad / STEP * W::BYTES * SIDE + quad % STEP / 4;
        // SAFETY: AMX is there, so is AVX-512.
        unsafe { pack_quad(tiles, words, [panel, at, width]) };
    }
}

/// Writes four rows of words into the panels; `at` is their line in the first tile of a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pack_quad<W: RingWord>(tiles: &mut [Line], words: &[W], [panel, at, width]: [usize; 3]) {
    for (tiles, left) in tiles.chunks_exact_mut(panel).zip((0..width).step_by(SIDE)) {
        for half in 0..W::BYTES / 4 {
            let rows: [__m512i; 4] =
                std::array::from_fn(|r| load_half(&words[r * width + left..][..SIDE], half));
            for (i, digit) in transpose_bytes(rows).into_iter().enumerate() {
                store_line(&mut tiles[at + (half * 4 + i) * SIDE], digit);
            }
        }
    }
}

/// In each 32-bit lane: byte `i` of word `j` becomes byte `j` of word `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose_bytes([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let odd_bytes = 0xaaaa_aaaa_aaaa_aaaa;
    let odd_pairs = 0xaaaa_aaaa;
    let even = |x, y| _mm512_mask_blend_epi8(odd_bytes, x, _mm512_slli_epi32::<8>(y));
    let odd = |x, y| _mm512_mask_blend_epi8(odd_bytes, _mm512_srli_epi32::<8>(x), y);
    let low = |x, y| _mm512_mask_blend_epi16(odd_pairs, x, _mm512_slli_epi32::<16>(y));
    let high = |x, y| _mm512_mask_blend_epi16(odd_pairs, _mm512_srli_epi32::<16>(x), y);
    let (p, q, r, s) = (even(a, b), even(c, d), odd(a, b), odd(c, d));
    [low(p, q), low(r, s), high(p, q), high(r, s)]
}

/// One tile of the result: `out = left right` or `out += left right`.
///
/// `shape` is rows and columns that are stored, and words between rows of `out`.
fn multiply<W: RingWord>(
    out: &mut [W],
    [rows, cols, stride]: [usize; 3],
    left: &[Line],
    right: &[Line],
    sums: &mut [Line],
    add: bool,
) {
    assert!(out.len() >= (rows - 1) * stride + cols && cols <= SIDE && rows <= SIDE);
    assert!(left.len() == right.len() && sums.len() == 4 * SIDE);
    let steps = left.len() / (W::BYTES * SIDE);
    assert!(steps > 0 && left.len() == steps * W::BYTES * SIDE);
    // SAFETY: the lengths are checked above; AMX is there, so is AVX-512.
    unsafe {
        low_sums(left.as_ptr(), right.as_ptr(), sums.as_mut_ptr(), steps, W::BYTES * 1024);
        join(out, [rows, cols, stride], sums, 0, add);
        if W::BITS == 64 {
            high_sums(left.as_ptr(), right.as_ptr(), sums.as_mut_ptr(), steps);
            join(out, [rows, cols, stride], sums, 32, true);
        }
    }
}

/// Adds sum tile `s`, times `2^(base + 8 s)`, to the result.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn join<W: RingWord>(
    out: &mut [W],
    [rows, cols, stride]: [usize; 3],
    sums: &[Line],
    base: u32,
    add: bool,
) {
    for row in 0..rows {
        let out = &mut out[row * stride..][..cols];
        let sums: [&Line; 4] = std::array::from_fn(|s| &sums[s * SIDE + row]);
        if W::BITS == 32 {
            let mut total = load_line(sums[0]);
            for (by, line) in (8_u32..).step_by(8).zip(&sums[1..]) {
                total = _mm512_add_epi32(total, _mm512_sll_epi32(load_line(line), count(by)));
            }
            store_sums(out, total, add);
        } else {
            for (half, out) in out.chunks_mut(SIDE / 2).enumerate() {
                let mut total = _mm512_setzero_si512();
                for (by, line) in (base..).step_by(8).zip(sums) {
                    let wide = _mm512_sll_epi64(load_wide(line, half), count(by));
                    total = _mm512_add_epi64(total, wide);
                }
                store_sums(out, total, add);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn count(by: u32) -> __m128i {
    _mm_cvtsi32_si128(by.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_line(line: &Line) -> __m512i {
    // SAFETY: a line is one vector.
    unsafe { _mm512_load_si512((&raw const *line).cast()) }
}

/// Half of the 32-bit sums of a line, zero-extended.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_wide(line: &Line, half: usize) -> __m512i {
    let line = load_line(line);
    _mm512_cvtepu32_epi64(match half {
        0 => _mm512_castsi512_si256(line),
        _ => _mm512_extracti64x4_epi64::<1>(line),
    })
}

/// Writes the lowest lanes to `out`, as many as it has words, or adds them.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_sums<W: RingWord>(out: &mut [W], sums: __m512i, add: bool) {
    let mask = (1_u32 << out.len()).wrapping_sub(1);
    // SAFETY: the masks have as many ones as `out` has words.
    unsafe {
        if W::BITS == 32 {
            let (to, mask) = (out.as_mut_ptr().cast(), mask as u16);
            let old = _mm512_maskz_loadu_epi32(mask, to);
            let sums = if add { _mm512_add_epi32(old, sums) } else { sums };
            _mm512_mask_storeu_epi32(to, mask, sums);
        } else {
            let (to, mask) = (out.as_mut_ptr().cast(), mask as u8);
            let old = _mm512_maskz_loadu_epi64(mask, to);
            let sums = if add { _mm512_add_epi64(old, sums) } else { sums };
            _mm512_mask_storeu_epi64(to, mask, sums);
        }
    }
}

/// Loads the tile of digit `$digit` of the left (`a`) or right (`b`) operand.
macro_rules! load {
    ($tile:literal, $side:literal, $digit:literal) => {
        concat!("tileloadd tmm", $tile, ", [{", $side, "} + {s}*1 + ", $digit, "*1024]")
    };
}

/// Loads digit `$digit` of the right operand and adds its products with the left digit in `$left`.
macro_rules! products {
    ($sum:literal, $left:literal, $right:literal, $digit:literal) => {
        concat!(
            "tileloadd tmm",
            $right,
            ", [{b} + {s}*1 + ",
            $digit,
            "*1024]\n",
            "tdpbuud tmm",
            $sum,
            ", tmm",
            $left,
            ", tmm",
            $right
        )
    };
}

/// Clears the sums in tiles 0 to 3, runs the instructions once per step, stores the sums.
///
/// Tiles 4 and 5 hold digits of the left operand, 6 and 7 those of the right one, by turns.
macro_rules! sums_over_steps {
    ([$a:expr, $b:expr, $sums:expr, $steps:expr, $bytes:expr] $($instruction:expr),* $(,)?) => {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            $($instruction,)*
            "add {a}, {bytes}", "add {b}, {bytes}", "dec {n}", "jnz 2b",
            "tilestored [{to} + {s}*1], tmm0", "tilestored [{to} + {s}*1 + 1024], tmm1",
            "tilestored [{to} + {s}*1 + 2048], tmm2", "tilestored [{to} + {s}*1 + 3072], tmm3",
            a = inout(reg) $a => _, b = inout(reg) $b => _, n = inout(reg) $steps => _,
            to = in(reg) $sums, s = in(reg) 64_usize, bytes = in(reg) $bytes,
            options(nostack)
        )
    };
}

/// The sums of products of digits `i + j < 4`, all of a narrow word and the lower half of a wide one.
///
/// # Safety
/// Tiles are configured; `a` and `b` hold `steps > 0` steps of `bytes` bytes, `sums` four tiles.
unsafe fn low_sums(a: *const Line, b: *const Line, sums: *mut Line, steps: usize, bytes: usize) {
    // SAFETY: passed on to the caller; nothing else holds tile registers.
    unsafe {
        sums_over_steps!([a, b, sums, steps, bytes]
            load!(4, "a", 0),
            products!(0, 4, 6, 0), products!(1, 4, 7, 1), products!(2, 4, 6, 2), products!(3, 4, 7, 3),
            load!(5, "a", 1),
            products!(1, 5, 6, 0), products!(2, 5, 7, 1), products!(3, 5, 6, 2),
            load!(4, "a", 2),
            products!(2, 4, 7, 0), products!(3, 4, 6, 1),
            load!(5, "a", 3),
            products!(3, 5, 7, 0),
        );
    }
}

/// The sums of products of digits `4 <= i + j < 8` of wide words.
///
/// # Safety
/// Tiles are configured; `a` and `b` hold `steps > 0` steps of eight digits, `sums` four tiles.
unsafe fn high_sums(a: *const Line, b: *const Line, sums: *mut Line, steps: usize) {
    // SAFETY: passed on to the caller; nothing else holds tile registers.
    unsafe {
        sums_over_steps!([a, b, sums, steps, 8 * 1024_usize]
            load!(4, "a", 0),
            products!(0, 4, 6, 4), products!(1, 4, 7, 5), products!(2, 4, 6, 6), products!(3, 4, 7, 7),
            load!(5, "a", 1),
            products!(0, 5, 6, 3), products!(1, 5, 7, 4), products!(2, 5, 6, 5), products!(3, 5, 7, 6),
            load!(4, "a", 2),
            products!(0, 4, 6, 2), products!(1, 4, 7, 3), products!(2, 4, 6, 4), products!(3, 4, 7, 5),
            load!(5, "a", 3),
            products!(0, 5, 6, 1), products!(1, 5, 7, 2), products!(2, 5, 6, 3), products!(3, 5, 7, 4),
            load!(4, "a", 4),
            products!(0, 4, 6, 0), products!(1, 4, 7, 1), products!(2, 4, 6, 2), products!(3, 4, 7, 3),
            load!(5, "a", 5),
            products!(1, 5, 6, 0), products!(2, 5, 7, 1), products!(3, 5, 6, 2),
            load!(4, "a", 6),
            products!(2, 4, 7, 0), products!(3, 4, 6, 1),
            load!(5, "a", 7),
            products!(3, 5, 7, 0),
        );
    }
}
