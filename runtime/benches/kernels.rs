//! Kernels, a group per family, each beside a loop that shows what the machine can do at best.
//!
//! `MPCC_CPU=portable|avx2|avx512|amx cargo bench --workspace --bench kernels [-- <group>]`. Throughput counts
//! multiply-adds for products and elements or bytes for the rest. Times are the thread's, so that
//! other processes on the machine disturb little.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mpcc_ir::Window;
use mpcc_ir::plan::{BitReg, Operand, OperandKind, TileOp, TileProgram, WordReg};
use mpcc_runtime::cpu_time;
use mpcc_runtime::kernels::{
    Buffer, PROBE_ROUND, RingWord, Scratch, conv, map, matmul, multiply_adds, strided, sum,
};
use mpcc_runtime::mask::{Epoch, Masks};
use mpcc_runtime::share::Seed;
use std::hint::black_box;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// Words that begin at a multiple of 64 bytes, as those of a run do.
struct Words<W> {
    memory: Vec<W>,
    skip: usize,
}

impl<W> Deref for Words<W> {
    type Target = [W];
    fn deref(&self) -> &[W] {
        &self.memory[self.skip..]
    }
}

impl<W> DerefMut for Words<W> {
    fn deref_mut(&mut self) -> &mut [W] {
        &mut self.memory[self.skip..]
    }
}

fn words<W: RingWord>(len: usize) -> Words<W> {
    let line = 64 / W::BYTES;
    let mut memory: Vec<W> = Vec::with_capacity(len + line);
    let skip = memory.as_ptr().align_offset(64).min(line);
    let word = |i: usize| W::from_u64((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    memory.extend((0..skip + len).map(word));
    Words { memory, skip }
}

/// Measures `routine` by the processor time of this thread.
fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut routine: impl FnMut()) {
    group.bench_function(name, |bench| {
        bench.iter_custom(|rounds| {
            let before = cpu_time::of_thread();
            (0..rounds).for_each(|_| routine());
            cpu_time::of_thread().saturating_sub(before)
        });
    });
}

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(600));
    group
}

/// Multiply-adds on words in L1 only: a product is as fast at best.
fn multiply_roofline<W: RingWord>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let scratch = Scratch::new();
    group.throughput(Throughput::Elements(1000 * PROBE_ROUND as u64));
    measure(group, "roofline", || {
        black_box(multiply_adds::<W>(1000, &scratch));
    });
}

fn convolutions<W: RingWord>(c: &mut Criterion, name: &str) {
    let mut group = group(c, name);
    multiply_roofline::<W>(&mut group);
    // Layers of ResNet-50, MobileNet v2, VGG-16 and ResNeXt-50, and parts of some: name, lines and pixels of
    // the image, channels, outputs, kernel, stride, groups, and whether there is padding above and below.
    let layers = [
        ("7x7 s2 3->64 @224", [224, 224], [3, 64], [7, 2, 1], true),
        ("1x1 64->256 @56", [56, 56], [64, 256], [1, 1, 1], true),
        ("1x1 256->64 @56", [56, 56], [256, 64], [1, 1, 1], true),
        ("3x3 64->64 @56", [56, 56], [64, 64], [3, 1, 1], true),
        ("3x3 128->128 @28", [28, 28], [128, 128], [3, 1, 1], true),
        ("1x1 s2 256->512 @56", [56, 56], [256, 512], [1, 2, 1], true),
        ("1x1 1024->256 @14", [14, 14], [1024, 256], [1, 1, 1], true),
        ("3x3 256->256 @14", [14, 14], [256, 256], [3, 1, 1], true),
        ("3x3 512->512 @7", [7, 7], [512, 512], [3, 1, 1], true),
        ("1x1 512->2048 @7", [7, 7], [512, 2048], [1, 1, 1], true),
        ("1x1 2048->512 @7", [7, 7], [2048, 512], [1, 1, 1], true),
        ("4 rows 3x3 64->64 @56", [6, 56], [64, 64], [3, 1, 1], false),
        ("1 row 3x3 64->64 @56", [3, 56], [64, 64], [3, 1, 1], false),
        ("4 rows 1x1 256->64 @56", [4, 56], [256, 64], [1, 1, 1], false),
        ("2 rows 3x3 256->256 @14", [4, 14], [256, 256], [3, 1, 1], false),
        ("4 rows 3x3 512->512 @7", [6, 7], [512, 512], [3, 1, 1], false),
        ("1 row 3x3 512->512 @7", [3, 7], [512, 512], [3, 1, 1], false),
        ("depthwise 3x3 144 @56", [56, 56], [144, 144], [3, 1, 144], true),
        ("depthwise 3x3 s2 144 @56", [56, 56], [144, 144], [3, 2, 144], true),
        ("depthwise 3x3 960 @7", [7, 7], [960, 960], [3, 1, 960], true),
        ("32 groups 3x3 128->128 @56", [56, 56], [128, 128], [3, 1, 32], true),
        ("32 groups 3x3 1024->1024 @7", [7, 7], [1024, 1024], [3, 1, 32], true),
        ("3x3 3->64 @224", [224, 224], [3, 64], [3, 1, 1], true),
        ("3x3 64->64 @224", [224, 224], [64, 64], [3, 1, 1], true),
        ("3x3 512->512 @14", [14, 14], [512, 512], [3, 1, 1], true),
        ("1x1 2048->1000 @1", [1, 1], [2048, 1000], [1, 1, 1], true),
    ];
    for (name, [height, width], [channels, outputs], [kernel, stride, groups], padded) in layers {
        let (above, side) = (if padded { kernel / 2 } else { 0 }, kernel / 2);
        let window = Window {
            kernel: [kernel; 2],
            strides: [stride; 2],
            dilations: [1; 2],
            pads: [above, side, above, side],
        };
        let [oh, ow] = window.output([height, width]).expect("windows fit");
        let x = words::<W>(height * width * channels);
        let w = words::<W>(kernel * kernel * channels / groups * outputs);
        let mut out = words::<W>(oh * ow * outputs);
        let mut scratch = Scratch::new();
        group.throughput(Throughput::Elements((w.len() * oh * ow) as u64));
        let shape = [1, height, width, channels];
        measure(&mut group, name, || {
            conv(&mut out, &x, &w, &window, groups, shape, outputs, &mut scratch);
        });
    }
    group.finish();
}

fn products<W: RingWord>(c: &mut Criterion, name: &str) {
    let mut group = group(c, name);
    multiply_roofline::<W>(&mut group);
    let shapes = [
        (1, [512, 512, 512]),
        (12, [128, 64, 128]),
        (1, [128, 768, 768]),
        (1, [1, 2048, 1000]),
        (1, [1, 25088, 4096]),
        (1, [16, 768, 768]),
        (1, [1000, 2048, 1]),
    ];
    for (batch, [m, k, n]) in shapes {
        let (a, b) = (words::<W>(batch * m * k), words::<W>(batch * k * n));
        let mut out = words::<W>(batch * m * n);
        let mut scratch = Scratch::new();
        group.throughput(Throughput::Elements((batch * m * k * n) as u64));
        measure(&mut group, &format!("{batch} x {m} {k} {n}"), || {
            matmul(&mut out, &a, &b, batch, [m, k, n], false, &mut scratch);
        });
    }
    group.finish();
}

/// Elements of a map: more than caches hold at eight bytes each.
const ELEMENTS: usize = 1 << 19;

fn masks() -> Masks {
    Masks::new(2).with_party(0, &Seed::from_bytes([1; 32]), Epoch::Run(0)).with_party(
        1,
        &Seed::from_bytes([2; 32]),
        Epoch::Run(0),
    )
}

fn streams(c: &mut Criterion) {
    let mut group = group(c, "mask");
    let masks = masks();
    let (mut words, mut plane) = (vec![0_u32; 8192], vec![0_u64; 4096]);
    group.throughput(Throughput::Bytes(32 << 10));
    let source = vec![1_u8; 32 << 10];
    let mut copy = source.clone();
    measure(&mut group, "roofline: copy", || {
        black_box(&mut copy).copy_from_slice(black_box(&source));
    });
    measure(&mut group, "words, 25 bits", || {
        masks.fill_words(0, 3, 25, 0, black_box(&mut words));
    });
    measure(&mut group, "words, 25 bits, unaligned", || {
        masks.fill_words(0, 3, 25, 1, black_box(&mut words));
    });
    measure(&mut group, "bits", || {
        masks.fill_bits(0, 3, 0, 32 << 13, black_box(&mut plane));
    });
    measure(&mut group, "bits, unaligned", || {
        masks.fill_bits(0, 3, 5, 32 << 13, black_box(&mut plane));
    });
    group.finish();
}

/// One program over [`ELEMENTS`] elements.
fn run_map<W: RingWord>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    program: &TileProgram,
) {
    let bytes = |operand: &Operand| match operand.kind {
        OperandKind::Words => ELEMENTS * W::BYTES,
        OperandKind::Packed { bits } => ELEMENTS * usize::from(bits) / 8,
        OperandKind::Table { len, .. } => len as usize * W::BYTES,
    };
    let mut buffers: Vec<Vec<u8>> =
        program.operands.iter().map(|operand| vec![0x5a; bytes(operand)]).collect();
    let bound = buffers.iter_mut().zip(&program.operands);
    let mut bound: Vec<Buffer<'_>> = bound
        .map(
            |(buffer, operand)| {
                if operand.write { Buffer::Write(buffer) } else { Buffer::Read(buffer) }
            },
        )
        .collect();
    let (masks, mut scratch) = (masks(), Scratch::new());
    let values: Vec<u32> = (0..u32::from(program.values)).collect();
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    measure(group, name, || {
        map::<W>(program, 0, ELEMENTS as u64, &values, &masks, &mut bound, &mut scratch);
    });
}

fn operand(kind: OperandKind, write: bool) -> Operand {
    Operand { kind, write }
}

/// A program of one instruction between a load and a store.
fn single(op: TileOp) -> TileProgram {
    TileProgram {
        operands: vec![operand(OperandKind::Words, false), operand(OperandKind::Words, true)],
        word_regs: 2,
        bit_regs: 3,
        ops: vec![
            TileOp::Load { dst: WordReg(0), operand: 0 },
            op,
            TileOp::Store { src: WordReg(1), operand: 1 },
        ],
        ..TileProgram::default()
    }
}

/// The opening of a linear layer: shift, add the mask share, pack.
fn opening(bits: u8) -> TileProgram {
    let [x, r] = [WordReg(0), WordReg(1)];
    TileProgram {
        operands: vec![
            operand(OperandKind::Words, false),
            operand(OperandKind::Packed { bits }, true),
        ],
        values: 1,
        word_regs: 2,
        ops: vec![
            TileOp::Load { dst: x, operand: 0 },
            TileOp::ShiftRight { dst: x, a: x, by: 7 },
            TileOp::Random { dst: r, value: 0, party: 0, bits },
            TileOp::Add { dst: x, a: x, b: r },
            TileOp::Pack { src: x, operand: 1 },
        ],
        ..TileProgram::default()
    }
}

/// What a party does with two packed shares: the difference to be compared.
fn reconstruct(bits: u8) -> TileProgram {
    let [x, y] = [WordReg(0), WordReg(1)];
    TileProgram {
        operands: vec![
            operand(OperandKind::Packed { bits }, false),
            operand(OperandKind::Packed { bits }, false),
            operand(OperandKind::Words, true),
        ],
        word_regs: 2,
        ops: vec![
            TileOp::Unpack { dst: x, operand: 0 },
            TileOp::Unpack { dst: y, operand: 1 },
            TileOp::Add { dst: x, a: x, b: y },
            TileOp::Low { dst: x, a: x, bits },
            TileOp::Store { src: x, operand: 2 },
        ],
        ..TileProgram::default()
    }
}

/// The shape of a sign's first step: table look-ups as chains of choices by the bits of a word.
fn look_up() -> TileProgram {
    let mut ops = vec![TileOp::Load { dst: WordReg(0), operand: 0 }];
    for block in 0..6_u8 {
        for bit in 0..4_u8 {
            let dst = BitReg(u16::from(bit));
            ops.push(TileOp::BitAt { dst, a: WordReg(0), index: 4 * block + bit });
        }
        for entry in 0..15 {
            let (dst, value) = (BitReg(4 + entry), u16::from(block) * 15 + entry);
            ops.push(TileOp::RandomBit { dst, value, party: 0 });
        }
        for entry in 0..14 {
            let [dst, b] = [BitReg(4 + entry), BitReg(5 + entry)];
            ops.push(TileOp::Mux { dst, bit: BitReg(entry % 4), a: dst, b });
        }
        ops.push(TileOp::StoreBit { src: BitReg(4), operand: 1 + u16::from(block) });
    }
    let mut operands = vec![operand(OperandKind::Words, false)];
    operands.extend([operand(OperandKind::Packed { bits: 1 }, true); 6]);
    TileProgram { operands, values: 90, word_regs: 1, bit_regs: 19, ops }
}

fn maps<W: RingWord>(c: &mut Criterion, name: &str) {
    let mut group = group(c, name);
    let source = vec![1_u8; ELEMENTS * W::BYTES];
    let mut copy = source.clone();
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    measure(&mut group, "roofline: copy", || {
        black_box(&mut copy).copy_from_slice(black_box(&source));
    });
    let [x, y] = [WordReg(0), WordReg(1)];
    let singles = [
        ("add", TileOp::Add { dst: y, a: x, b: x }),
        ("mul", TileOp::Mul { dst: y, a: x, b: x }),
        ("select", TileOp::Select { dst: y, bit: BitReg(0), a: x }),
        ("from bit", TileOp::FromBit { dst: y, bit: BitReg(0) }),
        ("bit at", TileOp::BitAt { dst: BitReg(0), a: x, index: 24 }),
        ("random", TileOp::Random { dst: y, value: 0, party: 0, bits: 25 }),
    ];
    for (name, op) in singles {
        let program = TileProgram { values: 1, ..single(op) };
        run_map::<W>(&mut group, name, &program);
    }
    run_map::<W>(&mut group, "open 25 bits", &opening(25));
    run_map::<W>(&mut group, "open 16 bits", &opening(16));
    run_map::<W>(&mut group, "reconstruct 25 bits", &reconstruct(25));
    run_map::<W>(&mut group, "look up 6 blocks of 4 bits", &look_up());
    group.finish();
}

fn copies(c: &mut Criterion) {
    let mut group = group(c, "copy");
    let src = words::<u32>(1 << 20);
    let mut dst = words::<u32>(1 << 20);
    group.throughput(Throughput::Bytes(4 << 20));
    measure(&mut group, "roofline: copy", || {
        black_box(&mut dst).copy_from_slice(black_box(&src));
    });
    measure(&mut group, "transpose 1024 x 1024", || {
        strided(&mut dst, 0, &[1024, 1], &src, 0, &[1, 1024], &[1024, 1024]);
    });
    let (to, from) = ([65536, 512, 1], [512, 8192, 1]);
    measure(&mut group, "heads 128 x 16 x 512", || {
        strided(&mut dst, 0, &to, &src, 0, &from, &[16, 128, 512]);
    });
    measure(&mut group, "sum 64 terms", || {
        sum(&mut dst[..1 << 14], &src, 16, 64, 1024);
    });
    measure(&mut group, "sum of rows", || {
        sum(&mut dst[..1 << 10], &src, 1024, 1024, 1);
    });
    group.finish();
}

fn all(c: &mut Criterion) {
    convolutions::<u32>(c, "conv32");
    convolutions::<u64>(c, "conv64");
    products::<u32>(c, "matmul32");
    products::<u64>(c, "matmul64");
    streams(c);
    maps::<u32>(c, "map32");
    maps::<u64>(c, "map64");
    copies(c);
}

criterion_group!(benches, all);
criterion_main!(benches);
