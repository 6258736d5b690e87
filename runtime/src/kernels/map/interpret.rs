//! The interpreter: one instruction over one tile.

use super::lanes::{binary, unary};
use super::pack::{Portable, Special};
use super::{Buffer, GRAIN};
use crate::kernels::{Cpu, RingWord};
use crate::mask::Masks;
use mpcc_ir::plan::{BitReg, OperandKind, TileOp, TileProgram, WordReg};
use std::ops::Range;

/// The registers and the position of the tile being worked on.
pub(super) struct Tile<'a, W> {
    /// Word registers, `len` elements each.
    pub(super) words: &'a mut [W],
    /// Bit registers, `len / 64` words each.
    pub(super) bits: &'a mut [u64],
    /// Room of a register in elements, a multiple of [`GRAIN`].
    pub(super) len: usize,
    /// Address of the step's first element.
    pub(super) first: u64,
    /// Elements of the step before this tile.
    pub(super) at: u64,
    /// Elements of this tile; registers beyond hold leftovers.
    pub(super) count: usize,
}

impl<W: RingWord> Tile<'_, W> {
    /// Runs all instructions on this tile.
    pub(super) fn run(
        &mut self,
        cpu: Cpu,
        program: &TileProgram,
        values: &[u32],
        masks: &Masks,
        operands: &mut [Buffer<'_>],
    ) {
        match cpu {
            Cpu::Portable => self.run_with::<Portable>(program, values, masks, operands),
            #[cfg(target_arch = "x86_64")]
            Cpu::Avx2 => super::x86::run_avx2(self, program, values, masks, operands),
            #[cfg(target_arch = "x86_64")]
            Cpu::Avx512 | Cpu::Amx => {
                super::x86::run_avx512(self, program, values, masks, operands);
            }
            #[cfg(not(target_arch = "x86_64"))]
            Cpu::Avx2 | Cpu::Avx512 | Cpu::Amx => {
                self.run_with::<Portable>(program, values, masks, operands);
            }
        }
    }

    #[inline(always)]
    pub(super) fn run_with<S: Special>(
        &mut self,
        program: &TileProgram,
        values: &[u32],
        masks: &Masks,
        operands: &mut [Buffer<'_>],
    ) {
        for &op in &program.ops {
            self.step::<S>(op, program, values, masks, operands);
        }
    }

    #[inline(always)]
    fn step<S: Special>(
        &mut self,
        op: TileOp,
        program: &TileProgram,
        values: &[u32],
        masks: &Masks,
        operands: &mut [Buffer<'_>],
    ) {
        let address = self.first + self.at;
        let kind = |operand: u16| program.operands[usize::from(operand)].kind;
        match op {
            TileOp::Load { dst, operand } => {
                self.load(dst, operands[usize::from(operand)].read(), kind(operand));
            }
            TileOp::Store { src, operand } => {
                let bytes = &mut operands[usize::from(operand)].write()[self.bytes(W::BITS)];
                for (word, to) in self.exact(src).iter().zip(bytes.chunks_exact_mut(W::BYTES)) {
                    word.put_le(to);
                }
            }
            TileOp::Unpack { dst, operand } => {
                let width = width(kind(operand));
                let bytes = &operands[usize::from(operand)].read()[self.bytes(u32::from(width))];
                S::unpack(self.exact(dst), bytes, width);
            }
            TileOp::Pack { src, operand } => {
                let width = width(kind(operand));
                let bytes = self.bytes(u32::from(width));
                let bytes = &mut operands[usize::from(operand)].write()[bytes];
                S::pack(bytes, self.exact(src), width);
            }
            TileOp::Random { dst, value, party, bits } => {
                let value = values[usize::from(value)];
                masks.fill_words(party, value, bits, address, self.exact(dst));
            }
            TileOp::Add { dst, a, b } => self.word_binary(dst, a, b, W::add),
            TileOp::Sub { dst, a, b } => self.word_binary(dst, a, b, W::sub),
            TileOp::Mul { dst, a, b } => self.word_binary(dst, a, b, W::mul),
            TileOp::AddConst { dst, a, by } => {
                let by = W::from_u64(by);
                self.word_unary(dst, a, |x| x.add(by));
            }
            TileOp::MulConst { dst, a, by } => {
                let by = W::from_u64(by);
                self.word_unary(dst, a, |x| x.mul(by));
            }
            TileOp::Neg { dst, a } => self.word_unary(dst, a, |x| W::ZERO.sub(x)),
            TileOp::ShiftLeft { dst, a, by } => {
                self.word_unary(dst, a, |x| x.shl(u32::from(by)));
            }
            TileOp::ShiftRight { dst, a, by } => {
                self.word_unary(dst, a, |x| x.shr(u32::from(by)));
            }
            TileOp::Low { dst, a, bits } => {
                let keep = W::low_mask(bits);
                self.word_unary(dst, a, |x| x.and(keep));
            }
            TileOp::Select { dst, bit, a } => {
                let (dst, a, bit) = (self.word(dst), self.word(a), self.bit(bit));
                S::select(self.words, dst, a, &self.bits[bit]);
            }
            TileOp::FromBit { dst, bit } => {
                let (dst, bit) = (self.word(dst), self.bit(bit));
                S::from_bit(&mut self.words[dst], &self.bits[bit]);
            }
            TileOp::Const { dst, value } => {
                let dst = self.word(dst);
                self.words[dst].fill(W::from_u64(value));
            }
            TileOp::LoadBit { dst, operand } => {
                let bytes = &operands[usize::from(operand)].read()[self.bytes(1)];
                let dst = self.bit(dst);
                load_bits(&mut self.bits[dst], bytes);
            }
            TileOp::StoreBit { src, operand } => {
                let bytes = &mut operands[usize::from(operand)].write()[self.bytes(1)];
                store_bits(bytes, &self.bits[self.bit(src)], self.count);
            }
            TileOp::RandomBit { dst, value, party } => {
                let (dst, value) = (self.bit(dst), values[usize::from(value)]);
                masks.fill_bits(party, value, address, self.count, &mut self.bits[dst]);
            }
            TileOp::BitAt { dst, a, index } => {
                let (dst, a) = (self.bit(dst), self.word(a));
                S::bit_at(&mut self.bits[dst], &self.words[a], index);
            }
            TileOp::Xor { dst, a, b } => self.bit_binary(dst, a, b, |_, a, b| a ^ b),
            TileOp::And { dst, a, b } => self.bit_binary(dst, a, b, |_, a, b| a & b),
            TileOp::AndXor { dst, a, b } => self.bit_binary(dst, a, b, |d, a, b| d ^ (a & b)),
            TileOp::Not { dst, a } => {
                let (dst, a) = (self.bit(dst), self.bit(a));
                unary(self.bits, dst, a, |a: u64| !a);
            }
            TileOp::Mux { dst, bit, a, b } => self.mux(dst, bit, a, b),
            TileOp::ConstBit { dst, value } => {
                let dst = self.bit(dst);
                self.bits[dst].fill(if value { u64::MAX } else { 0 });
            }
        }
    }

    #[inline(always)]
    fn load(&mut self, dst: WordReg, bytes: &[u8], kind: OperandKind) {
        if let OperandKind::Table { inner, len } = kind {
            let address = self.first + self.at;
            return load_table(self.exact(dst), bytes, address, inner, len);
        }
        let bytes = &bytes[self.bytes(W::BITS)];
        for (word, from) in self.exact(dst).iter_mut().zip(bytes.chunks_exact(W::BYTES)) {
            *word = W::from_le(from);
        }
    }

    /// Elements that loops run over: the tile rounded up, leftovers included.
    #[inline(always)]
    fn lanes(&self) -> usize {
        self.count.next_multiple_of(GRAIN)
    }

    #[inline(always)]
    fn word(&self, WordReg(r): WordReg) -> Range<usize> {
        let start = usize::from(r) * self.len;
        start..start + self.lanes()
    }

    #[inline(always)]
    fn bit(&self, BitReg(r): BitReg) -> Range<usize> {
        let start = usize::from(r) * (self.len / 64);
        start..start + self.lanes() / 64
    }

    /// The elements of a word register that are really there.
    #[inline(always)]
    fn exact(&mut self, WordReg(r): WordReg) -> &mut [W] {
        let start = usize::from(r) * self.len;
        &mut self.words[start..start + self.count]
    }

    /// The bytes of this tile in an operand of `width` bits per element; tiles start at bytes.
    #[inline(always)]
    fn bytes(&self, width: u32) -> Range<usize> {
        let start = (self.at * u64::from(width) / 8) as usize;
        start..start + (self.count * width as usize).div_ceil(8)
    }

    #[inline(always)]
    fn word_unary(&mut self, dst: WordReg, a: WordReg, f: impl Fn(W) -> W) {
        let (dst, a) = (self.word(dst), self.word(a));
        unary(self.words, dst, a, f);
    }

    #[inline(always)]
    fn word_binary(&mut self, dst: WordReg, a: WordReg, b: WordReg, f: impl Fn(W, W) -> W) {
        let (dst, a, b) = (self.word(dst), self.word(a), self.word(b));
        binary(self.words, dst, a, b, |_, a, b| f(a, b));
    }

    #[inline(always)]
    fn bit_binary(&mut self, dst: BitReg, a: BitReg, b: BitReg, f: impl Fn(u64, u64, u64) -> u64) {
        let (dst, a, b) = (self.bit(dst), self.bit(a), self.bit(b));
        binary(self.bits, dst, a, b, f);
    }

    /// A cache line at a time: four registers may coincide in too many ways to tell apart.
    #[inline(always)]
    fn mux(&mut self, dst: BitReg, bit: BitReg, a: BitReg, b: BitReg) {
        let [dst, bit, a, b] = [dst, bit, a, b].map(|r| self.bit(r).start);
        for line in (0..self.lanes() / 64).step_by(8) {
            let read =
                |from: usize| -> [u64; 8] { std::array::from_fn(|i| self.bits[from + line + i]) };
            let (bit, a, b) = (read(bit), read(a), read(b));
            let picked: [u64; 8] = std::array::from_fn(|i| b[i] ^ (bit[i] & (a[i] ^ b[i])));
            self.bits[dst + line..][..8].copy_from_slice(&picked);
        }
    }
}

/// Bits per element of a packed operand.
fn width(kind: OperandKind) -> u8 {
    match kind {
        OperandKind::Packed { bits } => bits,
        OperandKind::Words | OperandKind::Table { .. } => {
            panic!("the plan loader checks the layout of operands")
        }
    }
}

/// The element at address `e` reads entry `(e / inner) % len`.
#[inline(always)]
fn load_table<W: RingWord>(dst: &mut [W], bytes: &[u8], address: u64, inner: u64, len: u64) {
    let (mut index, used) = (address / inner % len, address % inner);
    if inner == 1 {
        return load_rows(dst, bytes, index as usize, len as usize);
    }
    let entry = |i: u64| W::from_le(&bytes[i as usize * W::BYTES..][..W::BYTES]);
    let (mut at, mut used) = (0, used);
    while at < dst.len() {
        let run = (inner - used).min((dst.len() - at) as u64) as usize;
        dst[at..at + run].fill(entry(index));
        (at, used) = (at + run, 0);
        index = if index + 1 == len { 0 } else { index + 1 };
    }
}

/// The entries of a table one after another, again and again: one value per channel, where channels come last.
#[inline(always)]
fn load_rows<W: RingWord>(mut dst: &mut [W], bytes: &[u8], mut index: usize, len: usize) {
    while !dst.is_empty() {
        let run = (len - index).min(dst.len());
        let (head, rest) = dst.split_at_mut(run);
        let entries = bytes[index * W::BYTES..][..run * W::BYTES].chunks_exact(W::BYTES);
        for (word, from) in head.iter_mut().zip(entries) {
            *word = W::from_le(from);
        }
        (dst, index) = (rest, 0);
    }
}

#[inline(always)]
fn load_bits(bits: &mut [u64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, from) in bits.iter_mut().zip(whole) {
        *word = u64::from_le_bytes(*from);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        bits[whole.len()] = u64::from_le_bytes(last);
    }
}

#[inline(always)]
fn store_bits(bytes: &mut [u8], bits: &[u64], count: usize) {
    let (whole, rest) = bytes.as_chunks_mut::<8>();
    for (to, word) in whole.iter_mut().zip(bits) {
        *to = word.to_le_bytes();
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&bits[whole.len()].to_le_bytes()[..rest.len()]);
    }
    if let (Some(last), tail @ 1..) = (bytes.last_mut(), count % 8) {
        *last &= (1 << tail) - 1;
    }
}
