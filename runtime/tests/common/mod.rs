//! Small plans made by hand: what the compiler emits, in miniature.
#![allow(dead_code, reason = "each test binary uses a part")]

use mpcc_ir::Shape;
use mpcc_ir::plan::{
    InputPort, Layer, Message, MessageKind, Operand, OperandKind, OutputPort, ParamInfo, Phase,
    Plan, Region, Role, RolePlan, Span, Step, StepOp, TileOp, TileProgram, WeightsMode, Word,
    WordReg,
};
use mpcc_ir::weights::Weights;
use std::sync::Arc;

/// Bits of the opened and revealed value.
pub(crate) const OUT_BITS: u8 = 20;
/// Fractional bits of input and output.
pub(crate) const FRAC: i16 = 4;
/// Elements per chunk: a multiple of 512, so that packed chunks start at multiples of 64 bytes.
const CHUNK: u64 = 512;

/// Addresses of mask values.
const L_X: u32 = 0;
const L_S: u32 = 1;
const CROSS: u32 = 2;
const R: u32 = 3;

/// `y = x * s` for a secret tensor `s` of an outside owner: setup, a correction, one opening, a reveal.
#[expect(clippy::too_many_lines, reason = "one plan, from top to bottom")]
pub(crate) fn product_plan(parties: u8, word: Word, n: u64) -> Plan {
    use MessageKind::{Correction, Input, Mask, Reveal, Weight};
    use Phase::{Offline, Online, Setup};
    let mut b = Builder::new(parties, word, WeightsMode::Owner);
    let word_bytes = n * word.bytes();
    let out_bytes = (n * u64::from(OUT_BITS)).div_ceil(8);
    let all: Vec<Role> = (0..parties).map(Role::Party).collect();
    let last = Role::Party(parties - 1);
    let owner_mask = b.message(Role::Dealer, Role::Owner, Setup, Mask, word_bytes);
    let masked: Vec<u32> =
        all.iter().map(|&to| b.message(Role::Owner, to, Setup, Weight, word_bytes)).collect();
    let client_mask = b.message(Role::Dealer, Role::Client, Offline, Mask, word_bytes);
    let correction = b.message(Role::Dealer, last, Offline, Correction, word_bytes);
    let inputs: Vec<u32> =
        all.iter().map(|&to| b.message(Role::Client, to, Online, Input, word_bytes)).collect();
    let reveal = b.message(Role::Party(0), Role::Client, Online, Reveal, out_bytes);
    let shares: Vec<u32> =
        all.iter().map(|&from| b.message(from, Role::Client, Online, Reveal, out_bytes)).collect();
    let opens = b.open_messages(n);

    for (party, &role) in all.iter().enumerate() {
        let mut r = RoleBuilder::new(role);
        let lead = party == 0;
        // Setup: the party's operand of every product with s.
        let ds = r.span(Region::Deploy, word_bytes);
        let a = r.span(Region::Deploy, word_bytes);
        let got = r.step(Setup, StepOp::Receive { message: masked[party], dst: ds }, &[]);
        let form = b.program(&b.operand_program(party as u8, lead));
        r.step(Setup, map(form, n, &[L_S], &[ds, a]), &[got]);
        // Offline: [L_x L_s]_b - [L_x]_b D_s.
        let c = r.span(Region::Run, word_bytes);
        if role == last {
            let fix = r.span(Region::Run, word_bytes);
            let got = r.step(Offline, StepOp::Receive { message: correction, dst: fix }, &[]);
            let cross = b.program(&b.cross_program(party as u8, true));
            r.step(Offline, map(cross, n, &[L_X, CROSS], &[ds, c, fix]), &[got]);
        } else {
            let cross = b.program(&b.cross_program(party as u8, false));
            r.step(Offline, map(cross, n, &[L_X, CROSS], &[ds, c]), &[]);
        }
        // Online: product, opening and reveal, chunk by chunk.
        let dx = r.span(Region::Run, word_bytes);
        let opened = r.span(Region::Run, out_bytes);
        let got = r.step(Online, StepOp::Receive { message: inputs[party], dst: dx }, &[]);
        let mask_program = b.program(&mask_program(party as u8));
        let share = r.span(Region::Run, out_bytes);
        let made = r.step(Online, map(mask_program, n, &[R], &[share]), &[]);
        r.step(Online, StepOp::Send { message: shares[party], src: share }, &[made]);
        let mut joined = Vec::new();
        for (chunk, at) in (0..n).step_by(CHUNK as usize).enumerate() {
            let count = CHUNK.min(n - at);
            let words = |span| part(span, at * word.bytes(), count * word.bytes());
            let bits = u64::from(OUT_BITS);
            let bytes = (count * bits).div_ceil(8);
            let own = r.span(Region::Run, bytes);
            let send = b.program(&send_program(party as u8));
            let spans = [words(dx), words(a), words(c), own];
            let mut op = map(send, count, &[R], &spans);
            set_first(&mut op, at);
            let packed = r.step(Online, op, &[got]);
            let mut parts = vec![own];
            let mut ready = vec![packed];
            for (other, _) in all.iter().enumerate().filter(|(o, _)| *o != party) {
                let message = opens[chunk][party][other];
                r.step(Online, StepOp::Send { message, src: own }, &[packed]);
                let theirs = r.span(Region::Run, bytes);
                let message = opens[chunk][other][party];
                ready.push(r.step(Online, StepOp::Receive { message, dst: theirs }, &[]));
                parts.push(theirs);
            }
            parts.push(part(opened, at * bits / 8, bytes));
            let join = b.program(&join_program(parties));
            let mut op = map(join, count, &[], &parts);
            set_first(&mut op, at);
            joined.push(r.step(Online, op, &ready));
        }
        if lead {
            r.step(Online, StepOp::Send { message: reveal, src: opened }, &joined);
        }
        b.plan.roles.push(r.plan);
    }
    b.dealer(n, owner_mask, client_mask, correction);
    let shape = Shape::of(&[n as usize]);
    b.plan.inputs.push(InputPort {
        name: "x".into(),
        shape: shape.clone(),
        ring: word.bits(),
        frac: FRAC,
        lo: -100.0,
        hi: 100.0,
        mask: client_mask,
        masked: inputs,
    });
    b.plan.outputs.push(OutputPort {
        name: "y".into(),
        shape,
        ring: OUT_BITS,
        frac: FRAC,
        masked: reveal,
        shares,
        clear: vec![],
        error: 0.0,
    });
    b.plan.params.push(ParamInfo {
        name: "s".into(),
        elements: n,
        frac: 0,
        public: None,
        masked,
        mask: Some(owner_mask),
    });
    b.plan
}

/// Small inputs and weights, and the integers that `product_plan` reveals for them.
pub(crate) fn product_data(word: Word, n: usize) -> (Vec<f32>, Arc<Weights>, Vec<i64>) {
    let x: Vec<f32> = (0..n).map(|i| (i as f32 % 37.0 - 18.0) / 16.0).collect();
    let bytes = word.bytes() as usize;
    let s = (0..n).flat_map(|i| (i as i64 % 23 - 11).to_le_bytes()[..bytes].to_vec()).collect();
    let s = Arc::new(Weights { word, salt: [0; 32], params: vec![s] });
    let y = (0..n).map(|i| (i as i64 % 37 - 18) * (i as i64 % 23 - 11)).collect();
    (x, s, y)
}

fn map(program: u32, count: u64, values: &[u32], spans: &[Span]) -> StepOp {
    let (values, spans) = (values.to_vec(), spans.to_vec());
    StepOp::Map { program, first: 0, count, values, spans }
}

fn set_first(op: &mut StepOp, at: u64) {
    if let StepOp::Map { first, .. } = op {
        *first = at;
    }
}

fn part(span: Span, at: u64, len: u64) -> Span {
    Span { at: span.at + at, len, ..span }
}

fn program(operands: Vec<Operand>, values: u16, word_regs: u16, ops: Vec<TileOp>) -> TileProgram {
    TileProgram { operands, values, word_regs, bit_regs: 0, ops }
}

const fn reg(i: u16) -> WordReg {
    WordReg(i)
}

fn words(write: bool) -> Operand {
    Operand { kind: OperandKind::Words, write }
}

fn packed(bits: u8, write: bool) -> Operand {
    Operand { kind: OperandKind::Packed { bits }, write }
}

/// The sum of one packed share per party.
fn join_program(parties: u8) -> TileProgram {
    let n = u16::from(parties);
    let mut operands: Vec<Operand> = (0..n).map(|_| packed(OUT_BITS, false)).collect();
    operands.push(packed(OUT_BITS, true));
    let mut ops = vec![TileOp::Unpack { dst: reg(0), operand: 0 }];
    for operand in 1..n {
        ops.push(TileOp::Unpack { dst: reg(1), operand });
        ops.push(TileOp::Add { dst: reg(0), a: reg(0), b: reg(1) });
    }
    ops.push(TileOp::Pack { src: reg(0), operand: n });
    program(operands, 0, 2, ops)
}

/// `D_x A_b + C_b + [r]_b`, packed.
fn send_program(party: u8) -> TileProgram {
    let ops = vec![
        TileOp::Load { dst: reg(0), operand: 0 },
        TileOp::Load { dst: reg(1), operand: 1 },
        TileOp::Mul { dst: reg(0), a: reg(0), b: reg(1) },
        TileOp::Load { dst: reg(1), operand: 2 },
        TileOp::Add { dst: reg(0), a: reg(0), b: reg(1) },
        TileOp::Random { dst: reg(1), value: 0, party, bits: OUT_BITS },
        TileOp::Add { dst: reg(0), a: reg(0), b: reg(1) },
        TileOp::Pack { src: reg(0), operand: 3 },
    ];
    let operands = vec![words(false), words(false), words(false), packed(OUT_BITS, true)];
    program(operands, 1, 2, ops)
}

fn mask_program(party: u8) -> TileProgram {
    let ops = vec![
        TileOp::Random { dst: reg(0), value: 0, party, bits: OUT_BITS },
        TileOp::Pack { src: reg(0), operand: 0 },
    ];
    program(vec![packed(OUT_BITS, true)], 1, 1, ops)
}

struct Builder {
    plan: Plan,
}

impl Builder {
    fn new(parties: u8, word: Word, weights: WeightsMode) -> Self {
        let plan = Plan {
            name: "by hand".into(),
            layers: vec![Layer {
                name: "product".into(),
                op: "Mul".into(),
                shape: Shape::of(&[]),
                format: String::new(),
                rounds: 1,
                online_bytes: 0,
                correction_bytes: 0,
            }],
            ..Plan::empty(word, parties, weights)
        };
        Self { plan }
    }

    fn message(
        &mut self,
        from: Role,
        to: Role,
        phase: Phase,
        kind: MessageKind,
        bytes: u64,
    ) -> u32 {
        let round = u32::from(kind == MessageKind::Open);
        self.plan.messages.push(Message { from, to, phase, kind, bytes, round, layer: 0 });
        self.plan.messages.len() as u32 - 1
    }

    /// Ids by chunk, sender and receiver.
    fn open_messages(&mut self, n: u64) -> Vec<Vec<Vec<u32>>> {
        let parties = self.plan.parties;
        let mut of_chunk = |count: u64| {
            let bytes = (count * u64::from(OUT_BITS)).div_ceil(8);
            let row = |from: u8, b: &mut Self| -> Vec<u32> {
                (0..parties)
                    .map(|to| {
                        if from == to {
                            return u32::MAX;
                        }
                        let (from, to) = (Role::Party(from), Role::Party(to));
                        b.message(from, to, Phase::Online, MessageKind::Open, bytes)
                    })
                    .collect()
            };
            (0..parties).map(|from| row(from, self)).collect()
        };
        (0..n).step_by(CHUNK as usize).map(|at| of_chunk(CHUNK.min(n - at))).collect()
    }

    fn program(&mut self, program: &TileProgram) -> u32 {
        let found = self.plan.programs.iter().position(|p| p == program);
        found.unwrap_or_else(|| {
            self.plan.programs.push(program.clone());
            self.plan.programs.len() - 1
        }) as u32
    }

    fn bits(&self) -> u8 {
        self.plan.word.bits()
    }

    /// `b0 D_s - [L_s]_b`.
    fn operand_program(&self, party: u8, lead: bool) -> TileProgram {
        let bits = self.bits();
        let first = if lead {
            TileOp::Load { dst: reg(0), operand: 0 }
        } else {
            TileOp::Const { dst: reg(0), value: 0 }
        };
        let ops = vec![
            first,
            TileOp::Random { dst: reg(1), value: 0, party, bits },
            TileOp::Sub { dst: reg(0), a: reg(0), b: reg(1) },
            TileOp::Store { src: reg(0), operand: 1 },
        ];
        program(vec![words(false), words(true)], 1, 2, ops)
    }

    /// `[L_x L_s]_b - [L_x]_b D_s`.
    fn cross_program(&self, party: u8, corrected: bool) -> TileProgram {
        let bits = self.bits();
        let mut operands = vec![words(false), words(true)];
        let share = if corrected {
            operands.push(words(false));
            TileOp::Load { dst: reg(2), operand: 2 }
        } else {
            TileOp::Random { dst: reg(2), value: 1, party, bits }
        };
        let ops = vec![
            share,
            TileOp::Load { dst: reg(0), operand: 0 },
            TileOp::Random { dst: reg(1), value: 0, party, bits },
            TileOp::Mul { dst: reg(0), a: reg(0), b: reg(1) },
            TileOp::Sub { dst: reg(2), a: reg(2), b: reg(0) },
            TileOp::Store { src: reg(2), operand: 1 },
        ];
        program(operands, 2, 3, ops)
    }

    /// The sum of all parties' mask shares.
    fn total_program(&self) -> TileProgram {
        let bits = self.bits();
        let mut ops = vec![TileOp::Const { dst: reg(0), value: 0 }];
        for party in 0..self.plan.parties {
            ops.push(TileOp::Random { dst: reg(1), value: 0, party, bits });
            ops.push(TileOp::Add { dst: reg(0), a: reg(0), b: reg(1) });
        }
        ops.push(TileOp::Store { src: reg(0), operand: 0 });
        program(vec![words(true)], 1, 2, ops)
    }

    fn dealer(&mut self, n: u64, owner_mask: u32, client_mask: u32, correction: u32) {
        let bytes = n * self.plan.word.bytes();
        let bits = self.bits();
        let mut r = RoleBuilder::new(Role::Dealer);
        let total = self.program(&self.total_program());
        let ls = r.span(Region::Deploy, bytes);
        let made = r.step(Phase::Setup, map(total, n, &[L_S], &[ls]), &[]);
        r.step(Phase::Setup, StepOp::Send { message: owner_mask, src: ls }, &[made]);
        let lx = r.span(Region::Run, bytes);
        let made = r.step(Phase::Offline, map(total, n, &[L_X], &[lx]), &[]);
        r.step(Phase::Offline, StepOp::Send { message: client_mask, src: lx }, &[made]);
        let mut ops = vec![
            TileOp::Load { dst: reg(0), operand: 0 },
            TileOp::Load { dst: reg(1), operand: 1 },
            TileOp::Mul { dst: reg(0), a: reg(0), b: reg(1) },
        ];
        for party in 0..self.plan.parties - 1 {
            ops.push(TileOp::Random { dst: reg(1), value: 0, party, bits });
            ops.push(TileOp::Sub { dst: reg(0), a: reg(0), b: reg(1) });
        }
        ops.push(TileOp::Store { src: reg(0), operand: 2 });
        let operands = vec![words(false), words(false), words(true)];
        let correct = self.program(&program(operands, 1, 2, ops));
        let fix = r.span(Region::Run, bytes);
        let op = map(correct, n, &[CROSS], &[lx, ls, fix]);
        let made = r.step(Phase::Offline, op, &[made]);
        r.step(Phase::Offline, StepOp::Send { message: correction, src: fix }, &[made]);
        self.plan.roles.push(r.plan);
    }
}

struct RoleBuilder {
    plan: RolePlan,
}

impl RoleBuilder {
    fn new(role: Role) -> Self {
        let (setup, offline, online) = (vec![], vec![], vec![]);
        Self { plan: RolePlan { role, deploy_bytes: 0, run_bytes: 0, setup, offline, online } }
    }

    fn span(&mut self, region: Region, len: u64) -> Span {
        let size = match region {
            Region::Deploy => &mut self.plan.deploy_bytes,
            Region::Run => &mut self.plan.run_bytes,
        };
        let at = *size;
        *size += len.next_multiple_of(64);
        Span { region, at, len }
    }

    fn step(&mut self, phase: Phase, op: StepOp, after: &[u32]) -> u32 {
        let steps = match phase {
            Phase::Setup => &mut self.plan.setup,
            Phase::Offline => &mut self.plan.offline,
            Phase::Online => &mut self.plan.online,
        };
        let priority = steps.len() as u32;
        let after = after.to_vec();
        steps.push(Step { after, priority, ..Step::new(op) });
        priority
    }
}
