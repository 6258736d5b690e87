//! Element-wise programs: what a fused group of operations does to one tile of elements.
//!
//! A program runs on tiles of a few thousand elements that stay in cache. Word registers hold one
//! ring word per element, bit registers one bit per element. Every program is straight-line code, so
//! its time does not depend on data.

use crate::text::ops;
use serde::{Deserialize, Serialize};

/// A register of ring words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WordReg(pub u16);

/// A register of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BitReg(pub u16);

/// A buffer that a program reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Operand {
    /// How elements are laid out.
    pub kind: OperandKind,
    /// Whether the program writes it (then it writes all of it) or reads it.
    pub write: bool,
}

/// How the elements of an operand are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OperandKind {
    /// One ring word per element, little-endian.
    Words,
    /// `bits` bits per element, little-endian bit order, the last byte padded with zeros.
    Packed {
        /// Bits per element, 1 to 64. One for bit registers.
        bits: u8,
    },
    /// A table of words; the element at address `e` reads entry `(e / inner) % len`.
    Table {
        /// Consecutive elements that read the same entry.
        inner: u64,
        /// Entries.
        len: u64,
    },
}

ops! {
    /// One instruction. `dst` may equal an operand.
    #[derive(Copy, Eq, PartialOrd, Ord)]
    #[expect(missing_docs, reason = "register and immediate names are uniform: dst, a, b, by, bits")]
    pub enum TileOp {
        /// Reads a `Words` or `Table` operand.
        Load = "load" { dst: WordReg, operand: u16 },
        /// Writes a `Words` operand.
        Store = "store" { src: WordReg, operand: u16 },
        /// Reads a `Packed` operand, zero-extended.
        Unpack = "unpack" { dst: WordReg, operand: u16 },
        /// Writes the low bits of each word to a `Packed` operand.
        Pack = "pack" { src: WordReg, operand: u16 },
        /// The mask share of `party` for the value in slot `value`: `bits` uniform bits per element.
        Random = "random" { dst: WordReg, value: u16, party: u8, bits: u8 },
        /// `a + b`.
        Add = "add" { dst: WordReg, a: WordReg, b: WordReg },
        /// `a - b`.
        Sub = "sub" { dst: WordReg, a: WordReg, b: WordReg },
        /// `a * b`.
        Mul = "mul" { dst: WordReg, a: WordReg, b: WordReg },
        /// `a + by`.
        AddConst = "add_const" { dst: WordReg, a: WordReg, by: u64 },
        /// `a * by`.
        MulConst = "mul_const" { dst: WordReg, a: WordReg, by: u64 },
        /// `-a`.
        Neg = "neg" { dst: WordReg, a: WordReg },
        /// `a << by`.
        ShiftLeft = "shl" { dst: WordReg, a: WordReg, by: u8 },
        /// `a >> by`, zeros shifted in.
        ShiftRight = "shr" { dst: WordReg, a: WordReg, by: u8 },
        /// The low `bits` bits of `a`.
        Low = "low" { dst: WordReg, a: WordReg, bits: u8 },
        /// `a` where the bit is one, zero elsewhere.
        Select = "select" { dst: WordReg, bit: BitReg, a: WordReg },
        /// The bit as a word, 0 or 1.
        FromBit = "from_bit" { dst: WordReg, bit: BitReg },
        /// `dst = value` in every element.
        Const = "const" { dst: WordReg, value: u64 },

        /// Reads a `Packed` operand of one bit.
        LoadBit = "load_bit" { dst: BitReg, operand: u16 },
        /// Writes a `Packed` operand of one bit.
        StoreBit = "store_bit" { src: BitReg, operand: u16 },
        /// The mask share of `party` for the value in slot `value`: one uniform bit per element.
        RandomBit = "random_bit" { dst: BitReg, value: u16, party: u8 },
        /// Bit `index` of each word.
        BitAt = "bit_at" { dst: BitReg, a: WordReg, index: u8 },
        /// Exclusive or.
        Xor = "xor" { dst: BitReg, a: BitReg, b: BitReg },
        /// And.
        And = "and" { dst: BitReg, a: BitReg, b: BitReg },
        /// Complement.
        Not = "not" { dst: BitReg, a: BitReg },
        /// `dst ^= a & b`.
        AndXor = "and_xor" { dst: BitReg, a: BitReg, b: BitReg },
        /// `a` where `bit` is one, `b` elsewhere.
        Mux = "mux" { dst: BitReg, bit: BitReg, a: BitReg, b: BitReg },
        /// All zeros or all ones.
        ConstBit = "const_bit" { dst: BitReg, value: bool },
    }
}

/// A straight-line element-wise program.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TileProgram {
    /// Buffers, in the order of a step's spans.
    pub operands: Vec<Operand>,
    /// Number of mask-value slots.
    pub values: u16,
    /// Number of word registers.
    pub word_regs: u16,
    /// Number of bit registers.
    pub bit_regs: u16,
    /// Instructions in order.
    pub ops: Vec<TileOp>,
}
