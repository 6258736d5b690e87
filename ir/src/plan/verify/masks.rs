//! Which random terms hide what a program writes, by a walk along the straight line.
//!
//! A field of a register is *hidden* by a mask `r` where it is `x + r` (or `x ^ r`) and `x` does not
//! depend on `r`: whatever `x` is, the field is then uniform. The walk keeps for each register the
//! terms and operands that it depends on at all, and the fields that terms hide.

use super::{Rule, Work};
use crate::plan::{OperandKind, TileOp, TileProgram, Word};

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
    source: usize,
    low: u8,
    bits: u8,
}

/// Sources of a program: its terms in order, then its operands. A set of them is a row of bits.
struct Sources {
    terms: Vec<Term>,
    operands: usize,
}

impl Sources {
    fn of(program: &TileProgram) -> Self {
        let mut terms: Vec<Term> = program.ops.iter().filter_map(|op| drawn_term(*op)).collect();
        terms.sort_unstable();
        terms.dedup();
        Self { terms, operands: program.operands.len() }
    }

    fn term(&self, term: Term) -> usize {
        self.terms.binary_search(&term).unwrap_or_default()
    }

    fn operand(&self, operand: u16) -> usize {
        self.terms.len() + usize::from(operand)
    }

    /// Bytes that one set takes, in words.
    fn words(&self) -> usize {
        (self.terms.len() + self.operands).div_ceil(64)
    }
}

/// The term that an instruction draws.
#[expect(clippy::wildcard_enum_match_arm, reason = "two instructions draw, all others do not")]
fn drawn_term(op: TileOp) -> Option<Term> {
    match op {
        TileOp::Random { party, value: slot, .. }
        | TileOp::RandomBit { party, value: slot, .. } => Some(Term { party, slot }),
        _ => None,
    }
}

/// What is known about a register.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Sources that it depends on, as bits; missing words are zero.
    depends: Vec<u64>,
    hidden: Vec<Field>,
}

impl Known {
    fn from_source(source: usize) -> Self {
        let mut depends = vec![0; source / 64 + 1];
        depends[source / 64] = 1 << (source % 64);
        Self { depends, hidden: Vec::new() }
    }

    fn depends_on(&self, source: usize) -> bool {
        self.depends.get(source / 64).is_some_and(|word| word >> (source % 64) & 1 == 1)
    }

    /// Depends on all of `parts`; nothing hides it.
    fn mixed(parts: &[&Self]) -> Self {
        let len = parts.iter().map(|part| part.depends.len()).max().unwrap_or(0);
        let mut depends = vec![0; len];
        for part in parts {
            depends.iter_mut().zip(&part.depends).for_each(|(all, word)| *all |= word);
        }
        Self { depends, hidden: Vec::new() }
    }

    /// A sum, difference or exclusive or: what hides one hides the sum unless the other depends on it.
    fn sum(&self, other: &Self) -> Self {
        let mut sum = Self::mixed(&[self, other]);
        for (a, b) in [(self, other), (other, self)] {
            sum.hidden.extend(a.hidden.iter().filter(|field| !b.depends_on(field.source)));
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
    pub(super) draws: Vec<Term>,
    /// All operands that it depends on.
    pub(super) loads: Vec<u16>,
}

/// Follows a program; one entry per operand.
pub(super) fn written(
    program: &TileProgram,
    ring: Word,
    work: &mut Work,
) -> Result<Vec<Written>, Rule> {
    let sources = Sources::of(program);
    let cost = 4 + sources.words() as u64;
    let mut walk = Walk {
        sources,
        width: ring.bits(),
        words: vec![Known::default(); program.word_regs.into()],
        bits: vec![Known::default(); program.bit_regs.into()],
        written: vec![Written::default(); program.operands.len()],
    };
    for op in &program.ops {
        let fields = walk.step(program, *op);
        work.spend(cost + fields as u64)?;
    }
    Ok(walk.written)
}

struct Walk {
    sources: Sources,
    width: u8,
    words: Vec<Known>,
    bits: Vec<Known>,
    written: Vec<Written>,
}

impl Walk {
    fn drawn(&self, party: u8, slot: u16, bits: u8) -> Known {
        let term = Term { party, slot };
        let source = self.sources.term(term);
        let field = Field { term, drawn: bits, source, low: 0, bits };
        Known { hidden: vec![field], ..Known::from_source(source) }
    }

    fn loaded(&self, operand: u16) -> Known {
        Known::from_source(self.sources.operand(operand))
    }

    /// Follows one instruction; returns how many fields it wrote.
    fn step(&mut self, program: &TileProgram, op: TileOp) -> usize {
        let w = |r: crate::plan::WordReg| &self.words[usize::from(r.0)];
        let b = |r: crate::plan::BitReg| &self.bits[usize::from(r.0)];
        let (dst, known) = match op {
            TileOp::Load { dst, operand } | TileOp::Unpack { dst, operand } => {
                (Dst::Word(dst.0), self.loaded(operand))
            }
            TileOp::Const { dst, .. } => (Dst::Word(dst.0), Known::default()),
            TileOp::Random { dst, value, party, bits } => {
                (Dst::Word(dst.0), self.drawn(party, value, bits))
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
            TileOp::LoadBit { dst, operand } => (Dst::Bit(dst.0), self.loaded(operand)),
            TileOp::ConstBit { dst, .. } => (Dst::Bit(dst.0), Known::default()),
            TileOp::RandomBit { dst, value, party } => {
                (Dst::Bit(dst.0), self.drawn(party, value, 1))
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
                return self.write(program, operand, &known);
            }
            TileOp::StoreBit { src, operand } => {
                let known = b(src).clone();
                return self.write(program, operand, &known);
            }
        };
        let fields = known.hidden.len();
        match dst {
            Dst::Word(at) => self.words[usize::from(at)] = known,
            Dst::Bit(at) => self.bits[usize::from(at)] = known,
        }
        fields
    }

    fn write(&mut self, program: &TileProgram, operand: u16, known: &Known) -> usize {
        let at = usize::from(operand);
        let bits = match program.operands[at].kind {
            OperandKind::Packed { bits } => bits,
            OperandKind::Words | OperandKind::Table { .. } => self.width,
        };
        let fields = known.hidden.len();
        let terms = self.sources.terms.iter().copied().enumerate();
        let operands = 0..self.sources.operands as u16;
        let depends = |source| known.depends_on(source);
        self.written[at] = Written {
            draws: terms.filter(|(source, _)| depends(*source)).map(|(_, term)| term).collect(),
            loads: operands.filter(|&operand| depends(self.sources.operand(operand))).collect(),
            hidden_by: known.hidden.iter().copied().filter(|f| f.hides_low(bits)).collect(),
        };
        fields + self.sources.terms.len() + self.sources.operands
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
