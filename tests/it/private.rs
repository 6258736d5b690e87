//! Real models, compiled and run privately, against the outputs that ONNX Runtime computed.

use mpcc_compiler::compile::{CompileOptions, Compiled, compile};
use mpcc_compiler::schedule::{Overlap, Setting};
use mpcc_ir::nn::interp::Tensor;
use mpcc_ir::plan::{Phase, Plan, Role, WeightsMode};
use mpcc_runtime::sim::{Sim, SimOptions, SimOutcome, run};
use mpcc_runtime::tensors::read_npy;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/real").join(model)
}

fn tensor(model: &str, file: &str) -> Tensor {
    let (shape, data) = read_npy(&folder(model).join(file)).expect("a stored tensor");
    Tensor { shape, data }
}

fn compiled(model: &str, options: CompileOptions) -> Compiled {
    let bytes = std::fs::read(folder(model).join("model.onnx")).expect("a stored model");
    let samples = vec![vec![tensor(model, "input_0.npy")]];
    compile(&bytes, &CompileOptions { samples, ..options }, &mut |_| ()).expect("it compiles")
}

fn simulate(model: &str, compiled: &Compiled, options: SimOptions) -> SimOutcome {
    let input = tensor(model, "input_0.npy").data;
    run(&compiled.plan, &compiled.weights, &[input], options).expect("it runs")
}

/// Largest error in units of the largest expected value, and whether the largest entries agree.
fn error(model: &str, outcome: &SimOutcome) -> (f32, bool) {
    let expected = tensor(model, "output_0.npy").data;
    let found = &outcome.outputs[0].values;
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0_f32, |a, b| a.max(b.abs()));
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0_f32, f32::max);
    let top = |v: &[f32]| v.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
    (worst / largest, top(found) == top(&expected))
}

const CNNS: [&str; 9] = [
    "cancer-logistic",
    "cancer-mlp",
    "espcn-resize",
    "mnist-minionn",
    "mnist-mlp",
    "mnist-zoo",
    "ppocr-cls",
    "ppocr-det-en",
    "wakeword-embedding",
];

#[test]
fn real_models_agree_and_cost_what_the_plan_says() {
    for model in CNNS {
        let compiled = compiled(model, CompileOptions::default());
        let outcome = simulate(model, &compiled, SimOptions::default());
        let (error, same) = error(model, &outcome);
        assert!(error < 0.02 && same, "{model}: error {error}, same argmax {same}");
        let plan = &compiled.plan;
        assert_eq!(outcome.rounds, plan.rounds(), "{model}");
        for role in plan.compute_parties().chain([Role::Dealer]) {
            for phase in Phase::ALL {
                let counted = outcome.counts[&role].sent_bytes(phase);
                assert_eq!(counted, plan.sent_bytes(role, phase), "{model}: {role} {phase}");
            }
        }
    }
}

#[test]
fn three_parties_and_all_owners_of_weights_agree() {
    let model = "mnist-minionn";
    for weights in [WeightsMode::Party0, WeightsMode::Owner, WeightsMode::Public] {
        for parties in [2, 3] {
            let options = CompileOptions { weights, parties, ..CompileOptions::default() };
            let outcome = simulate(model, &compiled(model, options), SimOptions::default());
            let (error, same) = error(model, &outcome);
            assert!(error < 0.01 && same, "{weights}, {parties} parties: {error}");
        }
    }
}

#[test]
fn chunks_threads_and_order_of_messages_change_no_bit() {
    let model = "espcn-resize";
    let mut seen: Vec<Vec<i64>> = Vec::new();
    for chunks in [1, 3, 8] {
        let options = CompileOptions { chunks: Some(chunks), ..CompileOptions::default() };
        let compiled = compiled(model, options);
        for (threads, reorder) in [(1, false), (2, true)] {
            let options = SimOptions { threads, reorder, ..SimOptions::default() };
            seen.push(simulate(model, &compiled, options).outputs[0].raw.clone());
        }
    }
    assert!(seen.iter().all(|bits| *bits == seen[0]));
}

#[test]
fn no_schedule_changes_a_bit_or_sends_more() {
    let model = "espcn-resize";
    let mut seen: Vec<(Vec<i64>, u64)> = Vec::new();
    for overlap in [Overlap::Sequential, Overlap::Layer, Overlap::Pipelined] {
        for link in ["lan10g", "wan"] {
            let link = link.parse().expect("a known name");
            let setting = Setting { link, ..Setting::default() };
            let options = CompileOptions { overlap, setting, ..CompileOptions::default() };
            let compiled = compiled(model, options);
            let forecast = compiled.plan.forecast.as_ref().expect("it is predicted");
            assert!(forecast.bound_us() > 0.0 && forecast.bound_us() <= forecast.online_us);
            let options = SimOptions { threads: 2, reorder: true, ..SimOptions::default() };
            let bits = simulate(model, &compiled, options).outputs[0].raw.clone();
            let roles = compiled.plan.roles.iter().map(|role| role.role);
            let sent = |role| compiled.plan.sent_bytes(role, Phase::Online);
            seen.push((bits, roles.map(sent).sum()));
        }
    }
    assert!(seen.iter().all(|(bits, bytes)| *bits == seen[0].0 && *bytes <= seen[0].1 + 64));
}

/// Masks decide how an opening rounds, so every run number has bits of its own.
#[test]
fn runs_in_flight_change_no_bit() {
    let model = "mnist-minionn";
    let Compiled { plan, weights, .. } = compiled(model, CompileOptions::default());
    let weights = Arc::new(weights);
    let input = tensor(model, "input_0.npy").data;
    let dimmed = |run: u64| input.iter().map(|x| x / run as f32).collect();
    let runs: Vec<(u64, Vec<Vec<f32>>)> = (1..=7).map(|run| (run, vec![dimmed(run)])).collect();
    let mut seen: Vec<Vec<Vec<i64>>> = Vec::new();
    for (depth, threads, reorder) in [(1, 1, false), (2, 1, true), (4, 2, true)] {
        let plan = Plan { depth, ..plan.clone() };
        let options = SimOptions { threads, reorder, ..SimOptions::default() };
        let mut sim = Sim::new(&plan, Arc::clone(&weights), options).expect("it starts");
        let outcomes = sim.run_all(&runs).expect("they run");
        seen.push(outcomes.into_iter().map(|outcome| outcome.outputs[0].raw.clone()).collect());
    }
    assert!(seen.iter().all(|bits| *bits == seen[0]));
    assert!(seen[0].windows(2).all(|pair| pair[0] != pair[1]), "other masks, other bits");
}
