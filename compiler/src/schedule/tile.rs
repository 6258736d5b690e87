//! A segment as a tile program: the backward slice from what it stores and sends.

use super::fuse::{Fused, Segment, repeat};
use super::groups::{Payload, Traffic, ring_bits};
use super::project::{Val, Work};
use super::registers;
use mpcc_ir::plan::{BitReg, Operand, OperandKind, Role, TileOp, TileProgram, Word, WordReg};
use mpcc_ir::views::{Elem, Op};
use std::collections::BTreeMap;

/// All tile programs of a plan; equal ones are stored once.
#[derive(Default)]
pub(super) struct Programs {
    numbers: BTreeMap<TileProgram, u32>,
}

impl Programs {
    fn number(&mut self, program: TileProgram) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(program).or_insert(next)
    }

    pub(super) fn into_list(self) -> Vec<TileProgram> {
        let mut list: Vec<(u32, TileProgram)> =
            self.numbers.into_iter().map(|(program, number)| (number, program)).collect();
        list.sort_unstable_by_key(|(number, _)| *number);
        list.into_iter().map(|(_, program)| program).collect()
    }
}

/// What an operand of a program stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The buffer of a value.
    Words(Val),
    /// The buffer of a value that repeats.
    Table(Val),
    /// A member of the role's own message.
    Own(Payload, usize),
    /// A member of a message received from a role.
    Received(Payload, usize, Role),
}

/// A segment's program with what its operands and value slots stand for.
pub(super) struct Bound {
    pub(super) program: u32,
    pub(super) sources: Vec<Source>,
    /// Whether the program writes each source.
    pub(super) writes: Vec<bool>,
    pub(super) values: Vec<u32>,
}

/// Writes the program of a segment.
pub(super) fn bind(
    fused: &Fused,
    segment: &Segment,
    traffic: &Traffic,
    word: Word,
    programs: &mut Programs,
) -> Bound {
    let mut writer = Writer {
        fused,
        segment,
        traffic,
        word,
        ops: Vec::new(),
        sources: Vec::new(),
        operands: Vec::new(),
        values: Vec::new(),
        words: BTreeMap::new(),
        bits: BTreeMap::new(),
        clean: Vec::new(),
        bit_count: 0,
    };
    writer.stores();
    writer.sinks();
    let Writer { mut ops, sources, operands, values, .. } = writer;
    let (word_regs, bit_regs) = registers::allocate(&mut ops);
    let writes = operands.iter().map(|o| o.write).collect();
    let program = TileProgram { operands, values: values.len() as u16, word_regs, bit_regs, ops };
    Bound { program: programs.number(program), sources, writes, values }
}

struct Writer<'a> {
    fused: &'a Fused,
    segment: &'a Segment,
    traffic: &'a Traffic,
    word: Word,
    ops: Vec<TileOp>,
    sources: Vec<Source>,
    operands: Vec<Operand>,
    values: Vec<u32>,
    words: BTreeMap<Val, WordReg>,
    bits: BTreeMap<Val, BitReg>,
    /// Per word register: a bound on the bits that may be set.
    clean: Vec<u8>,
    bit_count: u16,
}

impl Writer<'_> {
    fn stores(&mut self) {
        for v in &self.segment.stores {
            let src = self.word(*v);
            let operand = self.operand(Source::Words(*v), OperandKind::Words, true);
            self.ops.push(TileOp::Store { src, operand });
        }
    }

    fn sinks(&mut self) {
        for sink in &self.segment.sinks {
            let bits = self.traffic.groups[&sink.payload].bits[sink.member];
            let source = Source::Own(sink.payload, sink.member);
            // What the verifier must see as a mask is drawn where it is sent.
            if matches!(sink.payload, Payload::InputMask(_) | Payload::WeightMask(_)) {
                let mask = self.fused.resolve(sink.value);
                let drawn = self.derive_word(mask);
                self.words.insert(mask, drawn);
            }
            if self.fused.values[sink.value].elem == Elem::Bit {
                let src = self.bit(sink.value);
                let operand = self.operand(source, OperandKind::Packed { bits }, true);
                self.ops.push(TileOp::StoreBit { src, operand });
            } else {
                let src = self.word(sink.value);
                let operand = self.operand(source, OperandKind::Packed { bits }, true);
                self.ops.push(TileOp::Pack { src, operand });
            }
        }
    }

    fn operand(&mut self, source: Source, kind: OperandKind, write: bool) -> u16 {
        let known = self.sources.iter().position(|s| *s == source);
        let at = known.unwrap_or_else(|| {
            self.sources.push(source);
            self.operands.push(Operand { kind, write });
            self.sources.len() - 1
        });
        at as u16
    }

    fn slot(&mut self, value: u32) -> u16 {
        let known = self.values.iter().position(|v| *v == value);
        let at = known.unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        });
        at as u16
    }

    /// A new word register whose values have at most `clean` bits.
    fn new_word(&mut self, clean: u8) -> WordReg {
        self.clean.push(clean.min(self.word.bits()));
        WordReg(self.clean.len() as u16 - 1)
    }

    fn new_bit(&mut self) -> BitReg {
        self.bit_count += 1;
        BitReg(self.bit_count - 1)
    }

    /// Emits an instruction with a new word register.
    fn to_word(&mut self, clean: u8, op: impl FnOnce(WordReg) -> TileOp) -> WordReg {
        let dst = self.new_word(clean);
        self.ops.push(op(dst));
        dst
    }

    /// Emits an instruction with a new bit register.
    fn to_bit(&mut self, op: impl FnOnce(BitReg) -> TileOp) -> BitReg {
        let dst = self.new_bit();
        self.ops.push(op(dst));
        dst
    }

    /// Whether a value is read from its buffer here rather than computed.
    fn is_loaded(&self, v: Val) -> bool {
        let value = &self.fused.values[v];
        let own = self.segment.stores.contains(&v);
        // A mask of this run is cheaper to derive again than to keep; one of the deployment is not
        // derivable in a run.
        let derived = matches!(value.work, Work::Const(_))
            || matches!(value.work, Work::Random { .. }) && !self.crosses_setup(v);
        self.fused.buffered[v] && !own && !derived
    }

    fn crosses_setup(&self, v: Val) -> bool {
        use mpcc_ir::plan::Phase;
        let phase = |v: &Val| self.fused.values[*v].phase;
        let sink_phase =
            self.segment.sinks.iter().map(|s| self.traffic.phase(s.payload, self.fused.role));
        let here = self.segment.stores.iter().map(phase).chain(sink_phase).max();
        phase(&v) == Phase::Setup && here != Some(Phase::Setup)
    }

    /// The register that holds a ring value.
    fn word(&mut self, v: Val) -> WordReg {
        let v = self.fused.resolve(v);
        if let Some(known) = self.words.get(&v) {
            return *known;
        }
        let register = self.compute_word(v);
        self.words.insert(v, register);
        register
    }

    fn compute_word(&mut self, v: Val) -> WordReg {
        if self.is_loaded(v) {
            let operand = self.operand(Source::Words(v), OperandKind::Words, false);
            return self.to_word(64, |dst| TileOp::Load { dst, operand });
        }
        self.derive_word(v)
    }

    /// Computes a ring value although it may have a buffer.
    fn derive_word(&mut self, v: Val) -> WordReg {
        let value = &self.fused.values[v];
        let ring = ring_bits(value.elem).unwrap_or(self.word.bits());
        match value.work.clone() {
            Work::Const(value) => {
                let value = value & (u64::MAX >> (64 - self.word.bits()));
                let bits = (64 - value.leading_zeros()) as u8;
                self.to_word(bits, |dst| TileOp::Const { dst, value })
            }
            Work::Random { value, party, zeros } => {
                let (value, bits) = (self.slot(value), ring - zeros);
                let low = self.to_word(bits, |dst| TileOp::Random { dst, value, party, bits });
                self.shift_left(low, zeros)
            }
            Work::Received { payload, member, from, zeros } => {
                let source = Source::Received(payload, member, from);
                let low = self.unpack(source, payload, member);
                self.shift_left(low, zeros)
            }
            Work::Own { payload, member } => {
                self.unpack(Source::Own(payload, member), payload, member)
            }
            Work::Map(op) => self.map_word(v, &op),
            Work::Param(_) | Work::Bulk(_) => {
                unreachable!("parameters and bulk results are loaded")
            }
        }
    }

    fn unpack(&mut self, source: Source, payload: Payload, member: usize) -> WordReg {
        let bits = self.traffic.groups[&payload].bits[member];
        let operand = self.operand(source, OperandKind::Packed { bits }, false);
        self.to_word(bits, |dst| TileOp::Unpack { dst, operand })
    }

    fn shift_left(&mut self, a: WordReg, by: u8) -> WordReg {
        if by == 0 {
            return a;
        }
        let clean = self.clean[usize::from(a.0)].saturating_add(by);
        self.to_word(clean, |dst| TileOp::ShiftLeft { dst, a, by })
    }

    /// The value with every bit above its ring cleared.
    fn clean_word(&mut self, v: Val) -> WordReg {
        // The ring is that of `v` itself: a narrowing resolves to a wider value.
        let bits = ring_bits(self.fused.values[v].elem).unwrap_or(self.word.bits());
        let a = self.word(v);
        if self.clean[usize::from(a.0)] <= bits {
            return a;
        }
        self.to_word(bits, |dst| TileOp::Low { dst, a, bits })
    }

    fn map_word(&mut self, v: Val, op: &Op) -> WordReg {
        let args = self.fused.values[v].args.clone();
        let mask = u64::MAX >> (64 - self.word.bits());
        match op {
            Op::Add => {
                let (a, b) = (self.word(args[0]), self.word(args[1]));
                self.to_word(64, |dst| TileOp::Add { dst, a, b })
            }
            Op::Sub => {
                let (a, b) = (self.word(args[0]), self.word(args[1]));
                self.to_word(64, |dst| TileOp::Sub { dst, a, b })
            }
            Op::Mul => {
                let (a, b) = (self.word(args[0]), self.word(args[1]));
                self.to_word(64, |dst| TileOp::Mul { dst, a, b })
            }
            Op::Neg => {
                let a = self.word(args[0]);
                self.to_word(64, |dst| TileOp::Neg { dst, a })
            }
            Op::AddConst { by } => {
                let (a, by) = (self.word(args[0]), by & mask);
                self.to_word(64, |dst| TileOp::AddConst { dst, a, by })
            }
            Op::MulConst { by } => {
                let (a, by) = (self.word(args[0]), by & mask);
                self.to_word(64, |dst| TileOp::MulConst { dst, a, by })
            }
            Op::ShiftLeft { by } => {
                let a = self.word(args[0]);
                self.shift_left(a, *by)
            }
            Op::ShiftRight { by } => {
                let (a, by) = (self.clean_word(args[0]), *by);
                let clean = self.clean[usize::from(a.0)].saturating_sub(by);
                if by == 0 {
                    a
                } else {
                    self.to_word(clean, |dst| TileOp::ShiftRight { dst, a, by })
                }
            }
            Op::Extend => self.clean_word(args[0]),
            Op::FromBit => {
                let bit = self.bit(args[0]);
                self.to_word(1, |dst| TileOp::FromBit { dst, bit })
            }
            Op::Select => {
                let (bit, a) = (self.bit(args[0]), self.word(args[1]));
                let clean = self.clean[usize::from(a.0)];
                self.to_word(clean, |dst| TileOp::Select { dst, bit, a })
            }
            Op::Expand => {
                let from = &self.fused.values[args[0]].shape;
                let (inner, len) =
                    repeat(from, &self.fused.values[v].shape).expect("checked when fused");
                let table = self.fused.resolve(args[0]);
                let kind = OperandKind::Table { inner, len };
                let operand = self.operand(Source::Table(table), kind, false);
                self.to_word(64, |dst| TileOp::Load { dst, operand })
            }
            other => unreachable!("`{other:?}` does not give words in a tile program"),
        }
    }

    /// The register that holds a bit value.
    fn bit(&mut self, v: Val) -> BitReg {
        let v = self.fused.resolve(v);
        if let Some(known) = self.bits.get(&v) {
            return *known;
        }
        let register = self.compute_bit(v);
        self.bits.insert(v, register);
        register
    }

    fn compute_bit(&mut self, v: Val) -> BitReg {
        let bit_plane = OperandKind::Packed { bits: 1 };
        match self.fused.values[v].work.clone() {
            Work::Const(value) => {
                self.to_bit(|dst| TileOp::ConstBit { dst, value: value & 1 == 1 })
            }
            Work::Random { value, party, .. } => {
                let value = self.slot(value);
                self.to_bit(|dst| TileOp::RandomBit { dst, value, party })
            }
            Work::Received { payload, member, from, .. } => {
                let operand =
                    self.operand(Source::Received(payload, member, from), bit_plane, false);
                self.to_bit(|dst| TileOp::LoadBit { dst, operand })
            }
            Work::Own { payload, member } => {
                let operand = self.operand(Source::Own(payload, member), bit_plane, false);
                self.to_bit(|dst| TileOp::LoadBit { dst, operand })
            }
            Work::Map(op) => self.map_bit(v, &op),
            Work::Param(_) | Work::Bulk(_) => unreachable!("bits are not moved or loaded"),
        }
    }

    fn map_bit(&mut self, v: Val, op: &Op) -> BitReg {
        let args = self.fused.values[v].args.clone();
        match op {
            Op::Add | Op::Sub => {
                let (a, b) = (self.bit(args[0]), self.bit(args[1]));
                self.to_bit(|dst| TileOp::Xor { dst, a, b })
            }
            Op::Mul => {
                let (a, b) = (self.bit(args[0]), self.bit(args[1]));
                self.to_bit(|dst| TileOp::And { dst, a, b })
            }
            // Modulo two a bit is its own negative.
            Op::Neg => self.bit(args[0]),
            Op::Not => {
                let a = self.bit(args[0]);
                self.to_bit(|dst| TileOp::Not { dst, a })
            }
            Op::Mux => {
                let (bit, a, b) = (self.bit(args[0]), self.bit(args[1]), self.bit(args[2]));
                self.to_bit(|dst| TileOp::Mux { dst, bit, a, b })
            }
            Op::BitAt { index } => {
                let (a, index) = (self.word(args[0]), *index);
                self.to_bit(|dst| TileOp::BitAt { dst, a, index })
            }
            other => unreachable!("`{other:?}` does not give bits in a tile program"),
        }
    }
}
