//! The executable specification's results and costs: `tests/spec/vectors.json`.

use super::super::{AtP0 as _, Masked, lift, powers, product, relu, rescale, sign};
use super::super::{Bilinear, Builder, MaskedBit, MaskedIn, Share, ShareBit};
use super::{finish, run_views, signed};
use mpcc_ir::views::cost::Cost;
use mpcc_ir::views::{Elem, Op};
use mpcc_ir::{Id, PortId, Shape};

/// One case; parameters that a protocol does not have are absent.
#[derive(Debug, serde::Deserialize)]
struct Case {
    protocol: String,
    parties: u8,
    #[serde(default)]
    k: u8,
    #[serde(default)]
    n: u8,
    #[serde(default)]
    t: u8,
    #[serde(default)]
    block: u8,
    #[serde(default)]
    coef: Vec<i64>,
    inputs: Vec<Vec<i64>>,
    result: Vec<i64>,
    slack: i64,
    rounds: u32,
    online_bits: u64,
    correction_bits: u64,
}

impl Case {
    /// Corrections that are not sent: sums of products of masks are shared, not the products (`sign::join`), and a mask
    /// that is the rest of a wider one is lifted by its high bits (`lift::mask`).
    fn saved(&self) -> u64 {
        let compares = matches!(self.protocol.as_str(), "negative" | "relu" | "maximum");
        let blocks = u32::from(self.n.saturating_sub(1)).div_ceil(u32::from(self.block.max(1)));
        assert!(!compares || blocks <= 6, "more are joined in levels");
        let joined = if compares && blocks > 1 { (1 << (blocks - 1)) + 1 - blocks } else { 0 };
        // That of a difference, in the smaller ring where it is compared.
        let lifted = if self.protocol == "maximum" && self.n < self.k { self.n } else { 0 };
        u64::from(joined + u32::from(lifted)) * self.result.len() as u64
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../../../tests/spec/vectors.json")).unwrap()
}

/// The protocol of a case, on masked inputs; what it gives, as shares.
fn build(b: &Builder, case: &Case) -> Id {
    let input = |port: u32, ring: u8| {
        b.input(PortId(port), ring, &Shape::of(&[case.inputs[port as usize].len()]))
    };
    let (k, n) = (case.k, case.n);
    let masked = |x: Masked| x.shares().id();
    match case.protocol.as_str() {
        "share" => masked(input(0, k)),
        "multiply" => {
            let op = Bilinear { op: Op::Mul, shape: Shape::of(&[case.result.len()]) };
            product::of_masked(b, &op, &input(0, k), &input(1, k), None).id()
        }
        "matmul" => {
            let x = b.input(PortId(0), k, &Shape::of(&[2, 3]));
            let y = b.input(PortId(1), k, &Shape::of(&[3, 2]));
            let op = Bilinear { op: Op::MatMul, shape: Shape::of(&[2, 2]) };
            product::of_masked(b, &op, &x, &y, None).id()
        }
        "open_truncated" => {
            let z = input(0, k).shares();
            masked(rescale::open_truncated(b, &z, case.t, n, case.parties))
        }
        "lift" => masked(lift::lift(b, &input(0, n), k)),
        "powers" => powers::polynomial(b, &input(0, k), &case.coef).id(),
        "negative" => bit(&sign::negative(b, &input(0, n), case.block)),
        "relu" => masked(relu::relu(b, &input(0, n), k, case.block)),
        "maximum" => {
            let (x, y) = (input(0, k), input(1, k));
            let minus = MaskedIn { delta: &x.delta - &y.delta, lam: &x.lam - &y.lam };
            let narrow = MaskedIn { delta: minus.delta.narrow(n), lam: minus.lam.narrow(n) };
            let r = relu::relu(b, &narrow, k, case.block);
            masked(MaskedIn { delta: y.delta + r.delta, lam: y.lam + r.lam })
        }
        other => panic!("no protocol is called {other}"),
    }
}

fn bit(x: &MaskedBit) -> Id {
    let shares: ShareBit = x.delta.at_p0() + &x.lam;
    shares.id()
}

#[test]
fn results_are_the_specifications_and_costs_less_what_is_saved() {
    let cases = cases();
    assert!(cases.len() > 100, "{} cases", cases.len());
    for case in &cases {
        let b = Builder::new();
        let output = build(&b, case);
        let program = finish(b, output);
        let inputs: Vec<&[i64]> = case.inputs.iter().map(Vec::as_slice).collect();
        let outcome = run_views(&program, case.parties, &inputs, &[]);
        let elem = program[program.outputs[0]].ty.elem;
        let got = match elem {
            Elem::Ring(ring) => signed(&outcome.outputs[0], ring),
            Elem::Bit => outcome.outputs[0].iter().map(|w| *w as i64).collect(),
        };
        // The source rounds downwards, and truncating openings here to either side.
        let close = |(g, w): (&i64, &i64)| (w - case.slack..=w + case.slack).contains(g);
        assert!(got.iter().zip(&case.result).all(close), "{got:?} for {case:?}");
        let Case { rounds, online_bits, .. } = *case;
        let correction_bits = case.correction_bits - case.saved();
        assert_eq!(outcome.cost, Cost { rounds, online_bits, correction_bits }, "{case:?}");
    }
}

#[test]
fn a_polynomial_of_low_degree_needs_no_dealer() {
    let b = Builder::new();
    let x = b.input(PortId(0), 16, &Shape::of(&[2]));
    let z: Share = powers::polynomial(&b, &x, &[5, -3]);
    let program = finish(b, z.id());
    let outcome = run_views(&program, 2, &[&[4, -1]], &[]);
    assert_eq!(signed(&outcome.outputs[0], 16), [-7, 8]);
    assert_eq!(outcome.cost, Cost::default());
}
