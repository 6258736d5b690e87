//! The check that a pass keeps the meaning of a masked program.

use super::Pass;
use crate::protocols::{ExpandOptions, expand};
use mpcc_ir::masked::interp::{Truncation, evaluate};
use mpcc_ir::masked::{MaskedProgram, Op, verify};
use mpcc_ir::views::cost::total;

/// Largest input and parameter, in units of the last place.
const SIZE: u64 = 400;
/// How far an output may move, in units of the last place.
const TOLERANCE: i64 = 2;

/// The program that `pass` makes of `src` and its cost, after checking that it is well formed and
/// reveals the same on seeded inputs and parameters.
pub(crate) fn after(pass: Pass, src: &str) -> String {
    let mut program = MaskedProgram::parse(src).unwrap_or_else(|error| panic!("{error}\n{src}"));
    verify::verify(&program).unwrap_or_else(|error| panic!("before the pass: {error}"));
    let before = program.clone();
    pass(&mut program);
    verify::verify(&program).unwrap_or_else(|error| panic!("after the pass: {error}\n{program}"));
    for seed in 0..8 {
        let (want, found) = (run(&before, seed), run(&program, seed));
        for (want, found) in want.iter().flatten().zip(found.iter().flatten()) {
            assert!((want - found).abs() <= TOLERANCE, "{want} became {found}\n{program}");
        }
    }
    format!("{program}  ; {}", cost(&program))
}

fn run(program: &MaskedProgram, seed: u64) -> Vec<Vec<i64>> {
    let (mut inputs, mut params) = (Vec::new(), Vec::new());
    for (at, node) in program.nodes.iter().enumerate() {
        let entry = |i: usize| {
            (mix(seed << 32 ^ (at << 16) as u64 ^ i as u64) % (2 * SIZE)) as i64 - SIZE as i64
        };
        let data: Vec<i64> = (0..node.ty.shape.elements()).map(entry).collect();
        let (table, index) = if let Op::Input { port, .. } = node.op {
            (&mut inputs, port.index())
        } else if let Op::Weight { param, .. } = node.op {
            (&mut params, param.index())
        } else {
            continue;
        };
        table.resize(table.len().max(index + 1), Vec::new());
        table[index] = data;
    }
    let params: Vec<&[i64]> = params.iter().map(Vec::as_slice).collect();
    evaluate(program, &inputs, &params, Truncation::Nearest).unwrap()
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Counted from the program's expansion for two parties.
fn cost(program: &MaskedProgram) -> String {
    let cost = total(&expand(program, &ExpandOptions::default()));
    let rounds =
        if cost.rounds == 1 { "1 round".to_owned() } else { format!("{} rounds", cost.rounds) };
    format!("{rounds}, {} B each way", cost.online_bits.div_ceil(8))
}
