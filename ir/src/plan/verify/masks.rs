//! Which random terms hide what a program writes, by a walk along the straight line.
//!
//! A field of a register is *hidden* by a mask `r` where it is `x + r` (or `x ^ r`) and `x` does not
//! depend on `r`: whatever `x` is, the field is then uniform. The walk keeps for each register the
//! terms and operands that it depends on at all, and the fields that terms hide.

use super::{Rule, Work};
use crate::plan::{OperandKind, TileOp, TileProgram, Word};
use std::collections::BTreeSet;

/// The mask share of a party for a slot of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Term {
    pub(super) party: u8,
    pub(super) slot: u16,
}

/// Bits `low .. low + bits` of a register are hidden by `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) term: Term,
    /// Bits that were drawn, which decide where in the stream they come from.
    pub(super) drawn: u8,
    low: u8,
    bits: u8,
}

/// What is known about a register.
#[derive(Clone, Debug, Default)]
struct Known {
    depends: BTreeSet<Term>,
    loads: BTreeSet<u16>,
    hidden: Vec<Field>,
}

impl Known {
    fn drawn(party: u8, slot: u16, bits: u8) -> Self {
        let term = Term { party, slot };
        let field = Field { term, drawn: bits, low: 0, bits };
        Self { depends: BTreeSet::from([term]), hidden: vec![field], ..Self::default() }
    }

    fn loaded(operand: u16) -> Self {
        Self { loads: BTreeSet::from([operand]), ..Self::default() }
    }

    fn size(&self) -> usize {
        self.depends.len() + self.loads.len()
    }

    /// Depends on all of `parts`; nothing hides it.
    fn mixed(parts: &[&Self]) -> Self {
        let depends = parts.iter().flat_map(|part| &part.depends).copied().collect();
        let loads = parts.iter().flat_map(|part| &part.loads).copied().collect();
        Self { depends, loads, hidden: Vec::new() }
    }

    /// A sum, difference or exclusive or: what hides one hides the sum unless the other depends on it.
    fn sum(&self, other: &Self) -> Self {
        let mut sum = Self::mixed(&[self, other]);
        for (a, b) in [(self, other), (other, self)] {
            sum.hidden.extend(a.hidden.iter().filter(|field| !b.depends.contains(&field.term)));
        }
        sum
    }

    fn with_fields(&self, change: impl Fn(Field) -> Option<Field>) -> Self {
        let hidden = self.hidden.iter().copied().filter_map(change).collect();
        Self { hidden, ..Self::mixed(&[self]) }
    }

    fn shifted_left(&self, by: u8, width: u8) -> Self {
        self.with_fields(|field| Field { low: field.low.saturating_add(by), ..field }.below(width))
    }

    fn shifted_right(&self, by: u8) -> Self {
        self.with_fields(|field| {
            let lost = by.saturating_sub(field.low);
            let bits = field.bits.checked_sub(lost).filter(|&bits| bits > 0)?;
            Some(Field { low: field.low.saturating_sub(by), bits, ..field })
        })
    }
}

impl Field {
    /// The part below bit `end`.
    fn below(self, end: u8) -> Option<Self> {
        let room = end.checked_sub(self.low).filter(|&room| room > 0)?;
        Some(Self { bits: self.bits.min(room), ..self })
    }

    fn hides_low(self, bits: u8) -> bool {
        self.low == 0 && self.bits >= bits
    }
}

/// What a program writes to an operand; empty for one that it reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// The terms that hide all bits of it.
    pub(super) hidden_by: Vec<Field>,
    /// All terms that it depends on.
    pub(super) draws: BTreeSet<Term>,
    /// All operands that it depends on.
    pub(super) loads: BTreeSet<u16>,
}

/// Follows a program; one entry per operand.
pub(super) fn written(
    program: &TileProgram,
    ring: Word,
    work: &mut Work,
) -> Result<Vec<Written>, Rule> {
    let mut walk = Walk {
        width: ring.bits(),
        words: vec![Known::default(); program.word_regs.into()],
        bits: vec![Known::default(); program.bit_regs.into()],
        written: vec![Written::default(); program.operands.len()],
    };
    for op in &program.ops {
        let size = walk.step(program, *op);
        work.spend(1 + size as u64)?;
    }
    Ok(walk.written)
}

struct Walk {
    width: u8,
    words: Vec<Known>,
    bits: Vec<Known>,
    written: Vec<Written>,
}

impl Walk {
    /// Follows one instruction; returns the size of what it wrote.
    fn step(&mut self, program: &TileProgram, op: TileOp) -> usize {
        let w = |r: crate::plan::WordReg| &self.words[usize::from(r.0)];
        let b = |r: crate::plan::BitReg| &self.bits[usize::from(r.0)];
        let (dst, known) = match op {
            TileOp::Load { dst, operand } | TileOp::Unpack { dst, operand } => {
                (Dst::Word(dst.0), Known::loaded(operand))
            }
            TileOp::Const { dst, .. } => (Dst::Word(dst.0), Known::default()),
            TileOp::Random { dst, value, party, bits } => {
                (Dst::Word(dst.0), Known::drawn(party, value, bits))
            }
            TileOp::Add { dst, a, b } | TileOp::Sub { dst, a, b } => {
                (Dst::Word(dst.0), w(a).sum(w(b)))
            }
            TileOp::Mul { dst, a, b } => (Dst::Word(dst.0), Known::mixed(&[w(a), w(b)])),
            TileOp::AddConst { dst, a, .. } | TileOp::Neg { dst, a } => {
                (Dst::Word(dst.0), w(a).clone())
            }
            TileOp::MulConst { dst, a, by } => {
                // An odd factor permutes the values of a field, a power of two shifts it.
                let zeros = by.trailing_zeros() as u8;
                (Dst::Word(dst.0), w(a).shifted_left(zeros, self.width))
            }
            TileOp::ShiftLeft { dst, a, by } => {
                (Dst::Word(dst.0), w(a).shifted_left(by, self.width))
            }
            TileOp::ShiftRight { dst, a, by } => (Dst::Word(dst.0), w(a).shifted_right(by)),
            TileOp::Low { dst, a, bits } => {
                (Dst::Word(dst.0), w(a).with_fields(|field| field.below(bits)))
            }
            TileOp::Select { dst, bit, a } => (Dst::Word(dst.0), Known::mixed(&[b(bit), w(a)])),
            TileOp::FromBit { dst, bit } => (Dst::Word(dst.0), b(bit).clone()),
            TileOp::LoadBit { dst, operand } => (Dst::Bit(dst.0), Known::loaded(operand)),
            TileOp::ConstBit { dst, .. } => (Dst::Bit(dst.0), Known::default()),
            TileOp::RandomBit { dst, value, party } => {
                (Dst::Bit(dst.0), Known::drawn(party, value, 1))
            }
            TileOp::BitAt { dst, a, index } => {
                let bit = w(a).shifted_right(index);
                (Dst::Bit(dst.0), bit.with_fields(|field| field.below(1)))
            }
            TileOp::Xor { dst, a, b: other } => (Dst::Bit(dst.0), b(a).sum(b(other))),
            TileOp::And { dst, a, b: other } => (Dst::Bit(dst.0), Known::mixed(&[b(a), b(other)])),
            TileOp::Not { dst, a } => (Dst::Bit(dst.0), b(a).clone()),
            TileOp::AndXor { dst, a, b: other } => {
                (Dst::Bit(dst.0), b(dst).sum(&Known::mixed(&[b(a), b(other)])))
            }
            TileOp::Mux { dst, bit, a, b: other } => {
                (Dst::Bit(dst.0), Known::mixed(&[b(bit), b(a), b(other)]))
            }
            TileOp::Store { src, operand } | TileOp::Pack { src, operand } => {
                let known = w(src).clone();
                return self.write(program, operand, known);
            }
            TileOp::StoreBit { src, operand } => {
                let known = b(src).clone();
                return self.write(program, operand, known);
            }
        };
        let size = known.size();
        match dst {
            Dst::Word(at) => self.words[usize::from(at)] = known,
            Dst::Bit(at) => self.bits[usize::from(at)] = known,
        }
        size
    }

    fn write(&mut self, program: &TileProgram, operand: u16, known: Known) -> usize {
        let at = usize::from(operand);
        let bits = match program.operands[at].kind {
            OperandKind::Packed { bits } => bits,
            OperandKind::Words | OperandKind::Table { .. } => self.width,
        };
        let size = known.size();
        self.written[at] = Written {
            hidden_by: known.hidden.into_iter().filter(|f| f.hides_low(bits)).collect(),
            draws: known.depends,
            loads: known.loads,
        };
        size
    }
}

enum Dst {
    Word(u16),
    Bit(u16),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Attr, Lexer};

    /// Which masks hide the first operand of a program with `bits`-bit output and these instructions.
    fn hidden(bits: u8, code: &str) -> Vec<(u8, u16)> {
        let text = format!(
            "values 4 word_regs 4 bit_regs 4 {{ write packed bits {bits} read words {code} }}"
        );
        let program = TileProgram::parse(&mut Lexer::new(&text)).unwrap();
        let found = written(&program, Word::W32, &mut Work::default()).unwrap();
        found[0].hidden_by.iter().map(|field| (field.term.party, field.term.slot)).collect()
    }

    const X: &str = "load dst w0 operand 1 random dst w1 value 3 party 0 bits 25";

    /// `w0` is any value, `w1` a mask of 25 bits; what `code` leaves in `w2` is packed to 25 bits.
    fn word(code: &str) -> usize {
        hidden(25, &format!("{X} {code} pack src w2 operand 0")).len()
    }

    /// `b0` is any bit, `b1` a random one; what `code` leaves in `b2` is packed.
    fn bit(code: &str) -> usize {
        let start =
            "load dst w0 operand 1 bit_at dst b0 a w0 index 0 random_bit dst b1 value 2 party 1";
        hidden(1, &format!("{start} {code} store_bit src b2 operand 0")).len()
    }

    #[test]
    fn a_sum_with_a_fresh_mask_is_hidden() {
        assert_eq!(
            hidden(25, &format!("{X} add dst w2 a w0 b w1 pack src w2 operand 0")),
            [(0, 3)]
        );
        assert_eq!(word("sub dst w2 a w0 b w1"), 1);
        assert_eq!(word("add dst w2 a w1 b w0 neg dst w2 a w2 add_const dst w2 a w2 by 5"), 1);
        assert_eq!(word("add dst w2 a w1 b w0 low dst w2 a w2 bits 25"), 1);
        assert_eq!(word("mul_const dst w2 a w1 by 3 add dst w2 a w2 b w0"), 1);
    }

    #[test]
    fn a_mask_that_the_rest_depends_on_hides_nothing() {
        assert_eq!(word("add dst w2 a w0 b w1 sub dst w2 a w2 b w1"), 0);
        assert_eq!(word("add dst w2 a w1 b w1"), 0);
        assert_eq!(word("mul dst w2 a w0 b w1"), 0);
        assert_eq!(word("mul dst w2 a w0 b w1 add dst w2 a w2 b w1"), 0);
        assert_eq!(word("mul_const dst w2 a w1 by 2 add dst w2 a w2 b w0"), 0);
        assert_eq!(word("mul_const dst w2 a w1 by 0 add dst w2 a w2 b w0"), 0);
        let again = "random dst w3 value 3 party 0 bits 32";
        assert_eq!(word(&format!("add dst w2 a w0 b w1 {again} sub dst w2 a w2 b w3")), 0);
    }

    #[test]
    fn shifts_move_the_hidden_bits() {
        assert_eq!(word("shl dst w2 a w1 by 7 add dst w2 a w2 b w0 shr dst w2 a w2 by 7"), 1);
        assert_eq!(word("shl dst w2 a w1 by 7 add dst w2 a w2 b w0"), 0);
        assert_eq!(word("shl dst w2 a w1 by 8 add dst w2 a w2 b w0 shr dst w2 a w2 by 8"), 0);
        assert_eq!(word("add dst w2 a w1 b w0 shr dst w2 a w2 by 1"), 0);
        assert_eq!(word("add dst w2 a w1 b w0 low dst w2 a w2 bits 24"), 0);
    }

    #[test]
    fn bits_are_hidden_by_exclusive_or() {
        assert_eq!(bit("xor dst b2 a b0 b b1"), 1);
        assert_eq!(bit("xor dst b2 a b0 b b1 and_xor dst b2 a b0 b b0"), 1);
        assert_eq!(bit("xor dst b2 a b0 b b1 and_xor dst b2 a b0 b b1"), 0);
        assert_eq!(bit("xor dst b2 a b0 b b1 xor dst b2 a b2 b b1"), 0);
        assert_eq!(bit("and dst b2 a b0 b b1"), 0);
        assert_eq!(bit("mux dst b2 bit b0 a b1 b b1"), 0);
        assert_eq!(bit("not dst b2 a b1"), 1);
        assert_eq!(bit("random dst w1 value 3 party 0 bits 8 bit_at dst b2 a w1 index 7"), 1);
        assert_eq!(bit("random dst w1 value 3 party 0 bits 8 bit_at dst b2 a w1 index 8"), 0);
    }
}
