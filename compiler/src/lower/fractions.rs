//! Chooses the fractional bits of every value that may be held masked.
//!
//! A product `x w` gets `room(x w)` fractional bits in all, shared between `x` and `w` so that both
//! add about the same error to the result: `2^-fx |w| = 2^-fw |x|`, with the root mean square of the
//! weight and a sixth of the range of `x` for its. A value with several readers takes the mean of
//! what they want, within the least of what they can bear (`cap`). Moves, maxima and ReLU pass on what
//! their readers want. The fraction of a weight is decided last, by the product, from what `x` has.
//!
//! A value before a ReLU is given a width of `4 m + 1` bits where that is within one bit of the wish:
//! the comparison works on blocks of 4 bits, and a last block that is not full costs as much.

use super::facts::{Factor, Facts, bits_for};
use mpcc_ir::Id;
use mpcc_ir::nn::{Graph, Op, Visibility};

/// More bits than this are of no use in a narrow value: a `f32` has 24 significant ones.
const MAX_NARROW: i32 = 25;
/// Outputs carry this many bits below their range where there is room.
const OUTPUT_BITS: i32 = 20;
/// A weight tensor's root mean square has at least this many significant bits.
const MIN_WEIGHT_BITS: i32 = 5;
/// A weight's largest entry never gets more than this many significant bits.
const MAX_WEIGHT_BITS: i32 = 22;
/// Bits per block of a comparison.
const BLOCK: i32 = 4;
/// The range of an activation in units of its root mean square, as a power of two.
const CREST: f64 = 2.5;

/// Fractions by nn value.
pub(super) struct Fractions {
    /// The fraction a value is opened at.
    pub(super) frac: Vec<i32>,
}

/// Least fractional bits of a weight that leave it usable.
pub(super) fn least_weight_frac(rms: f64) -> i32 {
    MIN_WEIGHT_BITS - bits_for(rms)
}

/// Most fractional bits of a weight that are of any use.
pub(super) fn most_weight_frac(max: f64) -> i32 {
    MAX_WEIGHT_BITS - bits_for(max)
}

/// What readers want of a value.
#[derive(Clone, Default)]
struct Wishes {
    /// From products.
    firm: Vec<f64>,
    /// From sums and outputs: they can do with anything.
    soft: Vec<f64>,
}

impl Wishes {
    fn value(&self) -> Option<f64> {
        let of = if self.firm.is_empty() { &self.soft } else { &self.firm };
        (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64)
    }
}

impl Fractions {
    pub(super) fn choose(graph: &Graph, facts: &Facts) -> Self {
        let p = &graph.program;
        let n = p.nodes.len();
        let (mut cap, mut wishes) = (vec![i32::MAX; n], vec![Wishes::default(); n]);
        let (mut frac, mut compared) = (vec![0; n], vec![false; n]);
        for output in &graph.outputs {
            let v = output.value.index();
            wishes[v].soft.push(f64::from(OUTPUT_BITS - facts.int_bits[v]));
        }
        for id in p.ids().rev() {
            let v = id.index();
            if p[id].ty.visibility != Visibility::Secret {
                continue;
            }
            cap[v] = cap[v].min(MAX_NARROW - 1 - facts.int_bits[v]).min(facts.room[v]);
            let wish = wishes[v].value().unwrap_or(f64::from(cap[v]));
            frac[v] = settle(wish, cap[v], facts.int_bits[v], compared[v]);
            for arg in &p[id].args {
                let x = arg.index();
                let (limit, firm, soft) = asked(graph, facts, id, *arg, cap[v], wish);
                cap[x] = cap[x].min(limit);
                wishes[x].firm.extend(firm);
                wishes[x].soft.extend(soft);
                compared[x] |= matches!(p[id].op, Op::Relu);
            }
        }
        Self { frac }
    }
}

/// The whole number nearest to the wish that keeps the comparison's blocks full.
fn settle(wish: f64, cap: i32, int_bits: i32, compared: bool) -> i32 {
    let plain = (wish.round() as i32).min(cap);
    let full = |f: &i32| (int_bits + f).rem_euclid(BLOCK) == 0;
    let near = [plain, plain + 1, plain - 1].into_iter().filter(|f| *f <= cap).find(full);
    if compared { near.unwrap_or(plain) } else { plain }
}

/// What the reader `r` can bear of its operand `x`, and its firm and soft wishes.
fn asked(
    graph: &Graph,
    facts: &Facts,
    r: Id,
    x: Id,
    cap: i32,
    wish: f64,
) -> (i32, Option<f64>, Option<f64>) {
    let node = &graph.program[r];
    let (room, own) = (facts.room[r.index()], facts.int_bits[x.index()]);
    if matches!(node.op, Op::Conv { .. } | Op::MatMul | Op::Mul) {
        let other = node.args.iter().take(2).find(|a| **a != x).unwrap_or(&x);
        let Some(w) = facts.weights[other.index()] else {
            let half = (room - own + facts.int_bits[other.index()]).div_euclid(2);
            return (half, Some(f64::from(half)), None);
        };
        let own = f64::from(own - i32::from(facts.margin_bits)) - CREST;
        let crest = own - w.rms.max(f64::MIN_POSITIVE).log2().max(-24.0);
        let floor = f64::from(room - most_weight_frac(w.max));
        let firm = ((f64::from(room) - crest) / 2.0).max(floor);
        (room - least_weight_frac(w.rms), Some(firm), None)
    } else if matches!(node.op, Op::Add | Op::Sub) {
        (cap, None, Some(wish + 1.0))
    } else if let Op::Scale { by } = node.op {
        match Factor::of(by) {
            Factor::PowerOfTwo(e) => (cap.saturating_add(e), Some(wish + f64::from(e)), None),
            Factor::Integer(bits) => (room - bits, None, Some(wish + by.abs().log2())),
        }
    } else {
        (cap, Some(wish), None)
    }
}
