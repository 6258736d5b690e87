//! Whole small programs, from masked text to the simulator.

use super::splits::Splits;
use super::{Base, Model, Overlap, ScheduleOptions, Setting, predict, schedule, search};
use crate::protocols::{ExpandOptions, expand};
use insta::assert_snapshot;
use mpcc_ir::masked::{Kind, MaskedProgram, Op};
use mpcc_ir::plan::{
    InputPort, OutputPort, ParamInfo, Phase, Plan, Role, RolePlan, Step, StepOp, WeightsMode, Word,
};
use mpcc_ir::ssa::Node;
use mpcc_ir::text::OpText as _;
use mpcc_ir::weights::Weights;
use mpcc_ir::{Id, views};
use mpcc_runtime::sim::{SimOptions, SimOutcome, run};
use std::collections::BTreeSet;

/// Ports and parameters as the program declares them; parameters come from `params`.
fn model(program: &MaskedProgram, weights: &Weights) -> Model {
    let mut model = Model {
        name: "test".to_owned(),
        model_digest: [0; 32],
        weights_digest: weights.digest(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        params: Vec::new(),
    };
    for node in &program.nodes {
        let (shape, ring, frac) = (node.ty.shape.clone(), node.ty.ring, node.ty.frac);
        let name = "x".to_owned();
        match node.op {
            Op::Input { .. } => model.inputs.push(InputPort {
                name,
                shape,
                ring,
                frac,
                lo: -1e3,
                hi: 1e3,
                mask: 0,
                masked: vec![],
            }),
            Op::Reveal { .. } => model.outputs.push(OutputPort {
                name,
                shape,
                ring,
                frac,
                masked: 0,
                shares: vec![],
                clear: vec![],
                error: 0.0,
            }),
            Op::Weight { .. } => {
                let elements = shape.elements() as u64;
                let public = (node.ty.kind == Kind::Public).then(|| vec![1; elements as usize]);
                model.params.push(ParamInfo {
                    name,
                    elements,
                    frac,
                    public,
                    masked: vec![],
                    mask: None,
                });
            }
            _ => {}
        }
    }
    model
}

fn plan(source: &str, weights: &Weights, options: ScheduleOptions) -> Plan {
    let program = MaskedProgram::parse(source).expect("the test's program parses");
    program.verify().expect("the test's program verifies");
    let expansion = ExpandOptions {
        weights: options.weights,
        parties: options.parties,
        ..ExpandOptions::default()
    };
    let views = expand(&program, &expansion);
    views.verify().expect("expansion verifies");
    schedule(&program, &views, model(&program, weights), options, &Setting::default())
}

const OPTIONS: ScheduleOptions = ScheduleOptions {
    word: Word::W32,
    parties: 2,
    weights: WeightsMode::Party0,
    overlap: Overlap::Pipelined,
    depth: 1,
    chunks: Some(4),
};

fn outcome(plan: &Plan, weights: &Weights, inputs: &[Vec<f32>]) -> SimOutcome {
    run(plan, weights, inputs, SimOptions::default()).expect("the simulation ends")
}

fn no_weights() -> Weights {
    Weights { word: Word::W32, salt: [0; 32], params: vec![] }
}

const RELU: &str = "program {
  %0 = input port port0 mask m0 : masked<32q8>[40x600]
  %1 = narrow %0 : masked<20q8>[40x600]
  %2 = relu %1 mask m1 : masked<32q8>[40x600]
  %3 = reveal %2 port port0 : masked<32q8>[40x600]
  return %3
}";

#[test]
fn a_relu_runs_at_two_and_three_parties() {
    let input: Vec<f32> = (0..24000).map(|i| (i as f32 - 12000.0) / 64.0).collect();
    for parties in [2, 3] {
        let plan = plan(RELU, &no_weights(), ScheduleOptions { parties, ..OPTIONS });
        let result = outcome(&plan, &no_weights(), std::slice::from_ref(&input));
        let expected: Vec<f32> = input.iter().map(|x| x.max(0.0)).collect();
        assert_eq!(result.outputs[0].values, expected);
        assert_eq!((plan.rounds(), result.rounds), (3, 3));
        for role in plan.compute_parties().chain([Role::Dealer]) {
            for phase in mpcc_ir::plan::Phase::ALL {
                assert_eq!(
                    result.counts[&role].sent_bytes(phase),
                    plan.sent_bytes(role, phase),
                    "{role} {phase}"
                );
            }
        }
    }
}

const CONV: &str = "program {
  %0 = input port port0 mask m0 : masked<32q8>[1x9x9x2]
  %1 = weight param w0 mask m1 : weight<32q4>[3x3x2x3]
  %2 = weight param w1 mask m2 : weight<32q12>[3]
  %3 = conv %0, %1, %2 window 3x3 stride 2x2 dilate 1x1 pad [1, 1, 1, 1] groups 1 : shares<32q12>[1x5x5x3]
  %4 = rescale %3 by 4 mask m3 : masked<20q8>[1x5x5x3]
  %5 = relu %4 mask m4 : masked<32q8>[1x5x5x3]
  %6 = reshape %5 : masked<32q8>[1x75]
  %7 = weight param w2 mask m5 : weight<32q4>[75x4]
  %8 = matmul %6, %7 : shares<32q12>[1x4]
  %9 = rescale %8 by 4 mask m6 : masked<24q8>[1x4]
  %10 = reveal %9 port port0 : masked<24q8>[1x4]
  return %10
}";

/// Small whole numbers, so that every step is exact and only truncation differs.
fn conv_weights() -> Weights {
    let tensor = |n: usize, scale: i64| -> Vec<u8> {
        let at = |i: usize| ((i as i64 * 7 % 5 - 2) * scale) as u32;
        (0..n).flat_map(|i| at(i).to_le_bytes()).collect()
    };
    Weights {
        word: Word::W32,
        salt: [0; 32],
        params: vec![tensor(54, 16), tensor(3, 4096), tensor(300, 16)],
    }
}

#[test]
fn convolution_and_matrix_product_agree_in_all_modes() {
    let weights = conv_weights();
    let input: Vec<f32> = (0..162).map(|i| (i * 11 % 17) as f32 - 8.0).collect();
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for weights_mode in [WeightsMode::Party0, WeightsMode::Owner, WeightsMode::Public] {
        for (parties, chunks) in [(2, 1), (3, 4)] {
            let options =
                ScheduleOptions { parties, weights: weights_mode, chunks: Some(chunks), ..OPTIONS };
            let plan = plan(CONV, &weights, options);
            let result = outcome(&plan, &weights, std::slice::from_ref(&input));
            plan.verify().expect("the verifier accepts the plan");
            assert_eq!(result.rounds, plan.rounds());
            // Nobody waits for ever where runs are in flight, so what they take is not just a sum.
            let forecast = plan.forecast.expect("a forecast");
            assert_ne!(forecast.run_us, forecast.offline_us + forecast.online_us);
            seen.push(result.outputs[0].values.clone());
        }
    }
    for values in &seen {
        for (a, b) in values.iter().zip(&seen[0]) {
            // One truncation of each of 75 terms, times weights of at most 2.
            assert!((a - b).abs() <= 0.25, "{values:?} and {:?}", seen[0]);
        }
    }
    assert!(seen[0].iter().any(|v| v.abs() > 1.0));
}

#[test]
fn who_knows_the_weights_multiplies_once() {
    // Products offline and online of P0, P1 and the dealer.
    let products = |weights| {
        let options = ScheduleOptions { weights, chunks: Some(1), ..OPTIONS };
        let plan = plan(CONV, &conv_weights(), options);
        let count = |steps: &[Step]| {
            let product =
                |step: &&Step| matches!(step.op, StepOp::Conv { .. } | StepOp::MatMul { .. });
            steps.iter().filter(product).count()
        };
        let role = |role: &RolePlan| (count(&role.offline), count(&role.online));
        plan.roles.iter().map(role).collect::<Vec<_>>()
    };
    assert_eq!(products(WeightsMode::Party0), [(0, 2), (2, 0), (2, 0)]);
    assert_eq!(products(WeightsMode::Public), [(0, 2), (2, 0), (0, 0)]);
    assert_eq!(products(WeightsMode::Owner), [(2, 2), (2, 2), (2, 0)]);
}

#[test]
fn p0_does_not_mask_what_it_alone_learns() {
    let text = "program {
      %0 = input port port0 mask m0 : masked<32q8>[1x600]
      %1 = narrow %0 : masked<20q8>[1x600]
      %2 = relu %1 mask m1 : masked<32q8>[1x600]
      %3 = weight param w0 mask m2 : weight<32q4>[600x2]
      %4 = matmul %2, %3 : shares<32q12>[1x2]
      %5 = rescale %4 by 4 mask m3 : masked<24q8>[1x2]
      %6 = reveal %5 port port0 : masked<24q8>[1x2]
      return %6
    }";
    let tensor = (0..1200u32).flat_map(|i| (i % 3).to_le_bytes()).collect();
    let weights = Weights { word: Word::W32, salt: [0; 32], params: vec![tensor] };
    let program = MaskedProgram::parse(text).expect("the test's program parses");
    // Of the openings with 20 bits and more, whether P0 and P1 draw their part of the mask.
    let drawn = |mode, parties| {
        let options = ScheduleOptions { weights: mode, parties, ..OPTIONS };
        let expansion = ExpandOptions { weights: mode, parties, ..ExpandOptions::default() };
        let views = expand(&program, &expansion);
        let plan = plan(text, &weights, options);
        plan.verify().expect("the verifier accepts the plan");
        let draws = |role: usize, value: u32| {
            let steps = plan.roles[role].offline.iter().chain(&plan.roles[role].online);
            steps.into_iter().any(
                |step| matches!(&step.op, StepOp::Map { values, .. } if values.contains(&value)),
            )
        };
        let opens =
            views.nodes.iter().filter(|n| n.op == views::Op::Open && n.ty.elem.bits() >= 20);
        let mask = |id: Id| match &views[id] {
            Node { op: views::Op::Random { value, .. }, .. } => Some(*value),
            Node { args, .. } => match views[args[0]].op {
                views::Op::Random { value, .. } => Some(value),
                _ => None,
            },
        };
        let values = opens.map(|open| mask(open.args[1]).expect("a mask"));
        values.map(|value| (draws(0, value), draws(1, value))).collect::<Vec<_>>()
    };
    for parties in [2, 3] {
        // What the ReLU and the rescale open.
        assert_eq!(drawn(WeightsMode::Party0, parties), [(false, true), (true, true)]);
        assert_eq!(drawn(WeightsMode::Owner, parties), [(true, true), (true, true)]);
    }
}

const WIDE: &str = "program {
  %0 = input port port0 mask m0 : masked<32q8>[1x30x30x2]
  %1 = weight param w0 mask m1 : weight<32q4>[3x3x2x40]
  %2 = weight param w1 mask m2 : weight<32q12>[40]
  %3 = conv %0, %1, %2 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : shares<32q12>[1x30x30x40]
  %4 = rescale %3 by 4 mask m3 : masked<20q8>[1x30x30x40]
  %5 = relu %4 mask m4 : masked<32q8>[1x30x30x40]
  %6 = reveal %5 port port0 : masked<32q8>[1x30x30x40]
  return %6
}";

/// The base of `WIDE` under `options`, with what `check` makes of it.
fn with_base<R>(options: ScheduleOptions, check: impl FnOnce(&Base<'_>, &Weights) -> R) -> R {
    let program = MaskedProgram::parse(WIDE).expect("the test's program parses");
    let tensor = |n: usize, scale: i64| -> Vec<u8> {
        (0..n).flat_map(|i| (((i as i64 * 7 % 5 - 2) * scale) as u32).to_le_bytes()).collect()
    };
    let params = vec![tensor(720, 16), tensor(40, 4096)];
    let weights = Weights { word: Word::W32, salt: [0; 32], params };
    let views = expand(&program, &ExpandOptions::default());
    check(&Base::new(&program, &views, model(&program, &weights), options), &weights)
}

/// Steps of `P0` online, and a message's bytes in a row of such messages.
fn online(plan: &Plan) -> String {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for step in &plan.roles[0].online {
        let name = step.op.mnemonic().to_owned();
        match runs.last_mut().filter(|(last, _)| *last == name) {
            Some((_, count)) => *count += 1,
            None => runs.push((name, 1)),
        }
    }
    let run = |(name, count): (String, usize)| format!("{name} {count}");
    runs.into_iter().map(run).collect::<Vec<_>>().join(", ")
}

#[test]
fn products_and_groups_are_cut_without_changing_a_bit() {
    with_base(OPTIONS, |base, weights| {
        let input: Vec<f32> = (0..1800).map(|i| (i * 11 % 17) as f32 - 8.0).collect();
        let whole = base.emit(&Splits::even(base.classes, 1));
        assert_snapshot!(online(&whole), @"receive 1, map 1, conv 1, map 1, send 1, map 1, send 1, receive 1, map 1, send 1, receive 1, map 1, receive 1, map 1, send 1, map 1, send 1");
        let mut splits = Splits::even(base.classes, 3);
        for (at, node) in base.fused[0].values.iter().enumerate() {
            assert!(at < base.fused[0].live.len());
            splits.set_parts(node.view, 2);
        }
        let cut = base.emit(&splits);
        assert_snapshot!(online(&cut), @"receive 1, map 1, conv 2, map 1, send 1, map 1, send 1, map 1, send 1, map 1, send 1, map 1, send 1, map 1, send 1, receive 3, map 1, send 1, map 1, send 1, map 1, send 1, receive 3, map 3, receive 3, map 3, send 1, map 3, send 1");
        cut.verify().expect("the verifier accepts the plan");
        let [a, b] = [&whole, &cut].map(|plan| {
            let result = outcome(plan, weights, std::slice::from_ref(&input));
            assert_eq!(result.rounds, plan.rounds());
            (
                result.outputs[0].raw.clone(),
                result.rounds,
                plan.sent_bytes(Role::Party(0), Phase::Online),
            )
        });
        assert_eq!(a, b);
    });
}

#[test]
fn schedules_with_barriers_wait() {
    // How many steps may run beside each other: the fewer, the more a step waits for.
    let waits = |overlap| {
        with_base(ScheduleOptions { overlap, ..OPTIONS }, |base, weights| {
            let plan = base.emit(&Splits::even(base.classes, 4));
            plan.verify().expect("the verifier accepts the plan");
            let input: Vec<f32> = (0..1800).map(|i| (i * 11 % 17) as f32 - 8.0).collect();
            let result = outcome(&plan, weights, &[input]);
            (
                plan.roles[0].online.iter().map(|step| step.after.len()).sum::<usize>(),
                result.outputs[0].raw.clone(),
            )
        })
    };
    let [sequential, layer, pipelined] =
        [Overlap::Sequential, Overlap::Layer, Overlap::Pipelined].map(waits);
    assert!(sequential.0 > pipelined.0 && layer.0 >= pipelined.0);
    assert!(sequential.1 == pipelined.1 && layer.1 == pipelined.1);
}

#[test]
fn a_dealer_that_may_not_overlap_sends_when_all_is_computed() {
    let steps = |overlap| {
        with_base(ScheduleOptions { overlap, ..OPTIONS }, |base, _| {
            let mut plan = base.emit(&Splits::even(base.classes, 1));
            plan.roles.pop().expect("the dealer is the last role").offline
        })
    };
    let is_send = |step: &Step| matches!(step.op, StepOp::Send { .. });
    let sequential = steps(Overlap::Sequential);
    let first = sequential.iter().position(is_send).expect("the dealer sends");
    let (computed, sent) = sequential.split_at(first);
    assert!(!computed.is_empty() && sent.len() > 1 && sent.iter().all(is_send));
    // What nothing that is computed waits for is what each of them waits for.
    let waited: BTreeSet<u32> = computed.iter().flat_map(|step| step.after.clone()).collect();
    let last: Vec<u32> = (0..computed.len() as u32).filter(|at| !waited.contains(at)).collect();
    let waits = |step: &Step| last.iter().all(|at| step.after.contains(at));
    assert!(sent.iter().all(waits));
    let pipelined = steps(Overlap::Pipelined);
    assert_eq!(pipelined.len(), sequential.len());
    let last = pipelined.iter().rposition(|step| !is_send(step));
    assert!(pipelined.iter().position(is_send) < last);
}

#[test]
fn the_search_keeps_what_takes_least() {
    let slow = Setting { link: "100mbit,0.1ms".parse().expect("a link"), ..Setting::default() };
    with_base(ScheduleOptions { chunks: None, ..OPTIONS }, |base, _| {
        let (splits, choices) = search::search(base, &slow);
        let best: f64 = predict::times_us(&base.emit(&splits), &slow)[1];
        for count in [1, 2, 4, 8, 16, 32, 64] {
            let other = predict::times_us(&base.emit(&Splits::even(base.classes, count)), &slow);
            assert!(best <= other[1] * 1.01, "{count} chunks take {}, not {best}", other[1]);
        }
        let again = search::search(base, &slow);
        assert_eq!((again.0, again.1), (splits, choices));
    });
}

#[test]
fn what_is_cut_says_why() {
    let words = |options: ScheduleOptions| {
        with_base(options, |base, _| search::search(base, &Setting::default()).1.join(" | "))
    };
    assert_snapshot!(words(OPTIONS), @"parts, chunks 4: as asked");
    assert_snapshot!(words(ScheduleOptions { overlap: Overlap::Sequential, chunks: None, ..OPTIONS }), @"parts, chunks 1: sequential");
    assert_snapshot!(words(ScheduleOptions { chunks: None, ..OPTIONS }), @"parts 2: saves 2.1 us; chunks 2: saves 0.18 ms");
}

/// What pads the shares is a padded zero, which `P_0` adds.
#[test]
fn shares_are_padded_with_a_value() {
    let source = "program {
      %0 = input port port0 mask m0 : masked<32q8>[1x3]
      %1 = to_shares %0 : shares<32q8>[1x3]
      %2 = pad %1 before [1, 1] after [0, 0] interior [0, 0] value 512 : shares<32q8>[2x4]
      %3 = rescale %2 by 4 mask m1 : masked<24q4>[2x4]
      %4 = reveal %3 port port0 : masked<24q4>[2x4]
      return %4
    }";
    let plan = plan(source, &no_weights(), OPTIONS);
    let result = outcome(&plan, &no_weights(), &[vec![1.0, -3.0, 0.5]]);
    let rounded: Vec<f32> =
        result.outputs[0].values.iter().map(|v| (v * 4.0).round() / 4.0).collect();
    assert_eq!(rounded, [2.0, 2.0, 2.0, 2.0, 2.0, 1.0, -3.0, 0.5]);
}
