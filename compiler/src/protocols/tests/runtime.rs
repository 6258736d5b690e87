//! The scheduled plan under the runtime's simulator against the interpreter of views.
//!
//! Both draw the same masks by address, so what is revealed must agree bit for bit: a rescale's last
//! unit depends on every share before it.

use super::{MODES, expanded};
use crate::protocols::ExpandOptions;
use crate::schedule::{Model, Overlap, ScheduleOptions, Setting, schedule};
use mpcc_ir::masked::{MaskedProgram, Op};
use mpcc_ir::plan::{InputPort, OutputPort, ParamInfo, Word};
use mpcc_ir::views::interp::{Inputs, MaskSource, run};
use mpcc_ir::weights::Weights;
use mpcc_ir::{ParamId, PortId};
use mpcc_runtime::mask::{Epoch, Masks};
use mpcc_runtime::sim::{self, SimOptions, party_seed};

const SEED: u64 = 5;

/// The runtime's streams in the first run of a simulation.
struct Streams {
    deploy: Masks,
    run: Masks,
}

impl Streams {
    fn new(parties: u8) -> Self {
        let all = |epoch: Epoch| {
            (0..parties).fold(Masks::new(parties), |masks, b| {
                masks.with_party(b, &party_seed(SEED, b), epoch)
            })
        };
        Self { deploy: all(Epoch::Deploy), run: all(Epoch::Run(1)) }
    }
}

impl MaskSource for Streams {
    fn words(&self, party: usize, value: u32, once: bool, first: u64, bits: u8, out: &mut [u64]) {
        let masks = if once { &self.deploy } else { &self.run };
        masks.fill_words(party as u8, value, bits, first, out);
    }
}

/// The ports and parameters of a program, for the scheduler.
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
        let (name, ty) = ("x".to_owned(), &node.ty);
        let (shape, ring, frac) = (ty.shape.clone(), ty.ring, ty.frac);
        if matches!(node.op, Op::Input { .. }) {
            let (lo, hi, mask, masked) = (-1e6, 1e6, 0, vec![]);
            model.inputs.push(InputPort { name, shape, ring, frac, lo, hi, mask, masked });
        } else if matches!(node.op, Op::Reveal { .. }) {
            let (masked, shares, clear) = (0, vec![], vec![]);
            let error = 0.0;
            model.outputs.push(OutputPort {
                name,
                shape,
                ring,
                frac,
                masked,
                shares,
                clear,
                error,
            });
        } else if matches!(node.op, Op::Weight { .. }) {
            let (elements, public, masked, mask) = (shape.elements() as u64, None, vec![], None);
            model.params.push(ParamInfo { name, elements, frac, public, masked, mask });
        }
    }
    model
}

/// What each of the two reveals, for all modes and two and three parties.
fn assert_agree(text: &str, word: Word, input: &[i64], params: &[Vec<i64>]) {
    let bytes = |v: &i64| v.to_le_bytes()[..usize::from(word.bits() / 8)].to_vec();
    let params_bytes = params.iter().map(|p| p.iter().flat_map(bytes).collect()).collect();
    let weights = Weights { word, salt: [0; 32], params: params_bytes };
    let lists: Vec<&[i64]> = params.iter().map(Vec::as_slice).collect();
    let (ports, ring_params) = (super::words(&[input], PortId), super::words(&lists, ParamId));
    let reals: Vec<f32> = input.iter().map(|v| *v as f32).collect();
    for mode in MODES {
        for parties in [2, 3] {
            let options = ExpandOptions { weights: mode, parties, ..ExpandOptions::default() };
            let (masked, views) = expanded(text, &options);
            let inputs = Inputs { ports: &ports, params: &ring_params };
            let outcome = run(&views, parties.into(), &Streams::new(parties), inputs).unwrap();
            let options = ScheduleOptions {
                word,
                parties,
                weights: mode,
                overlap: Overlap::Pipelined,
                depth: 1,
                chunks: Some(4),
            };
            let plan =
                schedule(&masked, &views, model(&masked, &weights), options, &Setting::default());
            let options = SimOptions { seed: SEED, ..SimOptions::default() };
            let real = sim::run(&plan, &weights, std::slice::from_ref(&reals), options).unwrap();
            let ring = masked[masked.outputs[0]].ty.ring;
            let wanted = super::signed(&outcome.outputs[0], ring);
            assert_eq!(real.outputs[0].raw, wanted, "{mode}, {parties} parties");
            // A party that needs no opened value of the last opening is not sent its messages.
            assert_eq!(real.rounds, plan.rounds(), "{mode}, {parties} parties");
            assert!(real.rounds <= outcome.cost.rounds, "{mode}, {parties} parties");
        }
    }
}

/// Whole numbers without a pattern that an operation could keep.
fn numbers(count: usize, bound: i64) -> Vec<i64> {
    (0..count as i64).map(|i| (i * i * 7919 + i * 104_729 + 13) % (2 * bound) - bound).collect()
}

#[test]
fn layers_agree_bit_for_bit_in_32_bits() {
    let text = "program {
      %0 = input port port0 mask m0 : masked<32>[1x9x9x2]
      %1 = weight param w0 mask m1 : weight<32>[3x3x2x3]
      %2 = weight param w1 mask m2 : weight<32>[3]
      %3 = conv %0, %1, %2 window 3x3 stride 2x2 dilate 1x1 pad [1, 1, 1, 1] groups 1 : shares<32>[1x5x5x3]
      %4 = rescale %3 by 5 mask m3 : masked<22q-5>[1x5x5x3]
      %5 = relu %4 mask m4 : masked<32q-5>[1x5x5x3]
      %6 = slice %5 starts [0, 0, 1, 0] steps [1, 1, 1, 1] : masked<32q-5>[1x5x4x3]
      %7 = slice %5 starts [0, 0, 0, 0] steps [1, 1, 1, 1] : masked<32q-5>[1x5x4x3]
      %8 = sub %7, %6 : masked<32q-5>[1x5x4x3]
      %9 = narrow %8 : masked<23q-5>[1x5x4x3]
      %10 = relu %9 mask m5 : masked<32q-5>[1x5x4x3]
      %11 = add %6, %10 : masked<32q-5>[1x5x4x3]
      %12 = mul %11, %11 : shares<32q-10>[1x5x4x3]
      %13 = rescale %12 by 6 mask m6 : masked<18q-16>[1x5x4x3]
      %14 = lift %13 mask m7 : masked<32q-16>[1x5x4x3]
      %15 = offset %14 by -7 : masked<32q-16>[1x5x4x3]
      %16 = reveal %15 port port0 : masked<32q-16>[1x5x4x3]
      return %16
    }";
    let params = [numbers(54, 20), numbers(3, 2000)];
    assert_agree(text, Word::W32, &numbers(162, 500), &params);
}

#[test]
fn layers_agree_bit_for_bit_in_64_bits() {
    let text = "program {
      %0 = input port port0 mask m0 : masked<64>[4x5]
      %1 = weight param w0 mask m1 : weight<64>[5x30]
      %2 = matmul %0, %1 : shares<64>[4x30]
      %3 = rescale %2 by 9 mask m2 : masked<40q-9>[4x30]
      %4 = relu %3 mask m3 : masked<64q-9>[4x30]
      %5 = to_shares %4 : shares<64q-9>[4x30]
      %6 = rescale %5 by 3 mask m4 : masked<60q-12>[4x30]
      %7 = reveal %6 port port0 : masked<60q-12>[4x30]
      return %7
    }";
    assert_agree(text, Word::W64, &numbers(20, 1 << 19), &[numbers(150, 1 << 14)]);
}

#[test]
fn moved_and_summed_masks_agree_in_what_p0_and_the_dealer_take_of_them() {
    let text = "program {
      %0 = input port port0 mask m0 : masked<32>[1x3x4x2]
      %1 = weight param w0 mask m1 : weight<32>[1x1x4x3]
      %2 = pad %0 before [0, 1, 0, 0] after [0, 0, 1, 0] interior [0, 0, 0, 0] value 5 : masked<32>[1x4x5x2]
      %3 = slice %2 starts [0, 3, 0, 0] steps [1, -1, 1, 1] : masked<32>[1x4x5x2]
      %4 = scale %3 by -3 : masked<32>[1x4x5x2]
      %5 = sub %2, %4 : masked<32>[1x4x5x2]
      %6 = concat %5, %3 axis 3 : masked<32>[1x4x5x4]
      %7 = offset %6 by 7 : masked<32>[1x4x5x4]
      %8 = transpose %7 perm [0, 2, 1, 3] : masked<32>[1x5x4x4]
      %9 = conv %8, %1 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32>[1x5x4x3]
      %10 = to_shares %8 : shares<32>[1x5x4x4]
      %11 = slice %10 starts [0, 0, 0, 1] steps [1, 1, 1, 1] : shares<32>[1x5x4x3]
      %12 = add %9, %11 : shares<32>[1x5x4x3]
      %13 = rescale %12 by 3 mask m2 : masked<20q-3>[1x5x4x3]
      %14 = reveal %13 port port0 : masked<20q-3>[1x5x4x3]
      return %14
    }";
    assert_agree(text, Word::W32, &numbers(24, 900), &[numbers(12, 50)]);
}
