//! Local operations: sums, public factors and moves of elements, on each part of a value alone.
//!
//! - Source: `PROTOCOLS.md`, Values: "masked values add, subtract, scale by public integers, reshape,
//!   slice, pad and narrow to a smaller ring locally. Additive shares do too."
//! - A public term goes into `D` of a masked value and to `P_0` of a shared one.
//! - Cost: none.

use super::builder::Builder;
use super::handle::{AtP0, Masked, Share, Share0, Val, Word, in_ring, know};
use super::weights::Weight;
use mpcc_ir::Shape;
use mpcc_ir::views::Op;

/// What a value of the masked program has become.
#[derive(Clone, Debug)]
pub enum Value {
    /// `D` and shares of `L`.
    Masked(Masked),
    /// Additive shares.
    Shares(Share),
    /// A weight or public constant.
    Weight(Weight),
}

impl Value {
    /// The parts of a masked value.
    pub fn masked(&self) -> Option<&Masked> {
        match self {
            Self::Masked(m) => Some(m),
            Self::Shares(_) | Self::Weight(_) => None,
        }
    }

    /// The parts of a weight or public constant.
    pub fn weight(&self) -> Option<&Weight> {
        match self {
            Self::Weight(w) => Some(w),
            Self::Masked(_) | Self::Shares(_) => None,
        }
    }

    /// The value as additive shares.
    pub fn to_shares(&self) -> Share {
        match self {
            Self::Masked(m) => m.shares(),
            Self::Shares(s) => s.clone(),
            Self::Weight(w) => w.shares(),
        }
    }
}

/// A local operation.
#[derive(Clone, Debug)]
pub(super) enum Local {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * by`.
    Times(i64),
    /// `a + by`.
    Plus(i64),
    /// To a ring of so many bits.
    Narrow(u8),
    /// Joins along an axis; the extents of the result.
    Concat(usize, Shape),
    /// [`Op::Reshape`] and the like, and the extents of the result.
    Layout(Op, Shape),
}

impl Local {
    /// Applies it to values that are held alike; a weight beside shares becomes shares.
    pub(super) fn apply(&self, b: &Builder, values: &[&Value]) -> Value {
        if let Some(parts) = values.iter().map(|v| v.masked()).collect::<Option<Vec<_>>>() {
            return Value::Masked(self.masked(&parts));
        }
        if let Some(parts) = values.iter().map(|v| v.weight()).collect::<Option<Vec<_>>>() {
            return Value::Weight(self.weight(b, &parts));
        }
        let shares: Vec<Share> = values.iter().map(|v| v.to_shares()).collect();
        Value::Shares(self.share(b, &shares.iter().collect::<Vec<_>>()))
    }

    fn masked(&self, parts: &[&Masked]) -> Masked {
        Masked {
            delta: self.known(&parts.iter().map(|m| &m.delta).collect::<Vec<_>>()),
            lam: self.linear(&parts.iter().map(|m| &m.lam).collect::<Vec<_>>()),
        }
    }

    fn weight(&self, b: &Builder, parts: &[&Weight]) -> Weight {
        let (mut public, mut plain, mut operand, mut masked) = (vec![], vec![], vec![], vec![]);
        for part in parts {
            match part {
                Weight::Public(w) => public.push(w),
                Weight::Party0 { plain: w, masked: m } => {
                    plain.push(w);
                    masked.push(m);
                }
                Weight::Owner { operand: w, masked: m } => {
                    operand.push(w);
                    masked.push(m);
                }
            }
        }
        if masked.is_empty() {
            Weight::Public(self.known(&public))
        } else if operand.is_empty() {
            Weight::Party0 { plain: self.share0(b, &plain), masked: self.masked(&masked) }
        } else {
            Weight::Owner { operand: self.share(b, &operand), masked: self.masked(&masked) }
        }
    }

    fn share(&self, b: &Builder, parts: &[&Share]) -> Share {
        let sum = self.linear(parts);
        self.term(b, parts[0].ring(), &parts[0].shape()).map_or(sum.clone(), |term| sum + term)
    }

    fn share0(&self, b: &Builder, parts: &[&Share0]) -> Share0 {
        let sum = self.linear(parts);
        self.term(b, parts[0].ring(), &parts[0].shape()).map_or(sum.clone(), |term| sum + term)
    }

    /// On operands whose holders know the value: with public terms.
    fn known<K: know::Known + know::Additive>(&self, parts: &[&Val<K, Word>]) -> Val<K, Word> {
        match self {
            Self::Plus(by) => parts[0].plus(*by),
            Self::Layout(op, shape) => parts[0].layout(op.clone(), shape),
            Self::Add | Self::Sub | Self::Times(_) | Self::Narrow(_) | Self::Concat(..) => {
                self.linear(parts)
            }
        }
    }

    /// On any operands: without public terms.
    fn linear<K: know::Additive>(&self, parts: &[&Val<K, Word>]) -> Val<K, Word> {
        match self {
            Self::Add => parts[0] + parts[1],
            Self::Sub => parts[0] - parts[1],
            Self::Times(by) => parts[0].times(*by),
            Self::Plus(_) => parts[0].clone(),
            Self::Narrow(ring) => parts[0].narrow(*ring),
            Self::Concat(axis, shape) => parts[0].concat(&parts[1..], *axis, shape),
            Self::Layout(op, shape) => parts[0].layout(pad_by(op, 0), shape),
        }
    }

    /// The public term that `P_0` adds to its share; `ring` and `shape` are the operand's.
    fn term(&self, b: &Builder, ring: u8, shape: &Shape) -> Option<Share0> {
        match self {
            Self::Plus(by) => Some(b.constant_at_p0(*by, ring, shape)),
            Self::Layout(op @ Op::Pad { value, .. }, out) if *value != 0 => {
                Some(b.constant(0, ring, shape).layout(op.clone(), out).at_p0())
            }
            Self::Add
            | Self::Sub
            | Self::Times(_)
            | Self::Narrow(_)
            | Self::Concat(..)
            | Self::Layout(..) => None,
        }
    }
}

/// A pad with another value; other operations as they are.
fn pad_by(op: &Op, value: u64) -> Op {
    let mut op = op.clone();
    if let Op::Pad { value: old, .. } = &mut op {
        *old = value;
    }
    op
}

/// A pad by a public integer in a ring of `ring` bits.
pub(super) fn pad(before: &[usize], after: &[usize], interior: &[usize], by: i64, ring: u8) -> Op {
    Op::Pad {
        before: before.to_vec(),
        after: after.to_vec(),
        interior: interior.to_vec(),
        value: in_ring(by, ring),
    }
}
