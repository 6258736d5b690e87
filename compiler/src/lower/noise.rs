//! Predicts the error of each output from the formats alone, as a standard deviation.
//!
//! Errors of entries are taken as independent and zero on average, activations as a sixth of their
//! range, and weights as their root mean square: a truncating opening adds `2^-f sqrt(N / 12)`, a rounded
//! weight or input `2^-f / sqrt 12`, a product passes on each operand's error times the other's size,
//! summed in squares over its terms (at the end of the range, if there is only one), ReLU lets half of
//! the squares through. It is an estimate to choose the ring by, not a bound: [`super::lower_measured`]
//! runs samples instead.

use super::Lowering;
use mpcc_ir::Id;
use mpcc_ir::masked::{MaskedProgram, Op};

/// Range over root mean square of an activation.
const CREST: f64 = 6.0;
/// `1 / sqrt 12`: standard deviation of rounding, in units of the last place.
const ROUNDING: f64 = 0.2887;

/// Size and error of a value's entries, as root mean squares of reals.
#[derive(Clone, Copy, Default)]
struct Size {
    value: f64,
    error: f64,
}

impl Lowering<'_> {
    /// The predicted standard deviation of each output's error, in reals.
    pub(super) fn predicted_errors(&self) -> Vec<f64> {
        let p = &self.program;
        let mut ranges = vec![None; p.nodes.len()];
        for (id, forms) in self.graph.program.ids().zip(&self.forms) {
            let range = self.graph.program[id].ty.range.map(|r| r.magnitude() / CREST);
            for held in forms.masked.iter().chain(&forms.shares) {
                ranges[held.index()] = range;
            }
        }
        let mut sizes: Vec<Size> = Vec::with_capacity(p.nodes.len());
        for id in p.ids() {
            let mut size = self.size(p, id, &sizes);
            size.value = ranges[id.index()].unwrap_or(size.value);
            sizes.push(size);
        }
        p.outputs.iter().map(|o| sizes[o.index()].error).collect()
    }

    fn size(&self, p: &MaskedProgram, id: Id, sizes: &[Size]) -> Size {
        let node = &p[id];
        let arg = |i: usize| node.args.get(i).map_or(Size::default(), |a| sizes[a.index()]);
        let unit = f64::from(-node.ty.frac).exp2();
        let (x, y) = (arg(0), arg(1));
        let times = |factor: f64| Size { value: x.value * factor, error: x.error * factor };
        match &node.op {
            Op::Input { .. } => Size { value: 0.0, error: ROUNDING * unit },
            Op::Weight { param, .. } => {
                let data = &self.params[param.index()].data;
                let squares: f64 = data.iter().map(|x| (*x as f64).powi(2)).sum();
                let rms = (squares / data.len().max(1) as f64).sqrt();
                Size { value: rms * unit, error: ROUNDING * unit }
            }
            // An element is multiplied by one other, which may be the largest, or itself.
            Op::Mul => {
                let error = CREST * (x.error * y.value + x.value * y.error);
                Size { value: x.value * y.value, error }
            }
            Op::Conv { .. } | Op::MatMul => {
                let terms = Self::terms(p, id).sqrt();
                let error = (x.error * y.value).hypot(x.value * y.error);
                Size { value: x.value * y.value * terms, error: error * terms }
            }
            Op::Add | Op::Sub => {
                Size { value: x.value.hypot(y.value), error: x.error.hypot(y.error) }
            }
            Op::Rescale { by, .. } if *by > 0 => {
                let lost = ROUNDING * f64::from(self.options.parties).sqrt();
                Size { value: x.value, error: x.error.hypot(lost * unit) }
            }
            Op::Relu { .. } => times(0.5_f64.sqrt()),
            Op::Sum { .. } => {
                let terms = p[node.args[0]].ty.shape.elements() / node.ty.shape.elements().max(1);
                times((terms as f64).sqrt())
            }
            // The fraction tells what the integer factor means in reals.
            Op::Scale { by } => {
                let before = f64::from(p[node.args[0]].ty.frac).exp2();
                times((*by as f64).abs() * unit * before)
            }
            Op::Concat { .. } => {
                let all = node.args.iter().map(|a| sizes[a.index()]);
                all.fold(Size::default(), |a, b| Size {
                    value: a.value.max(b.value),
                    error: a.error.max(b.error),
                })
            }
            Op::Rescale { .. }
            | Op::Offset { .. }
            | Op::ToShares
            | Op::Narrow
            | Op::Lift { .. }
            | Op::Reshape
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Expand
            | Op::Gather { .. }
            | Op::Reveal { .. } => x,
        }
    }

    /// Terms in each entry of a product.
    fn terms(p: &MaskedProgram, id: Id) -> f64 {
        let node = &p[id];
        let shape = |i: usize| &p[node.args[i]].ty.shape;
        let terms: usize = if matches!(node.op, Op::Conv { .. }) {
            shape(1)[..3].iter().product()
        } else {
            shape(0).last().copied().unwrap_or(1)
        };
        terms as f64
    }
}
