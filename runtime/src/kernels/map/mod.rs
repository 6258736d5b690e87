//! Runs element-wise programs, tile by tile.
//!
//! A tile is a stretch of elements whose registers fit in cache together; its length is a multiple of
//! 512, so that every packed operand is cut at bytes and every bit register at whole cache lines. An
//! instruction is one loop over the tile; the loops are plain Rust, compiled once per instruction
//! set, save for the few in [`Special`] that vector instructions do much better.

mod interpret;
mod lanes;
mod pack;
#[cfg(test)]
mod reference;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::scratch::at_least;
use super::{RingWord, Scratch};
use crate::mask::Masks;
use interpret::Tile;
use mpcc_ir::plan::TileProgram;

/// What an operand of a program is bound to.
pub enum Buffer<'a> {
    /// An operand that the program reads.
    Read(&'a [u8]),
    /// An operand that the program writes.
    Write(&'a mut [u8]),
}

impl Buffer<'_> {
    fn read(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Write(bytes) => bytes,
        }
    }

    fn write(&mut self) -> &mut [u8] {
        match self {
            Self::Read(_) => panic!("the plan loader checks which operands a program writes"),
            Self::Write(bytes) => bytes,
        }
    }
}

/// Elements per cache line of bits: the granularity of loops over registers.
const GRAIN: usize = 512;

/// Bytes that the registers of a tile should take together: half of a small L2 cache.
const TILE_BYTES: usize = 256 << 10;

/// Runs `program` over `count` elements from address `first` on.
///
/// `values` are the addresses of the program's mask slots. There is one operand for each of the
/// program's, holding the elements from `first` on (tables from their start), at least as long as
/// `count` elements need. Same time for all values of words and bits.
///
/// # Panics
/// If the program is not well-formed, an operand is too short, or a mask of an unknown party is
/// asked for. The plan loader has checked them, so it would be a bug.
pub fn map<W: RingWord>(
    program: &TileProgram,
    first: u64,
    count: u64,
    values: &[u32],
    masks: &Masks,
    operands: &mut [Buffer<'_>],
    scratch: &mut Scratch,
) {
    assert_eq!(operands.len(), program.operands.len());
    let (words, bits) = (usize::from(program.word_regs), usize::from(program.bit_regs));
    let len = tile_len::<W>(words, bits, count);
    let cpu = scratch.cpu;
    let mut bit_regs = std::mem::take(&mut scratch.bits);
    let mut word_regs = std::mem::take(W::registers(scratch));
    let mut tile = Tile {
        words: at_least(&mut word_regs, words * len),
        bits: at_least(&mut bit_regs, bits * len / 64),
        len,
        first,
        at: 0,
        count: 0,
    };
    while tile.at < count {
        tile.count = (count - tile.at).min(len as u64) as usize;
        tile.run(cpu, program, values, masks, operands);
        tile.at += tile.count as u64;
    }
    scratch.bits = bit_regs;
    *W::registers(scratch) = word_regs;
}

/// The largest power of two times [`GRAIN`], up to 8192, whose registers fit in [`TILE_BYTES`]; not
/// more than it takes to hold `count`.
fn tile_len<W: RingWord>(words: usize, bits: usize, count: u64) -> usize {
    let mut len = 16 * GRAIN;
    let grain_bytes = words * GRAIN * W::BYTES + bits * GRAIN / 8;
    while len > GRAIN && (grain_bytes * (len / GRAIN) > TILE_BYTES || len as u64 / 2 >= count) {
        len /= 2;
    }
    len
}
