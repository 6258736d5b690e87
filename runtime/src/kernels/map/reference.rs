//! Tests of `map` against one element at a time, by the definition of each instruction.

use super::*;
use crate::kernels::Cpu;
use crate::mask::Epoch;
use crate::share::Seed;
use mpcc_ir::plan::{BitReg, Operand, OperandKind, TileOp, WordReg};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};

const PARTIES: u8 = 2;

fn masks() -> Masks {
    (0..PARTIES).fold(Masks::new(PARTIES), |masks, party| {
        masks.with_party(party, &Seed::from_bytes([party + 1; 32]), Epoch::Run(5))
    })
}

/// Bits of element `e` of an operand.
fn width<W: RingWord>(kind: OperandKind) -> u64 {
    match kind {
        OperandKind::Words | OperandKind::Table { .. } => u64::from(W::BITS),
        OperandKind::Packed { bits } => u64::from(bits),
    }
}

fn get(bytes: &[u8], width: u64, e: u64) -> u64 {
    let bit = |i: u64| u64::from(bytes[(i / 8) as usize] >> (i % 8) & 1);
    (0..width).map(|i| bit(e * width + i) << i).sum()
}

fn put(bytes: &mut [u8], width: u64, e: u64, x: u64) {
    for i in 0..width {
        let at = e * width + i;
        let byte = &mut bytes[(at / 8) as usize];
        *byte = *byte & !(1 << (at % 8)) | ((x >> i & 1) as u8) << (at % 8);
    }
}

/// Runs the program on element `i` of the step alone.
fn element<W: RingWord>(
    program: &TileProgram,
    (first, i): (u64, u64),
    values: &[u32],
    masks: &Masks,
    operands: &mut [Vec<u8>],
) {
    let mut words = vec![W::ZERO; usize::from(program.word_regs)];
    let mut bits = vec![false; usize::from(program.bit_regs)];
    let kind = |operand: u16| program.operands[usize::from(operand)].kind;
    for &op in &program.ops {
        let w = |WordReg(r): WordReg| words[usize::from(r)];
        let b = |BitReg(r): BitReg| bits[usize::from(r)];
        let (mut new_word, mut new_bit) = (None, None);
        match op {
            TileOp::Load { dst, operand } => {
                let e = match kind(operand) {
                    OperandKind::Table { inner, len } => (first + i) / inner % len,
                    OperandKind::Words | OperandKind::Packed { .. } => i,
                };
                let x = get(&operands[usize::from(operand)], u64::from(W::BITS), e);
                new_word = Some((dst, W::from_u64(x)));
            }
            TileOp::Unpack { dst, operand } => {
                let x = get(&operands[usize::from(operand)], width::<W>(kind(operand)), i);
                new_word = Some((dst, W::from_u64(x)));
            }
            TileOp::Store { src, operand } | TileOp::Pack { src, operand } => {
                let x = w(src).to_u64();
                put(&mut operands[usize::from(operand)], width::<W>(kind(operand)), i, x);
            }
            TileOp::Random { dst, value, party, bits } => {
                let mut out = [W::ZERO];
                masks.fill_words(party, values[usize::from(value)], bits, first + i, &mut out);
                new_word = Some((dst, out[0]));
            }
            TileOp::Add { dst, a, b } => new_word = Some((dst, w(a).add(w(b)))),
            TileOp::Sub { dst, a, b } => new_word = Some((dst, w(a).sub(w(b)))),
            TileOp::Mul { dst, a, b } => new_word = Some((dst, w(a).mul(w(b)))),
            TileOp::AddConst { dst, a, by } => new_word = Some((dst, w(a).add(W::from_u64(by)))),
            TileOp::MulConst { dst, a, by } => new_word = Some((dst, w(a).mul(W::from_u64(by)))),
            TileOp::Neg { dst, a } => new_word = Some((dst, W::ZERO.sub(w(a)))),
            TileOp::ShiftLeft { dst, a, by } => {
                let x = w(a).to_u64().unbounded_shl(u32::from(by));
                new_word = Some((dst, W::from_u64(x)));
            }
            TileOp::ShiftRight { dst, a, by } => {
                let x = w(a).to_u64().unbounded_shr(u32::from(by));
                new_word = Some((dst, W::from_u64(x)));
            }
            TileOp::Low { dst, a, bits } => {
                let x = w(a).to_u64() & 1_u64.unbounded_shl(u32::from(bits)).wrapping_sub(1);
                new_word = Some((dst, W::from_u64(x)));
            }
            TileOp::Select { dst, bit, a } => {
                new_word = Some((dst, if b(bit) { w(a) } else { W::ZERO }));
            }
            TileOp::FromBit { dst, bit } => {
                new_word = Some((dst, W::from_u64(u64::from(b(bit)))));
            }
            TileOp::Const { dst, value } => new_word = Some((dst, W::from_u64(value))),
            TileOp::LoadBit { dst, operand } => {
                new_bit = Some((dst, get(&operands[usize::from(operand)], 1, i) == 1));
            }
            TileOp::StoreBit { src, operand } => {
                put(&mut operands[usize::from(operand)], 1, i, u64::from(b(src)));
            }
            TileOp::RandomBit { dst, value, party } => {
                let mut out = [0];
                masks.fill_bits(party, values[usize::from(value)], first + i, 1, &mut out);
                new_bit = Some((dst, out[0] == 1));
            }
            TileOp::BitAt { dst, a, index } => {
                new_bit = Some((dst, w(a).to_u64() >> index & 1 == 1));
            }
            TileOp::Xor { dst, a, b: c } => new_bit = Some((dst, b(a) ^ b(c))),
            TileOp::And { dst, a, b: c } => new_bit = Some((dst, b(a) & b(c))),
            TileOp::Not { dst, a } => new_bit = Some((dst, !b(a))),
            TileOp::AndXor { dst, a, b: c } => new_bit = Some((dst, b(dst) ^ (b(a) & b(c)))),
            TileOp::Mux { dst, bit, a, b: c } => {
                new_bit = Some((dst, if b(bit) { b(a) } else { b(c) }));
            }
            TileOp::ConstBit { dst, value } => new_bit = Some((dst, value)),
        }
        if let Some((WordReg(r), x)) = new_word {
            words[usize::from(r)] = x;
        }
        if let Some((BitReg(r), x)) = new_bit {
            bits[usize::from(r)] = x;
        }
    }
}

/// Builds programs that read every kind of operand, compute, and write every kind.
struct Generator {
    rng: Xoshiro256PlusPlus,
    program: TileProgram,
}

impl Generator {
    fn word(&mut self) -> WordReg {
        WordReg(self.rng.random_range(0..self.program.word_regs))
    }

    fn bit(&mut self) -> BitReg {
        BitReg(self.rng.random_range(0..self.program.bit_regs))
    }

    fn operand(&mut self, kind: OperandKind, write: bool) -> u16 {
        self.program.operands.push(Operand { kind, write });
        (self.program.operands.len() - 1) as u16
    }

    fn packed(&mut self) -> OperandKind {
        OperandKind::Packed { bits: self.rng.random_range(1..=64) }
    }

    /// Every register gets a value.
    fn inputs(&mut self) {
        for r in 0..self.program.word_regs {
            let dst = WordReg(r);
            let table = OperandKind::Table {
                inner: [1, 3, 64, 1000][self.rng.random_range(0..4)],
                len: self.rng.random_range(1..40),
            };
            let packed = self.packed();
            let value = self.rng.random_range(0..self.program.values);
            let op = match r % 4 {
                0 => TileOp::Load { dst, operand: self.operand(OperandKind::Words, false) },
                1 => TileOp::Load { dst, operand: self.operand(table, false) },
                2 => TileOp::Unpack { dst, operand: self.operand(packed, false) },
                _ => TileOp::Random { dst, value, party: 1, bits: self.rng.random_range(0..=64) },
            };
            self.program.ops.push(op);
        }
        for r in 0..self.program.bit_regs {
            let dst = BitReg(r);
            let value = self.rng.random_range(0..self.program.values);
            let op = if r % 2 == 0 {
                TileOp::RandomBit { dst, value, party: 0 }
            } else {
                let operand = self.operand(OperandKind::Packed { bits: 1 }, false);
                TileOp::LoadBit { dst, operand }
            };
            self.program.ops.push(op);
        }
    }

    fn compute(&mut self, word_bits: u32) -> TileOp {
        let [dst, a, b] = [self.word(), self.word(), self.word()];
        let [to, x, y, bit] = [self.bit(), self.bit(), self.bit(), self.bit()];
        let by = self.rng.next_u64();
        let small = self.rng.random_range(0..word_bits as u8);
        match self.rng.random_range(0..20) {
            0 => TileOp::Add { dst, a, b },
            1 => TileOp::Sub { dst, a, b },
            2 => TileOp::Mul { dst, a, b },
            3 => TileOp::AddConst { dst, a, by },
            4 => TileOp::MulConst { dst, a, by },
            5 => TileOp::Neg { dst, a },
            6 => TileOp::ShiftLeft { dst, a, by: small },
            7 => TileOp::ShiftRight { dst, a, by: small },
            8 => TileOp::Low { dst, a, bits: small + 1 },
            9 => TileOp::Select { dst, bit, a },
            10 => TileOp::FromBit { dst, bit },
            11 => TileOp::Const { dst, value: by },
            12 => TileOp::BitAt { dst: to, a, index: small },
            13 => TileOp::Xor { dst: to, a: x, b: y },
            14 => TileOp::And { dst: to, a: x, b: y },
            15 => TileOp::Not { dst: to, a: x },
            16 => TileOp::AndXor { dst: to, a: x, b: y },
            17 => TileOp::Mux { dst: to, bit, a: x, b: y },
            18 => TileOp::ConstBit { dst: to, value: by.is_multiple_of(2) },
            _ => TileOp::Select { dst: a, bit, a },
        }
    }

    fn outputs(&mut self) {
        for r in 0..self.program.word_regs {
            let src = WordReg(r);
            let op = if r % 2 == 0 {
                TileOp::Store { src, operand: self.operand(OperandKind::Words, true) }
            } else {
                let packed = self.packed();
                TileOp::Pack { src, operand: self.operand(packed, true) }
            };
            self.program.ops.push(op);
        }
        for r in 0..self.program.bit_regs {
            let operand = self.operand(OperandKind::Packed { bits: 1 }, true);
            self.program.ops.push(TileOp::StoreBit { src: BitReg(r), operand });
        }
    }

    fn generate<W: RingWord>(seed: u64) -> TileProgram {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let program = TileProgram {
            values: 3,
            word_regs: rng.random_range(1..9),
            bit_regs: rng.random_range(1..9),
            ..TileProgram::default()
        };
        let mut generator = Self { rng, program };
        generator.inputs();
        for _ in 0..generator.rng.random_range(0..60) {
            let op = generator.compute(W::BITS);
            generator.program.ops.push(op);
        }
        generator.outputs();
        generator.program
    }
}

fn buffers<W: RingWord>(program: &TileProgram, count: u64, seed: u64) -> Vec<Vec<u8>> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let bytes = |operand: &Operand| {
        let elements = match operand.kind {
            OperandKind::Table { len, .. } => len,
            OperandKind::Words | OperandKind::Packed { .. } => count,
        };
        let mut bytes = vec![0; (elements * width::<W>(operand.kind)).div_ceil(8) as usize];
        if !operand.write {
            rng.fill_bytes(&mut bytes);
        }
        bytes
    };
    program.operands.iter().map(bytes).collect()
}

/// The part of each buffer that holds the elements from `from` on.
fn bind<'a, W: RingWord>(
    program: &TileProgram,
    buffers: &'a mut [Vec<u8>],
    from: u64,
) -> Vec<Buffer<'a>> {
    let bind = |(buffer, operand): (&'a mut Vec<u8>, &Operand)| {
        let table = matches!(operand.kind, OperandKind::Table { .. });
        let skip = if table { 0 } else { from * width::<W>(operand.kind) / 8 };
        let bytes = &mut buffer[skip as usize..];
        if operand.write { Buffer::Write(bytes) } else { Buffer::Read(bytes) }
    };
    buffers.iter_mut().zip(&program.operands).map(bind).collect()
}

fn check<W: RingWord>(seed: u64, first: u64, count: u64) {
    let (program, masks) = (Generator::generate::<W>(seed), masks());
    let values = [seed as u32, 77, u32::MAX];
    let mut want = buffers::<W>(&program, count, seed);
    for i in 0..count {
        element::<W>(&program, (first, i), &values, &masks, &mut want);
    }
    for cpu in Cpu::ALL {
        let mut scratch = Scratch::with_cpu(cpu);
        let mut whole = buffers::<W>(&program, count, seed);
        let mut bound = bind::<W>(&program, &mut whole, 0);
        map::<W>(&program, first, count, &values, &masks, &mut bound, &mut scratch);
        assert!(whole == want, "seed {seed}, {count} from {first}, {cpu:?}: {:?}", program.ops);

        let mut pieces = buffers::<W>(&program, count, seed);
        let cut = count / 3 / 8 * 8;
        for (from, to) in [(cut, count), (0, cut)] {
            let mut bound = bind::<W>(&program, &mut pieces, from);
            map::<W>(&program, first + from, to - from, &values, &masks, &mut bound, &mut scratch);
            // A piece that does not end at the end pads its last byte, which is whole here.
        }
        assert!(pieces == want, "seed {seed}, {count} from {first} in two pieces, {cpu:?}");
    }
}

#[test]
fn random_programs_match_one_element_at_a_time() {
    let sizes = [0, 1, 7, 8, 63, 64, 65, 511, 513, 1000, 2047, 2048, 2049, 9000];
    for seed in 0..60 {
        let count = sizes[seed as usize % sizes.len()];
        let first = [0, 1, 64, 1000, 4096, 123_457][seed as usize % 6];
        check::<u32>(seed, first, count);
        check::<u64>(seed, first, count);
    }
}

#[test]
fn every_width_packs_and_unpacks() {
    for bits in 1..=64 {
        let kind = OperandKind::Packed { bits };
        let program = TileProgram {
            operands: vec![Operand { kind, write: false }, Operand { kind, write: true }],
            word_regs: 1,
            ops: vec![
                TileOp::Unpack { dst: WordReg(0), operand: 0 },
                TileOp::Pack { src: WordReg(0), operand: 1 },
            ],
            ..TileProgram::default()
        };
        for cpu in Cpu::ALL {
            for count in [1, 3, 8, 15, 16, 17, 31, 64, 100, 700] {
                let mut both = buffers::<u64>(&program, count, 3);
                let pad = (count * u64::from(bits)) % 8;
                if let (Some(last), 1..) = (both[0].last_mut(), pad) {
                    *last &= (1 << pad) - 1;
                }
                let mut bound = bind::<u64>(&program, &mut both, 0);
                let mut scratch = Scratch::with_cpu(cpu);
                map::<u64>(&program, 0, count, &[], &masks(), &mut bound, &mut scratch);
                assert!(both[0] == both[1], "{bits} bits, {count} elements, {cpu:?}");
            }
        }
    }
}
