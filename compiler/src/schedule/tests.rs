//! Whole small programs, from masked text to the simulator.

use super::{Model, Overlap, ScheduleOptions, Setting, schedule};
use crate::protocols::{ExpandOptions, expand};
use mpcc_ir::masked::{Kind, MaskedProgram, Op};
use mpcc_ir::plan::{InputPort, OutputPort, ParamInfo, Plan, Role, WeightsMode, Word};
use mpcc_ir::weights::Weights;
use mpcc_runtime::sim::{SimOptions, SimOutcome, run};

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

const OPTIONS: ScheduleOptions =
    ScheduleOptions { word: Word::W32, parties: 2, weights: WeightsMode::Party0, overlap: Overlap::Pipelined, chunks: Some(4) };

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
  %0 = input port port0 mask m0 : masked<32q8>[1x2x9x9]
  %1 = weight param w0 mask m1 : weight<32q4>[3x2x3x3]
  %2 = weight param w1 mask m2 : weight<32q12>[3]
  %3 = conv %0, %1, %2 window 3x3 stride 2x2 dilate 1x1 pad [1, 1, 1, 1] groups 1 : shares<32q12>[1x3x5x5]
  %4 = rescale %3 by 4 mask m3 : masked<20q8>[1x3x5x5]
  %5 = relu %4 mask m4 : masked<32q8>[1x3x5x5]
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
            let options = ScheduleOptions { parties, weights: weights_mode, chunks: Some(chunks), ..OPTIONS };
            let plan = plan(CONV, &weights, options);
            let result = outcome(&plan, &weights, std::slice::from_ref(&input));
            plan.verify().expect("the verifier accepts the plan");
            assert_eq!(result.rounds, plan.rounds());
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
