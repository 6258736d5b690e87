//! Measures a machine profile: runs steps of representative shapes on the runtime's kernels.

use super::products::{K, M, N, PATCH_K, PATCH_N, PATCHES, PLANES, Products};
use super::transport::Transport;
use super::{Machine, Rates, tile_key};
use mpcc_ir::Window;
use mpcc_ir::plan::{
    BitReg, Operand, OperandKind, Phase, Plan, Region, Role, RolePlan, Span, Step, StepOp, TileOp,
    TileProgram, WeightsMode, Word, WordReg,
};
use mpcc_runtime::RunError;
use mpcc_runtime::kernels::Cpu;
use mpcc_runtime::measure::time_steps;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes that steps go through in turn: more than a core's own caches hold, as in a run.
const WINDOW: u64 = 16 << 20;

/// Room for the largest step behind those.
const ARENA: u64 = WINDOW + (80 << 20);

/// Passes over all steps.
const ROUNDS: usize = 9;

/// Elements of a measured element-wise step: a chunk of a usual layer.
const ELEMENTS: u64 = 1 << 16;

/// Why a machine cannot be measured.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum MeasureError {
    #[error("cannot measure this host: {0}")]
    Run(#[from] RunError),
    #[error("cannot measure a loopback connection")]
    Network(#[from] std::io::Error),
}

/// Measures this machine, in less than a minute and on one thread.
///
/// # Errors
/// Too little memory, or no loopback connection.
pub fn machine() -> Result<Machine, MeasureError> {
    let transport = Transport::measure()?;
    Ok(Machine {
        kernels: Cpu::active().name().to_owned(),
        step_us: 1.0,
        wake_us: round(transport.wake_us),
        send_us: round(transport.send.us),
        send_us_per_kb: round(transport.send.us_per_kb),
        carry_us: 0.0,
        carry_us_per_kb: 0.0,
        receive_us: round(transport.receive.us),
        receive_us_per_kb: round(transport.receive.us_per_kb),
        memory_us_per_kb: round(memory_ns()?),
        ring32: rates(Word::W32)?,
        ring64: rates(Word::W64)?,
    })
}

/// Three digits are more than a measurement is worth.
fn round(value: f64) -> f64 {
    let digits = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    let scale = 10_f64.powf(2.0 - digits);
    (value * scale).round() / scale
}

/// Nanoseconds for a byte, which are microseconds for a kilobyte, of a product that is bound by reading a matrix.
fn memory_ns() -> Result<f64, RunError> {
    let mut bench = Bench::new(Word::W32);
    let [m, k, n] = [1, 4096, 4096];
    let at = bench.matmul([m, k, n]);
    let us = bench.run()?;
    Ok(us[at] * 1e3 / (k * n * 4) as f64)
}

/// The rates of a ring.
fn rates(word: Word) -> Result<Rates, RunError> {
    let mut bench = Bench::new(word);
    let (matrices, patches) = (bench.matrices(), bench.patches());
    let (planes, stride_planes) = (bench.planes(1), bench.planes(2));
    let (group, moves, tiles) = (bench.group(), bench.moves(), bench.tiles());
    let us = bench.run()?;
    let per_ns = |products: Vec<Product>| products.iter().map(|p| p.per_ns(&us)).collect();
    let ns = |products: Vec<Product>| products.iter().map(|p| p.ns(&us)).collect();
    let products = Products {
        lanes: 64 / word.bytes() as usize,
        rates: per_ns(matrices),
        patch_rates: per_ns(patches),
        plane_ns: ns(planes),
        stride_plane_ns: ns(stride_planes),
        group_ns: group.ns(&us),
    };
    Ok(Rates { tile_ns: tile_ns(tiles, &us), word_ns: word_ns(moves, &us), products })
}

/// Nanoseconds for an element, by instruction of tile programs.
fn tile_ns(tiles: Vec<(String, [usize; 3])>, us: &[f64]) -> BTreeMap<String, f64> {
    let per_element = |(name, [with, without, times]): (String, [usize; 3])| {
        let ns = (us[with] - us[without]) * 1e3 / (times as u64 * ELEMENTS) as f64;
        (name, round(ns.max(0.0)))
    };
    tiles.into_iter().map(per_element).collect()
}

/// Nanoseconds for a word, by kind of data movement or sum.
fn word_ns(moves: Vec<(&str, (usize, u64))>, us: &[f64]) -> BTreeMap<String, f64> {
    let per_word = |(name, (step, words)): (&str, (usize, u64))| {
        (name.to_owned(), round(us[step] * 1e3 / words as f64))
    };
    moves.into_iter().map(per_word).collect()
}

/// A measured product: its step, and how many multiply-adds it takes.
struct Product {
    step: usize,
    macs: usize,
}

impl Product {
    /// Nanoseconds for a multiply-add.
    fn ns(&self, us: &[f64]) -> f64 {
        round(us[self.step] * 1e3 / self.macs as f64)
    }

    /// Multiply-adds per nanosecond.
    fn per_ns(&self, us: &[f64]) -> f64 {
        round(self.macs as f64 / (us[self.step] * 1e3))
    }
}

/// Groups of the measured convolutions in groups.
const PLANE: usize = 128;

/// A window of 3 x 3 with as much padding as it needs.
fn window(stride: usize) -> Window {
    Window { kernel: [3; 2], strides: [stride; 2], dilations: [1; 2], pads: [1; 4] }
}

/// Steps to be timed, over buffers that follow one another round an arena.
struct Bench {
    word: Word,
    next: u64,
    programs: Vec<TileProgram>,
    ops: Vec<StepOp>,
}

impl Bench {
    fn new(word: Word) -> Self {
        Self { word, next: 0, programs: Vec::new(), ops: Vec::new() }
    }

    /// A buffer behind the last one. No step takes more than the arena has behind its window.
    fn bytes(&mut self, len: u64) -> Span {
        let span = Span { region: Region::Run, at: self.next, len };
        self.next = (self.next + len).next_multiple_of(64);
        span
    }

    fn words(&mut self, extents: &[usize]) -> Span {
        let words: usize = extents.iter().product();
        self.bytes(words as u64 * self.word.bytes())
    }

    /// Adds a step; returns its index.
    fn push(&mut self, op: StepOp) -> usize {
        if self.next > WINDOW {
            self.next = 0;
        }
        self.ops.push(op);
        self.ops.len() - 1
    }

    fn matmul(&mut self, [m, k, n]: [usize; 3]) -> usize {
        let [a, b, out] = [[m, k], [k, n], [m, n]].map(|extents| self.words(&extents));
        self.push(StepOp::MatMul { batch: 1, mkn: [m, k, n], shared_b: false, a, b, out })
    }

    fn conv(
        &mut self,
        window: Window,
        [height, width, channels]: [usize; 3],
        out_channels: usize,
        groups: usize,
    ) -> usize {
        let x_shape = [1, height, width, channels];
        let [oh, ow] = window.output([height, width]).unwrap_or([1, 1]);
        let x = self.words(&x_shape);
        let w = self.words(&[window.kernel[0], window.kernel[1], channels / groups, out_channels]);
        let out = self.words(&[oh, ow, out_channels]);
        self.push(StepOp::Conv { window, groups, x_shape, out_channels, x, w, out })
    }

    /// Products of matrices, in the order of [`Products::rates`].
    fn matrices(&mut self) -> Vec<Product> {
        let mut grid = Vec::new();
        for n in N {
            for m in M {
                for k in K {
                    let product = Product { step: self.matmul([m, k, n]), macs: m * k * n };
                    grid.push(([m, k, n], product));
                }
            }
        }
        grid.sort_by_key(|(mkn, _)| *mkn);
        grid.into_iter().map(|(_, product)| product).collect()
    }

    /// Convolutions with windows of 3 x 3, in the order of [`Products::patch_rates`].
    fn patches(&mut self) -> Vec<Product> {
        // The lines above and below are there: what is measured are lines in the middle of an image.
        let window = Window { pads: [0, 1, 0, 1], ..window(1) };
        let mut products = Vec::new();
        for [lines, width] in PATCHES {
            for depth in PATCH_K {
                for outputs in PATCH_N {
                    let step = self.conv(window, [lines + 2, width, depth / 9], outputs, 1);
                    products.push(Product { step, macs: lines * width * outputs * depth });
                }
            }
        }
        products
    }

    /// Depth-wise convolutions, in the order of [`Products::plane_ns`].
    fn planes(&mut self, stride: usize) -> Vec<Product> {
        let conv = |width: usize| {
            let x_shape = [8 * stride, width * stride, PLANE];
            let step = self.conv(window(stride), x_shape, PLANE, PLANE);
            Product { step, macs: 8 * width * PLANE * 9 }
        };
        PLANES.map(conv).into()
    }

    /// A convolution in groups of four channels.
    fn group(&mut self) -> Product {
        let step = self.conv(window(1), [8, 28, 4 * PLANE], 4 * PLANE, PLANE);
        Product { step, macs: 8 * 28 * 4 * PLANE * 4 * 9 }
    }

    /// Data movement and sums: name, step and number of words.
    fn moves(&mut self) -> Vec<(&'static str, (usize, u64))> {
        let [c, h, w] = [64, 56, 56];
        let words = (c * h * w) as u64;
        let mut strided = |src_strides: Vec<i64>| {
            let [src, dst] = [(); 2].map(|()| self.words(&[c, h, w]));
            let dst_strides = vec![(h * w) as i64, w as i64, 1];
            let shape = vec![c, h, w];
            let (src_offset, dst_offset) = (0, 0);
            self.push(StepOp::Strided {
                shape,
                src,
                src_offset,
                src_strides,
                dst,
                dst_offset,
                dst_strides,
            })
        };
        let runs = strided(vec![(h * w) as i64, w as i64, 1]);
        let transposed = strided(vec![(h * w) as i64, 1, w as i64]);
        let dst = self.words(&[c, h, w]);
        let fill = self.push(StepOp::Fill { dst, value: 7 });
        let mut sum = |[outer, terms, inner]: [usize; 3]| {
            let (src, dst) = (self.words(&[outer, terms, inner]), self.words(&[outer, inner]));
            self.push(StepOp::Sum { outer, terms, inner, src, dst })
        };
        let (sum, rows) = (sum([c, h * w, 1]), sum([c, h, w]));
        let steps = [
            ("copy runs", runs),
            ("copy words", transposed),
            ("fill", fill),
            ("sum", sum),
            ("sum rows", rows),
        ];
        steps.map(|(name, step)| (name, (step, words))).into()
    }

    /// Every instruction of tile programs: its key with a step that has more of it, one that has
    /// less, and how many more.
    fn tiles(&mut self) -> Vec<(String, [usize; 3])> {
        let operands = |kind, write| Operand { kind, write };
        let (a, b, dst) = (WordReg(0), WordReg(1), WordReg(2));
        let (p, q, bit) = (BitReg(0), BitReg(1), BitReg(2));
        let bits = self.word.bits();
        let mut found = Vec::new();
        let pure = [
            TileOp::Add { dst, a, b },
            TileOp::Mul { dst, a, b },
            TileOp::MulConst { dst, a, by: 5 },
            TileOp::ShiftLeft { dst, a, by: 3 },
            TileOp::Select { dst, bit: p, a },
            TileOp::FromBit { dst, bit: p },
            TileOp::Const { dst, value: 3 },
            TileOp::BitAt { dst: bit, a, index: 7 },
            TileOp::Xor { dst: bit, a: p, b: q },
            TileOp::AndXor { dst: bit, a: p, b: q },
            TileOp::Mux { dst: bit, bit: p, a: p, b: q },
            TileOp::ConstBit { dst: bit, value: true },
            TileOp::Random { dst, value: 0, party: 0, bits: 1 },
            TileOp::Random { dst, value: 0, party: 0, bits: 25 },
            TileOp::Random { dst, value: 0, party: 0, bits: 64 },
            TileOp::RandomBit { dst: bit, value: 0, party: 0 },
        ];
        for op in pure {
            found.push(self.tile(op, &[]));
        }
        let width = |bits| OperandKind::Packed { bits };
        for n in 1..=bits {
            let (read, write) = (operands(width(n), false), operands(width(n), true));
            found.push(self.tile(TileOp::Unpack { dst, operand: 0 }, &[read]));
            found.push(self.tile(TileOp::Pack { src: a, operand: 0 }, &[write]));
        }
        let table = |inner| operands(OperandKind::Table { inner, len: 64 }, false);
        let words = |write| operands(OperandKind::Words, write);
        for operand in [words(false), table(1), table(196)] {
            found.push(self.tile(TileOp::Load { dst, operand: 0 }, &[operand]));
        }
        found.push(self.tile(TileOp::Store { src: a, operand: 0 }, &[words(true)]));
        found.push(
            self.tile(TileOp::LoadBit { dst: bit, operand: 0 }, &[operands(width(1), false)]),
        );
        found.push(self.tile(TileOp::StoreBit { src: p, operand: 0 }, &[operands(width(1), true)]));
        found
    }

    /// Two steps that differ in copies of one instruction. Each copy has operands of its own.
    fn tile(&mut self, op: TileOp, operands: &[Operand]) -> (String, [usize; 3]) {
        const FEW: usize = 1;
        const MANY: usize = 5;
        let mut step = |copies: usize| {
            let program = TileProgram {
                operands: operands.iter().copied().cycle().take(copies * operands.len()).collect(),
                values: 1,
                // As many registers as usual programs have, so that tiles are as long.
                word_regs: 6,
                bit_regs: 6,
                ops: (0..copies).map(|copy| with_operand(op, copy)).collect(),
            };
            let spans = program.operands.iter().map(|operand| match operand.kind {
                OperandKind::Words => self.bytes(ELEMENTS * self.word.bytes()),
                OperandKind::Packed { bits } => self.bytes(ELEMENTS * u64::from(bits) / 8),
                OperandKind::Table { len, .. } => self.bytes(len * self.word.bytes()),
            });
            let spans = spans.collect();
            self.programs.push(program);
            let program = self.programs.len() as u32 - 1;
            self.push(StepOp::Map { program, first: 0, count: ELEMENTS, values: vec![0], spans })
        };
        let steps = [step(MANY), step(FEW), MANY - FEW];
        let key = self.programs.last().map(|program| tile_key(op, program));
        (key.unwrap_or_default(), steps)
    }

    /// Microseconds of each step.
    fn run(self) -> Result<Vec<f64>, RunError> {
        let role = RolePlan {
            role: Role::Party(0),
            deploy_bytes: 0,
            run_bytes: ARENA,
            setup: vec![],
            offline: vec![],
            online: self.ops.into_iter().map(Step::new).collect(),
        };
        let plan = Plan {
            programs: self.programs,
            roles: vec![role],
            ..Plan::empty(self.word, 1, WeightsMode::Party0)
        };
        time_steps(Arc::new(plan), Role::Party(0), Phase::Online, ROUNDS)
    }
}

/// The instruction with its operand, if it has one, replaced.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others have no operand")]
fn with_operand(op: TileOp, at: usize) -> TileOp {
    let operand = at as u16;
    match op {
        TileOp::Load { dst, .. } => TileOp::Load { dst, operand },
        TileOp::Store { src, .. } => TileOp::Store { src, operand },
        TileOp::Unpack { dst, .. } => TileOp::Unpack { dst, operand },
        TileOp::Pack { src, .. } => TileOp::Pack { src, operand },
        TileOp::LoadBit { dst, .. } => TileOp::LoadBit { dst, operand },
        TileOp::StoreBit { src, .. } => TileOp::StoreBit { src, operand },
        other => other,
    }
}

/// Microseconds that each step of a role takes here, and what a profile predicts, by kind of step:
/// shows where a profile is wrong. Without messages: what those take is a matter of the network as well.
///
/// # Errors
/// As [`time_steps`].
pub fn compare(
    plan: &Arc<Plan>,
    role: Role,
    phase: Phase,
    machine: &Machine,
) -> Result<BTreeMap<&'static str, [f64; 2]>, RunError> {
    use mpcc_ir::text::OpText as _;
    let costs = super::StepCosts::new(machine, plan);
    let measured = time_steps(Arc::clone(plan), role, phase, ROUNDS)?;
    let mut kinds: BTreeMap<&'static str, [f64; 2]> = BTreeMap::new();
    let steps = plan.role(role).map_or(&[][..], |own| own.steps(phase));
    for (step, us) in steps.iter().zip(measured) {
        if matches!(step.op, StepOp::Send { .. } | StepOp::Receive { .. }) {
            continue;
        }
        let [predicted, found] = kinds.entry(step.op.mnemonic()).or_default();
        *predicted += costs.step_us(&step.op);
        *found += us;
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Convolutions of ResNet-50 and MobileNet v2 and parts of them: lines, pixels and channels of the image,
    /// outputs, extent of the window, stride, groups, and padding above and below.
    const CONVOLUTIONS: [([usize; 3], usize, [usize; 3], usize); 18] = [
        ([224, 224, 3], 64, [7, 2, 1], 3),
        ([56, 56, 64], 64, [3, 1, 1], 1),
        ([6, 56, 64], 64, [3, 1, 1], 0),
        ([3, 56, 64], 64, [3, 1, 1], 0),
        ([56, 56, 64], 256, [1, 1, 1], 0),
        ([4, 56, 64], 256, [1, 1, 1], 0),
        ([56, 56, 256], 512, [1, 2, 1], 0),
        ([28, 28, 128], 128, [3, 1, 1], 1),
        ([6, 28, 128], 128, [3, 1, 1], 0),
        ([14, 14, 1024], 256, [1, 1, 1], 0),
        ([2, 14, 1024], 256, [1, 1, 1], 0),
        ([14, 14, 256], 256, [3, 1, 1], 1),
        ([3, 14, 256], 256, [3, 1, 1], 0),
        ([7, 7, 512], 512, [3, 1, 1], 1),
        ([3, 7, 512], 512, [3, 1, 1], 0),
        ([7, 7, 512], 2048, [1, 1, 1], 0),
        ([56, 56, 144], 144, [3, 1, 144], 1),
        ([6, 56, 144], 144, [3, 1, 144], 0),
    ];

    #[test]
    fn what_is_measured_is_what_a_profile_must_have() {
        let built_in = Machine::default();
        for word in [Word::W32, Word::W64] {
            let (mut bench, rates) = (Bench::new(word), built_in.rates(word));
            let tiles: BTreeSet<String> = bench.tiles().into_iter().map(|(name, _)| name).collect();
            assert_eq!(tiles, rates.tile_ns.keys().cloned().collect());
            let words: BTreeSet<&str> = bench.moves().into_iter().map(|(name, _)| name).collect();
            assert_eq!(words, rates.word_ns.keys().map(String::as_str).collect());
        }
    }

    #[test]
    #[ignore = "measures this machine for half a minute: run with --ignored --nocapture on an idle one"]
    #[expect(clippy::print_stdout, reason = "a table to read")]
    fn convolutions_take_about_what_a_new_profile_predicts() {
        let machine = machine().unwrap();
        for word in [Word::W32, Word::W64] {
            let mut bench = Bench::new(word);
            for (shape, outputs, [extent, stride, groups], pad) in CONVOLUTIONS {
                let side = extent / 2;
                let (kernel, strides) = ([extent; 2], [stride; 2]);
                let window =
                    Window { kernel, strides, dilations: [1; 2], pads: [pad, side, pad, side] };
                bench.conv(window, shape, outputs, groups);
            }
            let ops = bench.ops.clone();
            let us = bench.run().unwrap();
            let (mut least, mut most) = (f64::INFINITY, 0_f64);
            for ((op, us), shape) in ops.iter().zip(us).zip(CONVOLUTIONS) {
                let StepOp::Conv { window, groups, x_shape, out_channels, .. } = op else {
                    continue;
                };
                let products = &machine.rates(word).products;
                let ns = products.conv_ns(window, *groups, *x_shape, *out_channels);
                let ratio = ns / 1e3 / us;
                println!("{word:?} {shape:?}: {us:.0} us, predicted {ratio:.2} of that");
                (least, most) = (least.min(ratio), most.max(ratio));
            }
            assert!(least > 0.6 && most < 1.6, "{word:?}: {least:.2} to {most:.2}");
        }
    }
}
