//! The rules of an element-wise program: registers, operands and immediates in range.

use super::MAX_ELEMENTS;
use mpcc_ir::plan::{BitReg, Operand, OperandKind, Plan, TileOp, TileProgram, WordReg};

type Rule = &'static str;

/// Most registers of a kind: they live in cache.
const MAX_REGS: u16 = 4096;

pub(super) fn check(program: &TileProgram, plan: &Plan) -> Result<(), Rule> {
    let word = plan.word.bits();
    want(program.word_regs.max(program.bit_regs) <= MAX_REGS, "too many registers")?;
    for operand in &program.operands {
        match operand.kind {
            OperandKind::Words => {}
            OperandKind::Packed { bits } => {
                want((1..=word).contains(&bits), "packed elements have 1 bit to a word")?;
            }
            OperandKind::Table { inner, len } => {
                let range = 1..=MAX_ELEMENTS;
                want(range.contains(&inner) && range.contains(&len), "a table is not empty")?;
                want(!operand.write, "a table is read")?;
            }
        }
    }
    program.ops.iter().try_for_each(|op| Checker { program, plan }.op(op))
}

fn want(ok: bool, rule: Rule) -> Result<(), Rule> {
    if ok { Ok(()) } else { Err(rule) }
}

struct Checker<'a> {
    program: &'a TileProgram,
    plan: &'a Plan,
}

impl Checker<'_> {
    fn op(&self, op: &TileOp) -> Result<(), Rule> {
        let bits_of_word = self.plan.word.bits();
        match *op {
            TileOp::Load { dst, operand } => {
                let of = |o: &Operand| match o.kind {
                    OperandKind::Words | OperandKind::Table { .. } => !o.write,
                    OperandKind::Packed { .. } => false,
                };
                self.words(&[dst])?;
                self.operand(operand, of)
            }
            TileOp::Store { src, operand } => {
                self.words(&[src])?;
                self.operand(operand, |o| o.kind == OperandKind::Words && o.write)
            }
            TileOp::Unpack { dst, operand } => {
                self.words(&[dst])?;
                self.operand(operand, |o| packed(o).is_some() && !o.write)
            }
            TileOp::Pack { src, operand } => {
                self.words(&[src])?;
                self.operand(operand, |o| packed(o).is_some() && o.write)
            }
            TileOp::LoadBit { dst, operand } => {
                self.bits(&[dst])?;
                self.operand(operand, |o| packed(o) == Some(1) && !o.write)
            }
            TileOp::StoreBit { src, operand } => {
                self.bits(&[src])?;
                self.operand(operand, |o| packed(o) == Some(1) && o.write)
            }
            TileOp::Random { dst, value, party, bits } => {
                self.words(&[dst])?;
                want((1..=bits_of_word).contains(&bits), "a mask has 1 bit to a word")?;
                self.slot(value, party)
            }
            TileOp::RandomBit { dst, value, party } => {
                self.bits(&[dst])?;
                self.slot(value, party)
            }
            TileOp::Add { dst, a, b } | TileOp::Sub { dst, a, b } | TileOp::Mul { dst, a, b } => {
                self.words(&[dst, a, b])
            }
            TileOp::AddConst { dst, a, .. }
            | TileOp::MulConst { dst, a, .. }
            | TileOp::Neg { dst, a } => self.words(&[dst, a]),
            TileOp::ShiftLeft { dst, a, by } | TileOp::ShiftRight { dst, a, by } => {
                want(by < bits_of_word, "a shift is shorter than a word")?;
                self.words(&[dst, a])
            }
            TileOp::Low { dst, a, bits } => {
                want((1..=bits_of_word).contains(&bits), "1 bit to a word is kept")?;
                self.words(&[dst, a])
            }
            TileOp::Select { dst, bit, a } => {
                self.words(&[dst, a])?;
                self.bits(&[bit])
            }
            TileOp::FromBit { dst, bit } => {
                self.words(&[dst])?;
                self.bits(&[bit])
            }
            TileOp::Const { dst, .. } => self.words(&[dst]),
            TileOp::BitAt { dst, a, index } => {
                want(index < bits_of_word, "a bit's index is inside the word")?;
                self.bits(&[dst])?;
                self.words(&[a])
            }
            TileOp::Xor { dst, a, b }
            | TileOp::And { dst, a, b }
            | TileOp::AndXor { dst, a, b } => self.bits(&[dst, a, b]),
            TileOp::Not { dst, a } => self.bits(&[dst, a]),
            TileOp::Mux { dst, bit, a, b } => self.bits(&[dst, bit, a, b]),
            TileOp::ConstBit { dst, .. } => self.bits(&[dst]),
        }
    }

    fn words(&self, regs: &[WordReg]) -> Result<(), Rule> {
        want(regs.iter().all(|r| r.0 < self.program.word_regs), "no such word register")
    }

    fn bits(&self, regs: &[BitReg]) -> Result<(), Rule> {
        want(regs.iter().all(|r| r.0 < self.program.bit_regs), "no such bit register")
    }

    fn operand(&self, at: u16, of: impl Fn(&Operand) -> bool) -> Result<(), Rule> {
        let operand = self.program.operands.get(usize::from(at)).ok_or("no such operand")?;
        want(of(operand), "an instruction does not fit its operand's layout")
    }

    fn slot(&self, value: u16, party: u8) -> Result<(), Rule> {
        want(value < self.program.values, "no such value slot")?;
        want(party < self.plan.parties, "no such party")
    }
}

fn packed(operand: &Operand) -> Option<u8> {
    match operand.kind {
        OperandKind::Packed { bits } => Some(bits),
        OperandKind::Words | OperandKind::Table { .. } => None,
    }
}
