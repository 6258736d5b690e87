//! Operations of the views level.

use super::{Elem, Ty, View};
use crate::channels_last;
use crate::id::{ParamId, PortId};
use crate::nn;
use crate::shape::Shape;
use crate::text::ops;
use crate::window::Window;

ops! {
    /// What a node computes, in the view that its type declares.
    ///
    /// Ring values are taken modulo `2^k` of their type. Words and bits do not mix except in
    /// [`Op::BitAt`], [`Op::FromBit`] and [`Op::Select`].
    pub enum Op {
        /// `D_x` of a model input, sent by the client to every compute party; operand 0 is its mask.
        InputDelta = "input_delta" {
            /// Which.
            port: PortId,
        },
        /// `D_w` of a weight, known to every compute party once per deployment; operand 0 is its mask.
        WeightDelta = "weight_delta" {
            /// Which.
            param: ParamId,
        },
        /// The weight itself: at `P_0` when it owns the weights (`share0`), at everybody when public.
        WeightPlain = "weight_plain" {
            /// Which.
            param: ParamId,
        },
        /// A fresh uniform mask: every share is derived from a seed, nothing travels.
        Random = "random" {
            /// Address; no other node has it.
            value: u32,
            /// Drawn once per deployment rather than once per run.
            once: bool,
            /// `P_0` holds the whole mask, the other parties' shares are zero.
            p0: bool,
        },
        /// Shares of a value that only the dealer knows. The last party gets a correction of the
        /// element's bits less `zeros`; every share is a multiple of `2^zeros`: that many bits less
        /// are drawn from the stream, and shifted up.
        Deal = "deal" {
            /// Address; no other node has it.
            value: u32,
            /// Low bits of every element that are known to be zero.
            zeros: u8,
        },
        /// Broadcasts `share + mask`, operand 1 being a [`Op::Random`] that no other opening names, or the
        /// [`Op::Narrow`] of one.
        Open = "open",
        /// `P_0` takes the value as its share, the others zero.
        AtP0 = "at_p0",
        /// `P_0`'s share of a mask: a value that `P_0` knows; zero at the others.
        OfP0 = "of_p0",
        /// The mask without `P_0`'s share: what [`Op::OfP0`] leaves.
        WithoutP0 = "without_p0",
        /// Shows `D` (operand 0) and the mask's shares (operand 1) to the client.
        Reveal = "reveal" {
            /// Which output.
            port: PortId,
        },

        /// `a + b`; exclusive or on bits.
        Add = "add",
        /// `a - b`.
        Sub = "sub",
        /// `a * b`; and on bits.
        Mul = "mul",
        /// `-a`.
        Neg = "neg",
        /// `a + by`, not on shares.
        AddConst = "add_const" {
            /// The term.
            by: u64,
        },
        /// `a * by`.
        MulConst = "mul_const" {
            /// The factor.
            by: u64,
        },
        /// `a << by`.
        ShiftLeft = "shl" {
            /// Places.
            by: u8,
        },
        /// `a >> by` of the element read as an unsigned integer. On a share: of that share, locally.
        ShiftRight = "shr" {
            /// Places.
            by: u8,
        },
        /// To a smaller ring.
        Narrow = "narrow",
        /// The element read as an unsigned integer, in a larger ring. On a share: of that share, locally.
        Extend = "extend",
        /// Bit `index` of each element.
        BitAt = "bit_at" {
            /// From 0, the lowest.
            index: u8,
        },
        /// The bit as a ring element 0 or 1.
        FromBit = "from_bit",
        /// `select(bit, a)`: `a` where the bit is one, 0 elsewhere.
        Select = "select",
        /// Complement of a bit, not on shares.
        Not = "not",
        /// `mux(c, a, b)`: bit `a` where `c` is one, `b` elsewhere.
        Mux = "mux",
        /// A constant in every element.
        Const = "const" {
            /// The element.
            value: u64,
        },

        /// As [`nn::Op::Conv`] without bias.
        Conv = "conv" {
            /// Geometry.
            window: Window,
            /// Number of groups.
            groups: usize,
        },
        /// As [`nn::Op::MatMul`].
        MatMul = "matmul",
        /// Sum along axes, which keep extent 1.
        Sum = "sum" {
            /// Axes, from 0.
            axes: Vec<usize>,
        },
        /// The same elements in the result's shape.
        Reshape = "reshape",
        /// Result axis `i` is operand axis `perm[i]`.
        Transpose = "transpose" {
            /// A permutation of the axes.
            perm: Vec<usize>,
        },
        /// As [`nn::Op::Slice`].
        Slice = "slice" {
            /// First index per axis.
            starts: Vec<usize>,
            /// Distance between elements per axis.
            steps: Vec<i64>,
        },
        /// As [`nn::Op::Pad`]. A public value other than zero goes into a delta only.
        Pad = "pad" {
            /// Elements in front, per axis.
            before: Vec<usize>,
            /// Elements behind, per axis.
            after: Vec<usize>,
            /// Elements between neighbours, per axis.
            interior: Vec<usize>,
            /// The new elements.
            value: u64,
        },
        /// Repeats along axes of extent 1.
        Expand = "expand",
        /// Joins tensors along an axis.
        Concat = "concat" {
            /// Axis, from 0.
            axis: usize,
        },
        /// As [`nn::Op::Gather`].
        Gather = "gather" {
            /// Axis, from 0.
            axis: usize,
            /// Source index of each result index.
            indices: Vec<u32>,
        },
    }
}

/// How an operation treats shares.
enum Rule {
    /// Linear in each operand taken together: all operands are shared, or none.
    Sum,
    /// Linear in each operand alone: at most one is a share, or all are known to `P_0`.
    Product,
    /// The first operand chooses between the other two, which are shared or known alike.
    Choice,
    /// Not linear: for known values; the dealer's view of a mask; a party's own share, locally.
    Local,
}

impl Op {
    /// Checks views, elements and shapes.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn check(&self, args: &[&Ty], result: &Ty) -> Result<(), String> {
        self.check_shape(args, result)?;
        self.check_elem(args, result)?;
        if self.check_view(args, result) {
            Ok(())
        } else {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            Err(format!("views do not fit: ({}) to {result}", args.join(", ")))
        }
    }

    fn check_view(&self, args: &[&Ty], out: &Ty) -> bool {
        use View::{Dealt, Delta, Mask, Public, Share, Share0};
        let views: Vec<View> = args.iter().map(|a| a.view).collect();
        let rule = match self {
            Self::InputDelta { .. } | Self::WeightDelta { .. } => {
                return views == [Mask] && out.view == Delta;
            }
            Self::WeightPlain { .. } => return matches!(out.view, Public | Share0),
            Self::Const { .. } => return out.view == Public,
            Self::Random { .. } => return out.view == Mask,
            Self::Deal { .. } => return matches!(views[..], [Dealt | Mask]) && out.view == Mask,
            Self::Open => {
                return matches!(views[..], [Share | Share0 | Mask, Mask]) && out.view == Delta;
            }
            Self::AtP0 => return matches!(views[..], [Delta | Public]) && out.view == Share0,
            Self::OfP0 => return views == [Mask] && out.view == Share0,
            Self::WithoutP0 => return views == [Mask] && out.view == Mask,
            Self::Reveal { .. } => return views == [Delta, Mask] && out.view == Delta,
            Self::AddConst { .. } | Self::Not => {
                return views == [out.view] && matches!(out.view, Public | Delta | Dealt);
            }
            Self::Pad { value, .. } if *value != 0 => {
                return views == [out.view] && matches!(out.view, Public | Delta);
            }
            Self::Add
            | Self::Sub
            | Self::Neg
            | Self::MulConst { .. }
            | Self::ShiftLeft { .. }
            | Self::Narrow
            | Self::Sum { .. }
            | Self::Reshape
            | Self::Transpose { .. }
            | Self::Slice { .. }
            | Self::Pad { .. }
            | Self::Expand
            | Self::Concat { .. }
            | Self::Gather { .. } => Rule::Sum,
            Self::Mul | Self::Conv { .. } | Self::MatMul | Self::Select => Rule::Product,
            Self::Mux => Rule::Choice,
            Self::ShiftRight { .. } | Self::Extend | Self::BitAt { .. } | Self::FromBit => {
                Rule::Local
            }
        };
        rule.allows(&views, out.view)
    }

    fn check_elem(&self, args: &[&Ty], out: &Ty) -> Result<(), String> {
        let elems: Vec<Elem> = args.iter().map(|a| a.elem).collect();
        let ok = match self {
            Self::BitAt { index } => {
                matches!(elems[..], [Elem::Ring(k)] if *index < k) && out.elem == Elem::Bit
            }
            Self::FromBit => elems == [Elem::Bit] && out.elem != Elem::Bit,
            Self::Select => elems == [Elem::Bit, out.elem] && out.elem != Elem::Bit,
            Self::Not | Self::Mux => elems.iter().all(|e| *e == Elem::Bit) && out.elem == Elem::Bit,
            Self::Narrow => {
                matches!((&elems[..], out.elem), ([Elem::Ring(k)], Elem::Ring(n)) if n <= *k)
            }
            Self::Extend => {
                matches!((&elems[..], out.elem), ([Elem::Ring(n)], Elem::Ring(k)) if k >= *n)
            }
            Self::Deal { zeros, .. } => elems == [out.elem] && *zeros < out.elem.bits(),
            Self::ShiftRight { by } | Self::ShiftLeft { by } => {
                elems == [out.elem] && out.elem != Elem::Bit && *by < out.elem.bits()
            }
            Self::InputDelta { .. }
            | Self::WeightDelta { .. }
            | Self::WeightPlain { .. }
            | Self::Random { .. }
            | Self::Open
            | Self::AtP0
            | Self::OfP0
            | Self::WithoutP0
            | Self::Reveal { .. }
            | Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Neg
            | Self::AddConst { .. }
            | Self::MulConst { .. }
            | Self::Const { .. }
            | Self::Conv { .. }
            | Self::MatMul
            | Self::Sum { .. }
            | Self::Reshape
            | Self::Transpose { .. }
            | Self::Slice { .. }
            | Self::Pad { .. }
            | Self::Expand
            | Self::Concat { .. }
            | Self::Gather { .. } => elems.iter().all(|e| *e == out.elem),
        };
        if ok { Ok(()) } else { Err(format!("elements do not fit {out}")) }
    }

    /// Shapes follow the rules of the nn operation of the same name; those of a convolution with channels last.
    fn check_shape(&self, args: &[&Ty], result: &Ty) -> Result<(), String> {
        let arity = match self {
            Self::WeightPlain { .. } | Self::Random { .. } | Self::Const { .. } => Some(0),
            Self::Open
            | Self::Reveal { .. }
            | Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Conv { .. }
            | Self::MatMul
            | Self::Select => Some(2),
            Self::Mux => Some(3),
            Self::Concat { .. } => None,
            Self::InputDelta { .. }
            | Self::WeightDelta { .. }
            | Self::Deal { .. }
            | Self::AtP0
            | Self::OfP0
            | Self::WithoutP0
            | Self::Neg
            | Self::AddConst { .. }
            | Self::MulConst { .. }
            | Self::ShiftLeft { .. }
            | Self::ShiftRight { .. }
            | Self::Narrow
            | Self::Extend
            | Self::BitAt { .. }
            | Self::FromBit
            | Self::Not
            | Self::Sum { .. }
            | Self::Reshape
            | Self::Transpose { .. }
            | Self::Slice { .. }
            | Self::Pad { .. }
            | Self::Expand
            | Self::Gather { .. } => Some(1),
        };
        if arity.is_some_and(|n| n != args.len()) {
            return Err("wrong number of operands".to_owned());
        }
        if let Self::Conv { window, groups } = self {
            let shapes: Vec<&Shape> = args.iter().map(|a| &a.shape).collect();
            return channels_last::check(&shapes, window, *groups, &result.shape);
        }
        match self.shape_twin() {
            None if args.iter().all(|a| a.shape == result.shape) => Ok(()),
            None => Err("operands and result differ in shape".to_owned()),
            Some(twin) => {
                let secret = |ty: &Ty| nn::Ty {
                    visibility: nn::Visibility::Secret,
                    shape: ty.shape.clone(),
                    range: None,
                };
                let lifted: Vec<nn::Ty> = args.iter().map(|a| secret(a)).collect();
                twin.check(&lifted.iter().collect::<Vec<_>>(), &secret(result))
            }
        }
    }

    /// The nn operation with the same shape rule, but for a convolution's order of axes; `None` for element-wise operations and sources.
    fn shape_twin(&self) -> Option<nn::Op> {
        Some(match self {
            Self::Conv { window, groups } => nn::Op::Conv { window: *window, groups: *groups },
            Self::MatMul => nn::Op::MatMul,
            Self::Sum { axes } => nn::Op::ReduceSum { axes: axes.clone() },
            Self::Reshape => nn::Op::Reshape,
            Self::Transpose { perm } => nn::Op::Transpose { perm: perm.clone() },
            Self::Slice { starts, steps } => {
                nn::Op::Slice { starts: starts.clone(), steps: steps.clone() }
            }
            Self::Pad { before, after, interior, .. } => nn::Op::Pad {
                before: before.clone(),
                after: after.clone(),
                interior: interior.clone(),
                value: 0.0,
            },
            Self::Expand => nn::Op::Expand,
            Self::Concat { axis } => nn::Op::Concat { axis: *axis },
            Self::Gather { axis, indices } => {
                nn::Op::Gather { axis: *axis, indices: indices.clone() }
            }
            Self::InputDelta { .. }
            | Self::WeightDelta { .. }
            | Self::WeightPlain { .. }
            | Self::Random { .. }
            | Self::Deal { .. }
            | Self::Open
            | Self::AtP0
            | Self::OfP0
            | Self::WithoutP0
            | Self::Reveal { .. }
            | Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Neg
            | Self::AddConst { .. }
            | Self::MulConst { .. }
            | Self::ShiftLeft { .. }
            | Self::ShiftRight { .. }
            | Self::Narrow
            | Self::Extend
            | Self::BitAt { .. }
            | Self::FromBit
            | Self::Select
            | Self::Not
            | Self::Mux
            | Self::Const { .. } => return None,
        })
    }

    /// Whether the operation works on each element alone, so that it can join a tile program.
    pub fn is_element_wise(&self) -> bool {
        self.shape_twin().is_none()
    }
}

impl Rule {
    /// Whether operands in `views` give a result in view `out`.
    fn allows(&self, views: &[View], out: View) -> bool {
        use View::{Dealt, Delta, Mask, Public, Share, Share0};
        let all = |allowed: &[View]| views.iter().all(|v| allowed.contains(v));
        let shared = views.iter().filter(|v| matches!(v, Mask | Share | Share0)).count();
        match (self, out) {
            (_, Public) => all(&[Public]),
            (_, Delta) => all(&[Public, Delta]),
            (_, Dealt) => all(&[Public, Mask, Dealt]),
            (Self::Sum, Mask) => all(&[Mask]),
            (Self::Sum | Self::Local, Share) => all(&[Mask, Share, Share0]),
            (Self::Sum, Share0) => all(&[Share0]),
            (Self::Product, Mask) => all(&[Public, Mask]) && shared == 1,
            (Self::Product, Share) => all(&[Public, Delta, Mask, Share, Share0]) && shared == 1,
            // All that `P_0` knows: a product of two of its values is local, too.
            (Self::Product, Share0) => all(&[Public, Delta, Share0]) && shared > 0,
            (Self::Choice, Mask | Share | Share0) => {
                let (by, rest) = views.split_at(1);
                let known = if out == Mask { &[Public][..] } else { &[Public, Delta] };
                known.contains(&by[0]) && Self::Sum.allows(rest, out)
            }
            (Self::Local, Mask | Share0) => false,
        }
    }
}
