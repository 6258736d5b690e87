//! What was chosen, for `explain` and for choosing the ring.

use super::Lowering;
use super::error::tensor_name;
use mpcc_ir::Id;
use mpcc_ir::masked::{Kind, Op};

/// Standard deviations within which all entries of an output are expected.
const SIGMAS: f64 = 6.0;

/// A tensor and the bits between its calibrated range and the format's end.
#[derive(Clone, Debug, PartialEq)]
pub struct Headroom {
    /// The layer's name.
    pub tensor: String,
    /// Least calibrated value.
    pub lo: f64,
    /// Greatest calibrated value.
    pub hi: f64,
    /// Reals at or beyond this magnitude wrap.
    pub limit: f64,
    /// `log2(limit / largest calibrated magnitude)`.
    pub bits: f64,
    /// The narrowest masked format it is held in, as `<ring>q<frac>`.
    pub format: String,
}

/// Formats and predicted accuracy of a lowered model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FormatReport {
    /// Tensors by headroom, least first.
    pub headroom: Vec<Headroom>,
    /// Predicted largest error of each output: four times the largest that samples showed, or, where
    /// none were run, six estimated standard deviations.
    pub output_error: Vec<f64>,
    /// Whether samples were run.
    pub measured: bool,
    /// Largest calibrated magnitude of each output.
    pub output_range: Vec<f64>,
}

impl FormatReport {
    /// What a value outside its format does, in words for the user.
    pub const OUT_OF_RANGE: &'static str = "a value outside its format wraps around modulo the opening width: \
         the result is wrong and nothing notices";

    /// The largest predicted error of an output in units of its range.
    pub fn relative_error(&self) -> f64 {
        let pairs = self.output_error.iter().zip(&self.output_range);
        pairs.map(|(e, r)| e / r.max(f64::MIN_POSITIVE)).fold(0.0, f64::max)
    }
}

impl Lowering<'_> {
    pub(super) fn report(&self) -> FormatReport {
        let mut headroom: Vec<Headroom> =
            self.graph.program.ids().filter_map(|id| self.headroom(id)).collect();
        headroom.sort_by(|a, b| a.bits.total_cmp(&b.bits));
        let outputs = self.graph.outputs.iter();
        let range = |v: Id| self.graph.program[v].ty.range.map_or(0.0, |r| r.magnitude());
        FormatReport {
            headroom,
            output_error: self.predicted_errors().iter().map(|e| SIGMAS * e).collect(),
            measured: false,
            output_range: outputs.map(|o| range(o.value)).collect(),
        }
    }

    /// Of the narrowest masked form: the one that wraps first.
    fn headroom(&self, id: Id) -> Option<Headroom> {
        let narrowest = self.forms[id.index()].masked.iter().min_by_key(|m| self.ty(**m).ring)?;
        let ty = self.ty(*narrowest);
        let opened = matches!(
            self.program[*narrowest].op,
            Op::Rescale { .. } | Op::Input { .. } | Op::Lift { .. } | Op::Relu { .. }
        );
        if ty.kind != Kind::Masked || !opened {
            return None;
        }
        let range = self.graph.program[id].ty.range?;
        let limit = f64::from(i32::from(ty.ring) - 1 - i32::from(ty.frac)).exp2();
        Some(Headroom {
            tensor: tensor_name(self.graph, id),
            lo: range.lo,
            hi: range.hi,
            limit,
            bits: (limit / range.magnitude().max(f64::MIN_POSITIVE)).log2(),
            format: format!("{}q{}", ty.ring, ty.frac),
        })
    }
}
