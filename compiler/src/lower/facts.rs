//! What the readers of each value ask of its number format, before any fraction is chosen.
//!
//! All of it follows from calibrated ranges. With `|x| < 2^int_bits` (margin included):
//! - `need`: integer bits that a narrow masked form must have: the value's own, those of every value
//!   that is computed from it in the same ring (moves, sums, maxima), and one spare bit for a lift.
//! - `room`: the most fractional bits its additive shares may carry so that it, and every sum that it
//!   enters before the next opening, still opens right: `need + frac + 1 <= ring`.
//! - `wide`: whether some reader multiplies it or adds it to a product, which takes the wide ring.

use super::error::{FormatError, tensor_name};
use super::weights::WeightStats;
use mpcc_ir::Id;
use mpcc_ir::nn::{Graph, Op, Range, Visibility};

/// Least significant bits that a constant factor is given.
pub(super) const FACTOR_BITS: i32 = 12;
/// Exponents below this are all the same to us: such values are zero in any format.
const LEAST_EXPONENT: i32 = -24;

/// What is known about each nn value, by its index.
pub(super) struct Facts {
    /// `|x| < 2^int_bits`, margin included; 0 for parameters.
    pub(super) int_bits: Vec<i32>,
    /// Integer bits of the difference of two entries, margin included.
    pub(super) spread_bits: Vec<i32>,
    /// See the header.
    pub(super) need: Vec<i32>,
    /// See the header.
    pub(super) room: Vec<i32>,
    /// See the header.
    pub(super) wide: Vec<bool>,
    /// Spare bits above the calibrated ranges, in all of the above.
    pub(super) margin_bits: u8,
    /// Statistics of parameters and of values moved from them; `None` for secrets.
    pub(super) weights: Vec<Option<WeightStats>>,
}

/// The least `b` with `x < 2^b`.
pub(super) fn bits_for(x: f64) -> i32 {
    if x > 0.0 { (x.log2().floor() as i32 + 1).max(LEAST_EXPONENT) } else { LEAST_EXPONENT }
}

/// A range widened by the margin; zero is in it.
pub(super) fn with_margin(range: Range, margin_bits: u8) -> Range {
    // The last factor leaves room for the rounding errors of the value itself.
    let factor = f64::from(margin_bits).exp2() * (1.0 + 1.0 / 256.0);
    Range { lo: range.lo.min(0.0) * factor, hi: range.hi.max(0.0) * factor }
}

/// What a reader asks of an operand, in the terms of [`Facts`].
struct Asked {
    need: i32,
    room: i32,
    wide: bool,
}

/// Extra fractional bits that a public factor costs; its exponent where it is a power of two.
pub(super) enum Factor {
    /// `by = sign * 2^exponent`: only the meaning of the bits changes.
    PowerOfTwo(i32),
    /// The factor is an integer times `2^-bits`, with at least [`FACTOR_BITS`] significant bits.
    Integer(i32),
}

impl Factor {
    pub(super) fn of(by: f64) -> Self {
        let exponent = by.abs().log2();
        if by == 0.0 {
            Self::PowerOfTwo(0)
        } else if exponent.fract() == 0.0 {
            Self::PowerOfTwo(exponent as i32)
        } else {
            Self::Integer((FACTOR_BITS - exponent.floor() as i32).max(0))
        }
    }
}

impl Facts {
    pub(super) fn gather(graph: &Graph, ring: u8, margin_bits: u8) -> Result<Self, FormatError> {
        let p = &graph.program;
        let weights = WeightStats::gather(graph)?;
        let (mut int_bits, mut spread_bits) = (Vec::new(), Vec::new());
        for id in p.ids() {
            let range = match p[id].ty.visibility {
                Visibility::Secret => range_of(graph, id)?,
                Visibility::Weight | Visibility::Public => Range { lo: 0.0, hi: 0.0 },
            };
            let range = with_margin(range, margin_bits);
            int_bits.push(bits_for(range.magnitude()));
            spread_bits.push(bits_for(range.hi - range.lo));
        }
        let n = p.nodes.len();
        let mut facts = Self {
            need: int_bits.clone(),
            int_bits,
            spread_bits,
            room: vec![i32::MAX; n],
            wide: vec![false; n],
            margin_bits,
            weights,
        };
        facts.walk_back(graph, i32::from(ring));
        Ok(facts)
    }

    /// Readers come later, so one walk from the end sees every reader before what it reads.
    fn walk_back(&mut self, graph: &Graph, ring: i32) {
        let p = &graph.program;
        let maximum = max_like(graph);
        for reader in p.ids().rev() {
            let r = reader.index();
            self.room[r] = self.room[r].min(ring - 1 - self.need[r]);
            for x in p[reader].args.iter().map(|a| a.index()) {
                let asked = self.asked(&p[reader].op, &p[reader].args, r, x, maximum[x]);
                self.need[x] = self.need[x].max(asked.need);
                self.room[x] = self.room[x].min(asked.room);
                self.wide[x] |= asked.wide;
            }
        }
    }

    /// What the reader `r` asks of its operand `x`.
    fn asked(&self, op: &Op, args: &[Id], r: usize, x: usize, maximum: bool) -> Asked {
        let own = self.int_bits[x];
        let lifted = own + 1;
        let (need, room, wide) = (self.need[r], self.room[r], self.wide[r]);
        let opened = |need| Asked { need, room: i32::MAX, wide: false };
        match op {
            Op::Conv { .. } | Op::MatMul | Op::Mul => Asked { wide: true, ..opened(lifted) },
            // What comes out of a maximum may be narrow and has no shares: it may have to be lifted.
            Op::Add | Op::Sub => {
                Asked { need: need.max(if maximum { lifted } else { own }), room, wide: true }
            }
            Op::Scale { by } => match Factor::of(*by) {
                Factor::PowerOfTwo(e) => {
                    Asked { need: need - e, room: room.saturating_add(e), wide }
                }
                Factor::Integer(bits) => Asked { need: lifted, room: room - bits, wide: true },
            },
            Op::Max => Asked { wide, ..opened(need.max(self.max_spread(args))) },
            Op::MaxPool { .. } | Op::ReduceMax { .. } => {
                Asked { wide, ..opened(need.max(self.spread_bits[x])) }
            }
            Op::Offset { .. }
            | Op::ReduceSum { .. }
            | Op::Reshape
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Expand
            | Op::Concat { .. }
            | Op::Gather { .. } => Asked { need, room, wide },
            Op::Relu
            | Op::Input { .. }
            | Op::Param { .. }
            | Op::Clip { .. }
            | Op::LeakyRelu { .. }
            | Op::PRelu
            | Op::HardSigmoid { .. }
            | Op::HardSwish
            | Op::Abs
            | Op::Min
            | Op::Pow { .. }
            | Op::AvgPool { .. }
            | Op::ReduceMean { .. } => opened(own),
        }
    }

    /// Integer bits of `a - b` for two values.
    pub(super) fn max_spread(&self, args: &[Id]) -> i32 {
        args.iter().map(|a| self.spread_bits[a.index()]).max().unwrap_or(0) + 1
    }
}

fn range_of(graph: &Graph, id: Id) -> Result<Range, FormatError> {
    let tensor = || tensor_name(graph, id);
    let range =
        graph.program[id].ty.range.ok_or_else(|| FormatError::NoRange { tensor: tensor() })?;
    let Range { lo, hi } = range;
    if lo.is_finite() && hi.is_finite() && lo <= hi {
        Ok(range)
    } else {
        Err(FormatError::BadRange { tensor: tensor(), lo, hi })
    }
}

/// Which values are maxima, or moved from maxima.
fn max_like(graph: &Graph) -> Vec<bool> {
    let p = &graph.program;
    let mut found = vec![false; p.nodes.len()];
    for id in p.ids() {
        let op = &p[id].op;
        let maximum = matches!(op, Op::Max | Op::MaxPool { .. } | Op::ReduceMax { .. });
        let fresh = matches!(op, Op::Conv { .. } | Op::MatMul | Op::Mul | Op::Relu);
        let moved = p[id].args.iter().any(|a| found[a.index()]);
        found[id.index()] = maximum || moved && !fresh;
    }
    found
}
