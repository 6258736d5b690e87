//! Register allocation for tile programs: straight-line code, so a linear scan is exact.

use mpcc_ir::plan::{BitReg, TileOp, WordReg};

/// The registers of one instruction, for rewriting: `(register, whether it is written)`.
#[derive(Default)]
struct Registers<'a> {
    words: Vec<(&'a mut WordReg, bool)>,
    bits: Vec<(&'a mut BitReg, bool)>,
}

fn registers(op: &mut TileOp) -> Registers<'_> {
    use TileOp as T;
    let (words, bits) = match op {
        T::Load { dst, .. }
        | T::Unpack { dst, .. }
        | T::Random { dst, .. }
        | T::Const { dst, .. } => (vec![(dst, true)], vec![]),
        T::Store { src, .. } | T::Pack { src, .. } => (vec![(src, false)], vec![]),
        T::Add { dst, a, b } | T::Sub { dst, a, b } | T::Mul { dst, a, b } => {
            (vec![(a, false), (b, false), (dst, true)], vec![])
        }
        T::AddConst { dst, a, .. }
        | T::MulConst { dst, a, .. }
        | T::Neg { dst, a }
        | T::ShiftLeft { dst, a, .. }
        | T::ShiftRight { dst, a, .. }
        | T::Low { dst, a, .. } => (vec![(a, false), (dst, true)], vec![]),
        T::Select { dst, bit, a } => (vec![(a, false), (dst, true)], vec![(bit, false)]),
        T::FromBit { dst, bit } => (vec![(dst, true)], vec![(bit, false)]),
        T::BitAt { dst, a, .. } => (vec![(a, false)], vec![(dst, true)]),
        T::LoadBit { dst, .. } | T::RandomBit { dst, .. } | T::ConstBit { dst, .. } => {
            (vec![], vec![(dst, true)])
        }
        T::StoreBit { src, .. } => (vec![], vec![(src, false)]),
        T::Xor { dst, a, b } | T::And { dst, a, b } => {
            (vec![], vec![(a, false), (b, false), (dst, true)])
        }
        T::Not { dst, a } => (vec![], vec![(a, false), (dst, true)]),
        T::Mux { dst, bit, a, b } => {
            (vec![], vec![(bit, false), (a, false), (b, false), (dst, true)])
        }
        // The scheduler does not emit it: its destination is also read.
        T::AndXor { dst, a, b } => (vec![], vec![(a, false), (b, false), (dst, false)]),
    };
    Registers { words, bits }
}

/// Maps virtual registers, each written once, to as few real ones as are alive at a time.
/// Returns how many word and bit registers that takes.
pub(super) fn allocate(ops: &mut [TileOp]) -> (u16, u16) {
    let mut words = File::default();
    let mut bits = File::default();
    for (at, op) in ops.iter_mut().enumerate() {
        let found = registers(op);
        found.words.iter().for_each(|(r, _)| words.note(r.0, at));
        found.bits.iter().for_each(|(r, _)| bits.note(r.0, at));
    }
    for (at, op) in ops.iter_mut().enumerate() {
        let found = registers(op);
        for (r, write) in found.words {
            r.0 = words.rename(r.0, write);
        }
        for (r, write) in found.bits {
            r.0 = bits.rename(r.0, write);
        }
        words.release(at);
        bits.release(at);
    }
    (words.used, bits.used)
}

/// One kind of registers.
#[derive(Default)]
struct File {
    /// Last instruction that touches each virtual register.
    last: Vec<usize>,
    real: Vec<u16>,
    /// Virtual registers alive now.
    alive: Vec<u16>,
    free: Vec<u16>,
    used: u16,
}

impl File {
    fn note(&mut self, register: u16, at: usize) {
        let needed = usize::from(register) + 1;
        if self.last.len() < needed {
            self.last.resize(needed, 0);
            self.real.resize(needed, u16::MAX);
        }
        self.last[usize::from(register)] = at;
    }

    fn rename(&mut self, register: u16, write: bool) -> u16 {
        if write {
            let real = self.free.pop().unwrap_or_else(|| {
                self.used += 1;
                self.used - 1
            });
            self.real[usize::from(register)] = real;
            self.alive.push(register);
        }
        self.real[usize::from(register)]
    }

    fn release(&mut self, at: usize) {
        let (last, real, free) = (&self.last, &self.real, &mut self.free);
        self.alive.retain(|&register| {
            let keeps = last[usize::from(register)] > at;
            if !keeps {
                free.push(real[usize::from(register)]);
            }
            keeps
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_reused_after_their_last_use() {
        let w = WordReg;
        let mut ops = vec![
            TileOp::Const { dst: w(0), value: 1 },
            TileOp::Neg { dst: w(1), a: w(0) },
            TileOp::Const { dst: w(2), value: 3 },
            TileOp::Add { dst: w(3), a: w(1), b: w(2) },
            TileOp::Store { src: w(3), operand: 0 },
        ];
        assert_eq!(allocate(&mut ops), (3, 0));
        assert_eq!(ops[2], TileOp::Const { dst: w(0), value: 3 });
    }
}
