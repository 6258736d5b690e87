//! Operations of the masked level.

use super::{Kind, Ty};
use crate::channels_last;
use crate::id::{MaskId, ParamId, PortId};
use crate::nn;
use crate::shape::Shape;
use crate::text::ops;
use crate::window::Window;

ops! {
    /// What a node computes. Ring, fractional bits and shape are in the node's [`Ty`].
    pub enum Op {
        /// A model input, masked by the client.
        Input = "input" {
            /// Which.
            port: PortId,
            /// Hides it.
            mask: MaskId,
        },
        /// A parameter; with its mask unless it is public.
        Weight = "weight" {
            /// Which.
            param: ParamId,
            /// Hides it; `none` for a public constant.
            mask: Option<MaskId>,
        },
        /// `conv(x[n,h,w,c], w[kh,kw,c/groups,o], bias[o]?)` to shares: channels last, so that rows of an image lie
        /// together. `x` is masked; `w` a weight or public; the bias has the product's format.
        Conv = "conv" {
            /// Geometry.
            window: Window,
            /// Number of groups.
            groups: usize,
        },
        /// Batched matrix product to shares; `a` is masked, `b` masked, weight or public.
        MatMul = "matmul",
        /// Element-wise product to shares; the first operand is masked, the second masked, weight or public.
        Mul = "mul",
        /// Element-wise sum of two equal types; a weight or public second operand goes with shares. Local.
        Add = "add",
        /// Element-wise difference, as [`Op::Add`].
        Sub = "sub",
        /// Product with a public integer. Local. The result's fractional bits say what it means.
        Scale = "scale" {
            /// The factor.
            by: i64,
        },
        /// Sum with a public integer. Local.
        Offset = "offset" {
            /// The term, in units of the last place.
            by: i64,
        },
        /// Masked to shares of the same ring. Local.
        ToShares = "to_shares",
        /// Masked to a smaller ring. Local.
        Narrow = "narrow",
        /// Truncating opening, shares to masked. One round, one element of the result's ring.
        Rescale = "rescale" {
            /// Low bits to drop.
            by: u8,
            /// Hides what is sent; no other node may name it.
            mask: MaskId,
        },
        /// Masked to a larger ring, exact for `|x| < 2^(n-2)`. One round, one element of the result's ring.
        Lift = "lift" {
            /// Hides what is sent; no other node may name it.
            mask: MaskId,
        },
        /// `max(x, 0)`, masked to masked of a larger ring. Three rounds.
        Relu = "relu" {
            /// Hides the result; no other node may name it.
            mask: MaskId,
        },
        /// Sum along axes, which keep extent 1. Local.
        Sum = "sum" {
            /// Axes, from 0.
            axes: Vec<usize>,
        },
        /// The same elements in the result's shape. Local.
        Reshape = "reshape",
        /// Result axis `i` is operand axis `perm[i]`. Local.
        Transpose = "transpose" {
            /// A permutation of the axes.
            perm: Vec<usize>,
        },
        /// As [`nn::Op::Slice`]. Local.
        Slice = "slice" {
            /// First index per axis.
            starts: Vec<usize>,
            /// Distance between elements per axis.
            steps: Vec<i64>,
        },
        /// As [`nn::Op::Pad`], with a public integer. Local.
        Pad = "pad" {
            /// Elements in front, per axis.
            before: Vec<usize>,
            /// Elements behind, per axis.
            after: Vec<usize>,
            /// Elements between neighbours, per axis.
            interior: Vec<usize>,
            /// The new elements, in units of the last place.
            value: i64,
        },
        /// Repeats along axes of extent 1. Local.
        Expand = "expand",
        /// Joins tensors along an axis. Local.
        Concat = "concat" {
            /// Axis, from 0.
            axis: usize,
        },
        /// As [`nn::Op::Gather`]. Local.
        Gather = "gather" {
            /// Axis, from 0.
            axis: usize,
            /// Source index of each result index.
            indices: Vec<u32>,
        },
        /// Shows a masked value to the client. A named reveal: the only way out.
        Reveal = "reveal" {
            /// Which output.
            port: PortId,
        },
    }
}

impl Op {
    /// The masks that this operation names.
    pub fn mask(&self) -> Option<MaskId> {
        match self {
            Self::Input { mask, .. }
            | Self::Rescale { mask, .. }
            | Self::Lift { mask }
            | Self::Relu { mask } => Some(*mask),
            Self::Weight { mask, .. } => *mask,
            Self::Conv { .. }
            | Self::MatMul
            | Self::Mul
            | Self::Add
            | Self::Sub
            | Self::Scale { .. }
            | Self::Offset { .. }
            | Self::ToShares
            | Self::Narrow
            | Self::Sum { .. }
            | Self::Reshape
            | Self::Transpose { .. }
            | Self::Slice { .. }
            | Self::Pad { .. }
            | Self::Expand
            | Self::Concat { .. }
            | Self::Gather { .. }
            | Self::Reveal { .. } => None,
        }
    }

    /// Checks kinds, rings, fractional bits and shapes.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn check(&self, args: &[&Ty], result: &Ty) -> Result<(), String> {
        self.check_shape(args, result)?;
        if self.check_format(args, result) {
            Ok(())
        } else {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            Err(format!("kinds or formats do not fit: ({}) to {result}", args.join(", ")))
        }
    }

    fn check_format(&self, args: &[&Ty], out: &Ty) -> bool {
        use Kind::{Masked, Public, Shares, Weight};
        let same_format = |a: &Ty| (a.ring, a.frac) == (out.ring, out.frac);
        let constant = |k: Kind| matches!(k, Weight | Public);
        match (self, args) {
            (Self::Input { .. }, []) => out.kind == Masked,
            (Self::Weight { mask, .. }, []) => {
                out.kind == if mask.is_some() { Weight } else { Public }
            }
            (Self::Conv { .. } | Self::MatMul | Self::Mul, [x, y, rest @ ..]) => {
                x.kind == Masked
                    && y.kind != Shares
                    && out.kind == Shares
                    && x.ring == out.ring
                    && y.ring == out.ring
                    && i32::from(x.frac) + i32::from(y.frac) == i32::from(out.frac)
                    && rest.iter().all(|b| constant(b.kind) && same_format(b))
            }
            (Self::Add | Self::Sub, [a, b]) => {
                same_format(a)
                    && same_format(b)
                    && a.kind == out.kind
                    && (b.kind == out.kind && out.kind != Public
                        || constant(b.kind) && out.kind == Shares)
            }
            (Self::Scale { .. }, [x]) => {
                x.kind == out.kind && x.ring == out.ring && !constant(x.kind)
            }
            (Self::Offset { .. }, [x]) => x.kind == out.kind && same_format(x) && !constant(x.kind),
            (Self::ToShares, [x]) => x.kind == Masked && out.kind == Shares && same_format(x),
            (Self::Narrow, [x]) => {
                x.kind == Masked && out.kind == Masked && out.ring <= x.ring && out.frac == x.frac
            }
            (Self::Rescale { by, .. }, [x]) => {
                x.kind == Shares
                    && out.kind == Masked
                    && out.ring.checked_add(*by).is_some_and(|ring| ring <= x.ring)
                    && i32::from(out.frac) == i32::from(x.frac) - i32::from(*by)
            }
            (Self::Lift { .. } | Self::Relu { .. }, [x]) => {
                x.kind == Masked
                    && out.kind == Masked
                    && (2..=out.ring).contains(&x.ring)
                    && x.frac == out.frac
            }
            (Self::Reveal { .. }, [x]) => x.kind == Masked && *x == out,
            (
                Self::Sum { .. }
                | Self::Reshape
                | Self::Transpose { .. }
                | Self::Slice { .. }
                | Self::Pad { .. }
                | Self::Expand
                | Self::Concat { .. }
                | Self::Gather { .. },
                args,
            ) => args.iter().all(|a| a.kind == out.kind && same_format(a)),
            (
                Self::Input { .. }
                | Self::Weight { .. }
                | Self::Conv { .. }
                | Self::MatMul
                | Self::Mul
                | Self::Add
                | Self::Sub
                | Self::Scale { .. }
                | Self::Offset { .. }
                | Self::ToShares
                | Self::Narrow
                | Self::Rescale { .. }
                | Self::Lift { .. }
                | Self::Relu { .. }
                | Self::Reveal { .. },
                _,
            ) => false,
        }
    }

    /// Shapes follow the rules of the nn operation of the same name; those of a convolution with channels last.
    fn check_shape(&self, args: &[&Ty], result: &Ty) -> Result<(), String> {
        if let Self::Conv { window, groups } = self {
            let shapes: Vec<&Shape> = args.iter().map(|a| &a.shape).collect();
            return channels_last::check(&shapes, window, *groups, &result.shape);
        }
        let secret = |ty: &Ty| nn::Ty {
            visibility: nn::Visibility::Secret,
            shape: ty.shape.clone(),
            range: None,
        };
        let lifted: Vec<nn::Ty> = args.iter().map(|a| secret(a)).collect();
        let args: Vec<&nn::Ty> = lifted.iter().collect();
        self.shape_twin().check(&args, &secret(result))
    }

    /// The nn operation with the same shape rule, but for a convolution's order of axes.
    fn shape_twin(&self) -> nn::Op {
        match self {
            Self::Input { port, .. } => nn::Op::Input { port: *port },
            Self::Weight { param, .. } => nn::Op::Param { id: *param },
            Self::Conv { window, groups } => nn::Op::Conv { window: *window, groups: *groups },
            Self::MatMul => nn::Op::MatMul,
            Self::Mul => nn::Op::Mul,
            Self::Add | Self::Sub => nn::Op::Add,
            Self::Scale { .. }
            | Self::Offset { .. }
            | Self::ToShares
            | Self::Narrow
            | Self::Rescale { .. }
            | Self::Lift { .. }
            | Self::Relu { .. }
            | Self::Reveal { .. } => nn::Op::Relu,
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
        }
    }
}
