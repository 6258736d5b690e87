//! Element-wise programs: registers, operands and immediates are in range, registers are written
//! before they are read, and every written operand is written once.

use super::{Check, Place, PlanError, Rule};
use crate::plan::{OperandKind, Plan, TileOp, TileProgram};

/// Registers and slots that a program may have: a register is a tile of memory at run time.
const MAX_REGISTERS: u16 = 4096;

pub(super) fn check(plan: &Plan) -> Check {
    for (program, code) in plan.programs.iter().enumerate() {
        let mut checker = Checker::new(plan, code);
        let at_program = |rule| PlanError { place: Place::Program(program), rule };
        checker.header().map_err(at_program)?;
        for (at, op) in code.ops.iter().enumerate() {
            let place = Place::Instruction { program, at };
            checker.instruction(*op).map_err(|rule| PlanError { place, rule })?;
        }
        checker.end().map_err(at_program)?;
    }
    Ok(())
}

/// A register of either kind.
#[derive(Clone, Copy)]
enum Reg {
    Word(u16),
    Bit(u16),
}

struct Checker<'a> {
    code: &'a TileProgram,
    width: u8,
    parties: u8,
    words: Vec<bool>,
    bits: Vec<bool>,
    writes: Vec<usize>,
}

impl<'a> Checker<'a> {
    fn new(plan: &Plan, code: &'a TileProgram) -> Self {
        Self {
            code,
            width: plan.word.bits(),
            parties: plan.parties,
            words: vec![false; code.word_regs.into()],
            bits: vec![false; code.bit_regs.into()],
            writes: vec![0; code.operands.len()],
        }
    }

    fn header(&self) -> Result<(), Rule> {
        let registers = self.code.word_regs.max(self.code.bit_regs);
        range("number of registers", registers.into(), 0, MAX_REGISTERS.into())?;
        range("number of operands", self.code.operands.len() as u64, 0, u16::MAX.into())?;
        for operand in &self.code.operands {
            match operand.kind {
                OperandKind::Words => {}
                OperandKind::Packed { bits } => self.width("width", bits)?,
                OperandKind::Table { inner, len } => {
                    range("repetition", inner, 1, super::MAX_SIZE)?;
                    range("table length", len, 1, super::MAX_SIZE)?;
                }
            }
        }
        Ok(())
    }

    fn instruction(&mut self, op: TileOp) -> Result<(), Rule> {
        self.immediates(op)?;
        self.operand(op)?;
        let (reads, write) = registers(op);
        for reg in reads.into_iter().flatten() {
            let (register, written) = self.slot(reg)?;
            if !*written {
                return Err(Rule::RegisterUnwritten { register });
            }
        }
        if let Some(reg) = write {
            *self.slot(reg)?.1 = true;
        }
        Ok(())
    }

    fn slot(&mut self, reg: Reg) -> Result<(u16, &mut bool), Rule> {
        let (register, file) = match reg {
            Reg::Word(register) => (register, &mut self.words),
            Reg::Bit(register) => (register, &mut self.bits),
        };
        let written = file.get_mut(usize::from(register)).ok_or(Rule::Register { register })?;
        Ok((register, written))
    }

    fn immediates(&self, op: TileOp) -> Result<(), Rule> {
        let below_width = |what, value: u8| range(what, value.into(), 0, u64::from(self.width) - 1);
        match op {
            TileOp::Random { value, party, bits, .. } => {
                self.width("width", bits)?;
                self.random(value, party)
            }
            TileOp::RandomBit { value, party, .. } => self.random(value, party),
            TileOp::ShiftLeft { by, .. } | TileOp::ShiftRight { by, .. } => {
                below_width("shift", by)
            }
            TileOp::Low { bits, .. } => self.width("width", bits),
            TileOp::BitAt { index, .. } => below_width("bit", index),
            TileOp::Load { .. }
            | TileOp::Store { .. }
            | TileOp::Unpack { .. }
            | TileOp::Pack { .. }
            | TileOp::Add { .. }
            | TileOp::Sub { .. }
            | TileOp::Mul { .. }
            | TileOp::AddConst { .. }
            | TileOp::MulConst { .. }
            | TileOp::Neg { .. }
            | TileOp::Select { .. }
            | TileOp::FromBit { .. }
            | TileOp::Const { .. }
            | TileOp::LoadBit { .. }
            | TileOp::StoreBit { .. }
            | TileOp::Xor { .. }
            | TileOp::And { .. }
            | TileOp::Not { .. }
            | TileOp::AndXor { .. }
            | TileOp::Mux { .. }
            | TileOp::ConstBit { .. } => Ok(()),
        }
    }

    fn random(&self, value: u16, party: u8) -> Result<(), Rule> {
        if value >= self.code.values {
            return Err(Rule::Immediate { what: "value slot", value: value.into() });
        }
        range("party", party.into(), 0, u64::from(self.parties) - 1)
    }

    fn width(&self, what: &'static str, bits: u8) -> Result<(), Rule> {
        range(what, bits.into(), 1, self.width.into())
    }

    fn operand(&mut self, op: TileOp) -> Result<(), Rule> {
        let (operand, write, layout): (u16, bool, fn(OperandKind) -> bool) = match op {
            TileOp::Load { operand, .. } => {
                (operand, false, |k| !matches!(k, OperandKind::Packed { .. }))
            }
            TileOp::Store { operand, .. } => (operand, true, |k| k == OperandKind::Words),
            TileOp::Unpack { operand, .. } => {
                (operand, false, |k| matches!(k, OperandKind::Packed { .. }))
            }
            TileOp::Pack { operand, .. } => {
                (operand, true, |k| matches!(k, OperandKind::Packed { .. }))
            }
            TileOp::LoadBit { operand, .. } => (operand, false, |k| k == ONE_BIT),
            TileOp::StoreBit { operand, .. } => (operand, true, |k| k == ONE_BIT),
            TileOp::Random { .. }
            | TileOp::Add { .. }
            | TileOp::Sub { .. }
            | TileOp::Mul { .. }
            | TileOp::AddConst { .. }
            | TileOp::MulConst { .. }
            | TileOp::Neg { .. }
            | TileOp::ShiftLeft { .. }
            | TileOp::ShiftRight { .. }
            | TileOp::Low { .. }
            | TileOp::Select { .. }
            | TileOp::FromBit { .. }
            | TileOp::Const { .. }
            | TileOp::RandomBit { .. }
            | TileOp::BitAt { .. }
            | TileOp::Xor { .. }
            | TileOp::And { .. }
            | TileOp::Not { .. }
            | TileOp::AndXor { .. }
            | TileOp::Mux { .. }
            | TileOp::ConstBit { .. } => return Ok(()),
        };
        match self.code.operands.get(usize::from(operand)) {
            Some(found) if found.write == write && layout(found.kind) => {
                self.writes[usize::from(operand)] += usize::from(write);
                Ok(())
            }
            _ => Err(Rule::Operand { operand }),
        }
    }

    fn end(&self) -> Result<(), Rule> {
        for (operand, (found, &times)) in self.code.operands.iter().zip(&self.writes).enumerate() {
            if found.write && times != 1 {
                return Err(Rule::OperandWrites { operand: operand as u16, times });
            }
        }
        Ok(())
    }
}

const ONE_BIT: OperandKind = OperandKind::Packed { bits: 1 };

fn range(what: &'static str, value: u64, lo: u64, hi: u64) -> Result<(), Rule> {
    if (lo..=hi).contains(&value) { Ok(()) } else { Err(Rule::Immediate { what, value }) }
}

/// The registers that an instruction reads, and the one that it writes.
fn registers(op: TileOp) -> ([Option<Reg>; 3], Option<Reg>) {
    let word = |r: crate::plan::WordReg| Some(Reg::Word(r.0));
    let bit = |r: crate::plan::BitReg| Some(Reg::Bit(r.0));
    match op {
        TileOp::Load { dst, .. }
        | TileOp::Unpack { dst, .. }
        | TileOp::Random { dst, .. }
        | TileOp::Const { dst, .. } => ([None; 3], word(dst)),
        TileOp::Store { src, .. } | TileOp::Pack { src, .. } => ([word(src), None, None], None),
        TileOp::Add { dst, a, b } | TileOp::Sub { dst, a, b } | TileOp::Mul { dst, a, b } => {
            ([word(a), word(b), None], word(dst))
        }
        TileOp::AddConst { dst, a, .. }
        | TileOp::MulConst { dst, a, .. }
        | TileOp::Neg { dst, a }
        | TileOp::ShiftLeft { dst, a, .. }
        | TileOp::ShiftRight { dst, a, .. }
        | TileOp::Low { dst, a, .. } => ([word(a), None, None], word(dst)),
        TileOp::Select { dst, bit: b, a } => ([bit(b), word(a), None], word(dst)),
        TileOp::FromBit { dst, bit: b } => ([bit(b), None, None], word(dst)),
        TileOp::LoadBit { dst, .. }
        | TileOp::RandomBit { dst, .. }
        | TileOp::ConstBit { dst, .. } => ([None; 3], bit(dst)),
        TileOp::StoreBit { src, .. } => ([bit(src), None, None], None),
        TileOp::BitAt { dst, a, .. } => ([word(a), None, None], bit(dst)),
        TileOp::Xor { dst, a, b } | TileOp::And { dst, a, b } => ([bit(a), bit(b), None], bit(dst)),
        TileOp::Not { dst, a } => ([bit(a), None, None], bit(dst)),
        TileOp::AndXor { dst, a, b } => ([bit(dst), bit(a), bit(b)], bit(dst)),
        TileOp::Mux { dst, bit: c, a, b } => ([bit(c), bit(a), bit(b)], bit(dst)),
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::verify::testing::broken;
    use insta::assert_snapshot;

    #[test]
    fn registers_are_written_first() {
        assert_snapshot!(broken(&[("program 6: values 0 word_regs 2", "program 6: values 0 word_regs 1")]), @"program 6, instruction 1: register 1 does not exist");
        assert_snapshot!(broken(&[("    unpack dst w2 operand 2\n", "")]), @"program 4, instruction 6: register 2 is read before it is written");
    }

    #[test]
    fn operands_are_written_once() {
        assert_snapshot!(broken(&[("    pack src w0 operand 1\n", "")]), @"program 0: operand 1 is written 0 times, not once");
        assert_snapshot!(broken(&[("unpack dst w2 operand 2", "load dst w2 operand 2")]), @"program 4, instruction 6: operand 2 does not exist or has another layout or direction");
    }

    #[test]
    fn immediates_are_in_range() {
        assert_snapshot!(broken(&[("program 1: values 1", "program 1: values 0")]), @"program 1, instruction 0: value slot of 0 is out of range");
        assert_snapshot!(broken(&[("value 2 party 0 bits 25", "value 2 party 2 bits 25")]), @"program 4, instruction 10: party of 2 is out of range");
        assert_snapshot!(broken(&[("value 2 party 0 bits 25", "value 2 party 0 bits 33")]), @"program 4, instruction 10: width of 33 is out of range");
        assert_snapshot!(broken(&[("mul dst w1 a w1 b w2", "shl dst w1 a w1 by 32")]), @"program 4, instruction 7: shift of 32 is out of range");
    }
}
