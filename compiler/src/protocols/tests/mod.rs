//! Every protocol with all roles against the clear result, and its cost against the specification's.

mod counts;
mod meaning;
mod runtime;
mod vectors;

use super::{Builder, ExpandOptions, expand};
use mpcc_ir::masked::MaskedProgram;
use mpcc_ir::plan::WeightsMode;
use mpcc_ir::views::interp::{Inputs, TestMasks, run};
use mpcc_ir::views::{ViewsProgram, cost, interp, verify};
use mpcc_ir::{Id, ParamId, PortId};

const MODES: [WeightsMode; 3] = [WeightsMode::Party0, WeightsMode::Owner, WeightsMode::Public];

/// Two's-complement reading of ring elements.
fn signed(words: &[u64], bits: u8) -> Vec<i64> {
    words.iter().map(|w| ((w << (64 - bits)) as i64) >> (64 - bits)).collect()
}

/// Integers by port or parameter, as ring elements.
fn words<K: Ord>(lists: &[&[i64]], id: fn(u32) -> K) -> std::collections::BTreeMap<K, Vec<u64>> {
    let words = lists.iter().map(|list| list.iter().map(|v| *v as u64).collect());
    (0..).map(id).zip(words).collect()
}

/// Runs a views program on integers; the counted cost must be the static one.
fn run_views(
    program: &ViewsProgram,
    parties: u8,
    ports: &[&[i64]],
    params: &[&[i64]],
) -> interp::Outcome {
    let (ports, params) = (words(ports, PortId), words(params, ParamId));
    let inputs = Inputs { ports: &ports, params: &params };
    let outcome = run(program, usize::from(parties), &TestMasks(7), inputs).unwrap();
    assert_eq!(outcome.cost, cost::total(program));
    outcome
}

/// Expands a masked program, verifies it, and checks that its text reads back.
fn expanded(text: &str, options: &ExpandOptions) -> (MaskedProgram, ViewsProgram) {
    let masked = MaskedProgram::parse(text).unwrap();
    masked.verify().unwrap();
    let views = expand(&masked, options);
    verify::verify(&views).unwrap();
    assert_eq!(ViewsProgram::parse(&views.to_string()).unwrap(), views);
    (masked, views)
}

/// What a masked program reveals, in the ports' order, for given options.
fn revealed(
    text: &str,
    options: &ExpandOptions,
    ports: &[&[i64]],
    params: &[&[i64]],
) -> Vec<Vec<i64>> {
    let (masked, views) = expanded(text, options);
    let outcome = run_views(&views, options.parties, ports, params);
    let rings = masked.outputs.iter().map(|id| masked[*id].ty.ring);
    outcome.outputs.iter().zip(rings).map(|(out, ring)| signed(out, ring)).collect()
}

/// Checks what a masked program reveals, for two and three parties and every owner of the weights.
fn assert_reveals(text: &str, ports: &[&[i64]], params: &[&[i64]], want: &[&[i64]]) {
    for weights in MODES {
        for parties in [2, 3] {
            let options = ExpandOptions { weights, parties, ..ExpandOptions::default() };
            let got = revealed(text, &options, ports, params);
            assert_eq!(got, want, "{weights}, {parties} parties");
        }
    }
}

/// A program of the builder that returns `output` as it is, without a reveal.
fn finish(b: Builder, output: Id) -> ViewsProgram {
    let program = b.finish(vec![output]);
    program.verify().unwrap();
    program
}
