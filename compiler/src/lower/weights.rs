//! Parameters: how large they are, and their quantisation at the fraction that a product asks for.
//!
//! A parameter is rounded to nearest at the fraction of the product that reads it; read at two
//! fractions it becomes two entries of the weights file. Moves of parameters stay in the program.

use super::Lowering;
use super::error::FormatError;
use mpcc_ir::masked::{Kind, Op as Masked, Ty};
use mpcc_ir::nn::{Graph, Op, Param, Visibility};
use mpcc_ir::{Id, ParamId, Shape};

/// A parameter as ring elements.
#[derive(Clone, PartialEq)]
pub struct QuantParam {
    /// The initializer's name in the model.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// Bits of the ring that the elements live in.
    pub ring: u8,
    /// Fractional bits.
    pub frac: i16,
    /// Row-major elements, as signed integers of the ring.
    pub data: Vec<i64>,
    /// Part of the graph rather than its owner's secret.
    pub public: bool,
}

/// The values are their owner's secret: only the format is shown.
impl std::fmt::Debug for QuantParam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, shape, ring, frac, public, .. } = self;
        write!(f, "QuantParam({name:?}: <{ring}q{frac}>{shape}, public: {public})")
    }
}

/// Sizes of a parameter's entries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WeightStats {
    /// Largest magnitude.
    pub(super) max: f64,
    /// Root of the mean square.
    pub(super) rms: f64,
}

impl WeightStats {
    fn of(param: &Param) -> Result<Self, FormatError> {
        if param.data.iter().any(|x| !x.is_finite()) {
            return Err(FormatError::BadParam { name: param.name.clone() });
        }
        let max = param.data.iter().fold(0.0_f64, |m, &x| m.max(f64::from(x).abs()));
        let squares: f64 = param.data.iter().map(|&x| f64::from(x).powi(2)).sum();
        Ok(Self { max, rms: (squares / param.data.len().max(1) as f64).sqrt() })
    }

    fn union(a: Self, b: Self) -> Self {
        Self { max: a.max.max(b.max), rms: a.rms.max(b.rms) }
    }

    /// For every value that is a parameter or moved from parameters.
    pub(super) fn gather(graph: &Graph) -> Result<Vec<Option<Self>>, FormatError> {
        let p = &graph.program;
        let mut all: Vec<Option<Self>> = Vec::with_capacity(p.nodes.len());
        for node in &p.nodes {
            let stats = if let Op::Param { id } = node.op {
                graph.params.get(id.index()).map(Self::of).transpose()?
            } else if node.ty.visibility == Visibility::Secret {
                None
            } else {
                node.args.iter().filter_map(|a| all[a.index()]).reduce(Self::union)
            };
            all.push(stats);
        }
        Ok(all)
    }
}

/// `round(x 2^frac)` as a signed element of the ring.
pub(super) fn quantise(x: f64, frac: i32, ring: u8) -> i64 {
    let scaled = (x * f64::from(frac).exp2()).round();
    // Wraps on purpose: a bias may exceed the ring where the sum it enters does not.
    signed(scaled as i128 as u64, ring)
}

/// The two's-complement reading of the low `ring` bits.
pub(super) fn signed(x: u64, ring: u8) -> i64 {
    let unused = 64 - u32::from(ring);
    ((x << unused) as i64) >> unused
}

impl Lowering<'_> {
    /// The parameter expression `id` as ring elements with `frac` fractional bits.
    pub(super) fn weight(&mut self, id: Id, ring: u8, frac: i32) -> Result<Id, FormatError> {
        if let Some(&found) = self.weights.get(&(id, ring, frac)) {
            return Ok(found);
        }
        let node = &self.graph.program[id];
        let shape = node.ty.shape.clone();
        let made = if let Op::Param { id: param } = node.op {
            self.param(param, ring, frac)
        } else {
            let Some(op) = super::moves::masked_move(&node.op) else {
                return Err(
                    self.unsupported(id, "parameters are only moved; run the nn passes first")
                );
            };
            let args = node.args.clone();
            let args: Result<Vec<Id>, FormatError> =
                args.iter().map(|a| self.weight(*a, ring, frac)).collect();
            let args = args?;
            let kind = self.program[args[0]].ty.kind;
            self.push(op, &args, Ty { kind, ring, frac: frac as i16, shape })
        };
        self.weights.insert((id, ring, frac), made);
        Ok(made)
    }

    fn param(&mut self, id: ParamId, ring: u8, frac: i32) -> Id {
        let Param { name, shape, data, public } = &self.graph.params[id.index()];
        let data = data.iter().map(|&x| quantise(f64::from(x), frac, ring)).collect();
        let (shape, public) = (shape.clone(), *public);
        let frac = frac as i16;
        let quant =
            QuantParam { name: name.clone(), shape: shape.clone(), ring, frac, data, public };
        let param = ParamId(self.params.len() as u32);
        self.params.push(quant);
        let (kind, mask) =
            if public { (Kind::Public, None) } else { (Kind::Weight, Some(self.fresh_mask())) };
        self.push(Masked::Weight { param, mask }, &[], Ty { kind, ring, frac, shape })
    }
}
