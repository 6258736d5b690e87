//! Operations of the nn level and their shape rules.

use super::{Ty, Visibility};
use crate::id::{ParamId, PortId};
use crate::shape::Shape;
use crate::text::ops;
use crate::window::Window;

ops! {
    /// What a node computes over reals. Shapes are in the node's type; element-wise operations want
    /// equal shapes (the importer inserts [`Op::Expand`]).
    ///
    /// The first group is the core that is lowered to protocols; the second is rewritten into the
    /// core by the `legalise` pass.
    pub enum Op {
        /// A model input.
        Input = "input" {
            /// Which.
            port: PortId,
        },
        /// A parameter tensor.
        Param = "param" {
            /// Which.
            id: ParamId,
        },
        /// `conv(x[n,c,h,w], w[o,c/groups,kh,kw], bias[o]?)`.
        Conv = "conv" {
            /// Geometry; `kernel` equals the weight's extents.
            window: Window,
            /// Number of groups.
            groups: usize,
        },
        /// Batched matrix product `a[.., m, k] b[.., k, n]`, leading extents equal, or `b` of rank 2.
        MatMul = "matmul",
        /// Element-wise sum.
        Add = "add",
        /// Element-wise difference.
        Sub = "sub",
        /// Element-wise product.
        Mul = "mul",
        /// Product with a public real.
        Scale = "scale" {
            /// The factor.
            by: f64,
        },
        /// Sum with a public real.
        Offset = "offset" {
            /// The term.
            by: f64,
        },
        /// `max(x, 0)`.
        Relu = "relu",
        /// Element-wise maximum of two tensors.
        Max = "max",
        /// Maximum over a window of `x[n,c,h,w]`; padding never wins.
        MaxPool = "max_pool" {
            /// Geometry.
            window: Window,
        },
        /// Sum along axes, which keep extent 1.
        ReduceSum = "reduce_sum" {
            /// Axes, from 0.
            axes: Vec<usize>,
        },
        /// Maximum along axes, which keep extent 1.
        ReduceMax = "reduce_max" {
            /// Axes, from 0.
            axes: Vec<usize>,
        },
        /// The same elements, row-major, in the result's shape.
        Reshape = "reshape",
        /// Result axis `i` is operand axis `perm[i]`.
        Transpose = "transpose" {
            /// A permutation of the axes.
            perm: Vec<usize>,
        },
        /// Every `steps[i]`-th element from `starts[i]`; the result's shape says how many. Steps may be negative.
        Slice = "slice" {
            /// First index per axis.
            starts: Vec<usize>,
            /// Distance between elements per axis, not zero.
            steps: Vec<i64>,
        },
        /// Puts `before` elements in front, `after` behind and `interior` between elements of each axis.
        Pad = "pad" {
            /// Elements in front, per axis.
            before: Vec<usize>,
            /// Elements behind, per axis.
            after: Vec<usize>,
            /// Elements between neighbours, per axis.
            interior: Vec<usize>,
            /// The value of the new elements.
            value: f64,
        },
        /// Repeats along axes of extent 1 to the result's shape; ranks are equal.
        Expand = "expand",
        /// Joins tensors along an axis.
        Concat = "concat" {
            /// Axis, from 0.
            axis: usize,
        },
        /// `out[.., i, ..] = x[.., indices[i], ..]` along an axis.
        Gather = "gather" {
            /// Axis, from 0.
            axis: usize,
            /// Source index of each result index.
            indices: Vec<u32>,
        },

        /// `min(max(x, lo), hi)`.
        Clip = "clip" {
            /// Lower bound, possibly `-inf`.
            lo: f64,
            /// Upper bound, possibly `inf`.
            hi: f64,
        },
        /// `x` where positive, `alpha x` elsewhere.
        LeakyRelu = "leaky_relu" {
            /// Slope for negative values.
            alpha: f64,
        },
        /// `x` where positive, `slope x` elsewhere; the slope is the second operand.
        PRelu = "prelu",
        /// `min(max(alpha x + beta, 0), 1)`.
        HardSigmoid = "hard_sigmoid" {
            /// Slope.
            alpha: f64,
            /// Value at zero.
            beta: f64,
        },
        /// `x * hard_sigmoid(x / 6 + 1/2)`.
        HardSwish = "hard_swish",
        /// `|x|`.
        Abs = "abs",
        /// Element-wise minimum of two tensors.
        Min = "min",
        /// `x^n` for a small positive integer.
        Pow = "pow" {
            /// Exponent, at least 1.
            n: u32,
        },
        /// Mean over a window of `x[n,c,h,w]`.
        AvgPool = "avg_pool" {
            /// Geometry.
            window: Window,
            /// Whether padding counts as zeros in the divisor.
            count_pad: bool,
        },
        /// Mean along axes, which keep extent 1.
        ReduceMean = "reduce_mean" {
            /// Axes, from 0.
            axes: Vec<usize>,
        },
    }
}

impl Op {
    /// Whether the operation is lowered to protocols as it is (the first group above).
    pub fn is_core(&self) -> bool {
        match self {
            Self::Input { .. }
            | Self::Param { .. }
            | Self::Conv { .. }
            | Self::MatMul
            | Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Scale { .. }
            | Self::Offset { .. }
            | Self::Relu
            | Self::Max
            | Self::MaxPool { .. }
            | Self::ReduceSum { .. }
            | Self::ReduceMax { .. }
            | Self::Reshape
            | Self::Transpose { .. }
            | Self::Slice { .. }
            | Self::Pad { .. }
            | Self::Expand
            | Self::Concat { .. }
            | Self::Gather { .. } => true,
            Self::Clip { .. }
            | Self::LeakyRelu { .. }
            | Self::PRelu
            | Self::HardSigmoid { .. }
            | Self::HardSwish
            | Self::Abs
            | Self::Min
            | Self::Pow { .. }
            | Self::AvgPool { .. }
            | Self::ReduceMean { .. } => false,
        }
    }

    /// Checks operand and result shapes and that visibility only grows.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn check(&self, args: &[&Ty], result: &Ty) -> Result<(), String> {
        let want = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_owned()) };
        let arity = match self {
            Self::Input { .. } | Self::Param { .. } => 0..=0,
            Self::Conv { .. } => 2..=3,
            Self::MatMul
            | Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Max
            | Self::Min
            | Self::PRelu => 2..=2,
            Self::Concat { .. } => 1..=usize::MAX,
            Self::Scale { .. }
            | Self::Offset { .. }
            | Self::Relu
            | Self::MaxPool { .. }
            | Self::ReduceSum { .. }
            | Self::ReduceMax { .. }
            | Self::Reshape
            | Self::Transpose { .. }
            | Self::Slice { .. }
            | Self::Pad { .. }
            | Self::Expand
            | Self::Gather { .. }
            | Self::Clip { .. }
            | Self::LeakyRelu { .. }
            | Self::HardSigmoid { .. }
            | Self::HardSwish
            | Self::Abs
            | Self::Pow { .. }
            | Self::AvgPool { .. }
            | Self::ReduceMean { .. } => 1..=1,
        };
        want(arity.contains(&args.len()), "wrong number of operands")?;
        let secret = args.iter().map(|a| a.visibility).max();
        want(
            secret.is_none_or(|s| result.visibility >= s),
            "a secret operand gives a secret result",
        )?;
        match self.result_shape(args, &result.shape) {
            Ok(shape) if shape == result.shape => Ok(()),
            Ok(shape) => Err(format!("the result's shape is {shape}")),
            Err(message) => Err(message),
        }?;
        want(
            !matches!(self, Self::Input { .. }) || result.visibility == Visibility::Secret,
            "an input is secret",
        )
    }

    /// The shape that operands imply; `declared` where the operation does not determine it.
    fn result_shape(&self, args: &[&Ty], declared: &Shape) -> Result<Shape, String> {
        let shape = |i: usize| &args[i].shape;
        let reduced = |axes: &[usize]| {
            let mut out = shape(0).clone();
            for &axis in axes {
                *out.0.get_mut(axis).ok_or("axis out of range")? = 1;
            }
            Ok::<_, String>(out)
        };
        match self {
            Self::Input { .. } | Self::Param { .. } => Ok(declared.clone()),
            Self::Add | Self::Sub | Self::Mul | Self::Max | Self::Min | Self::PRelu => {
                if shape(0) == shape(1) {
                    Ok(shape(0).clone())
                } else {
                    Err(format!("operands differ in shape: {} and {}", shape(0), shape(1)))
                }
            }
            Self::Scale { .. }
            | Self::Offset { .. }
            | Self::Relu
            | Self::Clip { .. }
            | Self::LeakyRelu { .. }
            | Self::HardSigmoid { .. }
            | Self::HardSwish
            | Self::Abs
            | Self::Pow { .. } => Ok(shape(0).clone()),
            Self::Conv { window, groups } => conv_shape(args, window, *groups),
            Self::MatMul => matmul_shape(shape(0), shape(1)),
            Self::MaxPool { window } | Self::AvgPool { window, .. } => {
                let &[n, c, h, w] = &shape(0)[..] else {
                    return Err("pooling wants rank 4".into());
                };
                let [oh, ow] = window.output([h, w]).ok_or("no window fits")?;
                Ok(Shape::of(&[n, c, oh, ow]))
            }
            Self::ReduceSum { axes } | Self::ReduceMax { axes } | Self::ReduceMean { axes } => {
                reduced(axes)
            }
            Self::Reshape => {
                if shape(0).elements() == declared.elements() {
                    Ok(declared.clone())
                } else {
                    Err(format!("{} elements do not reshape to {declared}", shape(0).elements()))
                }
            }
            Self::Transpose { perm } => {
                let mut sorted = perm.clone();
                sorted.sort_unstable();
                if !sorted.iter().copied().eq(0..shape(0).rank()) {
                    return Err("not a permutation of the axes".into());
                }
                Ok(Shape(perm.iter().map(|&axis| shape(0)[axis]).collect()))
            }
            Self::Slice { starts, steps } => slice_shape(shape(0), starts, steps, declared),
            Self::Pad { before, after, interior, .. } => {
                let rank = shape(0).rank();
                if [before.len(), after.len(), interior.len()] != [rank; 3] {
                    return Err("one padding per axis".into());
                }
                let padded = |i: usize| {
                    let d = shape(0)[i];
                    let between = d.saturating_sub(1).checked_mul(interior[i])?;
                    before[i].checked_add(d)?.checked_add(between)?.checked_add(after[i])
                };
                let dims = (0..rank).map(padded).collect::<Option<_>>();
                dims.map(Shape).ok_or_else(|| "the padding is too large".into())
            }
            Self::Expand => {
                let fits = |(a, b): (&usize, &usize)| a == b || *a == 1;
                if shape(0).rank() == declared.rank()
                    && shape(0).iter().zip(declared.iter()).all(fits)
                {
                    Ok(declared.clone())
                } else {
                    Err(format!("{} does not expand to {declared}", shape(0)))
                }
            }
            Self::Concat { axis } => concat_shape(args, *axis),
            Self::Gather { axis, indices } => {
                let mut out = shape(0).clone();
                let extent = out.0.get_mut(*axis).ok_or("axis out of range")?;
                if indices.iter().any(|&i| i as usize >= *extent) {
                    return Err("index out of range".into());
                }
                *extent = indices.len();
                Ok(out)
            }
        }
    }
}

fn conv_shape(args: &[&Ty], window: &Window, groups: usize) -> Result<Shape, String> {
    let (&[n, c, h, w], &[o, cg, kh, kw]) = (&args[0].shape[..], &args[1].shape[..]) else {
        return Err("conv wants an image and a weight of rank 4".into());
    };
    let grouped = groups > 0 && cg.checked_mul(groups) == Some(c) && o % groups == 0;
    if !grouped || [kh, kw] != window.kernel {
        return Err("channels, groups and kernel do not match the weight".into());
    }
    if args.get(2).is_some_and(|b| b.shape[..] != [o]) {
        return Err("the bias has one entry per output channel".into());
    }
    let [oh, ow] = window.output([h, w]).ok_or("no window fits")?;
    Ok(Shape::of(&[n, o, oh, ow]))
}

fn matmul_shape(a: &Shape, b: &Shape) -> Result<Shape, String> {
    let (ra, rb) = (a.rank(), b.rank());
    if ra < 2 || rb < 2 || a[ra - 1] != b[rb - 2] {
        return Err(format!("{a} and {b} do not multiply"));
    }
    if rb > 2 && a[..ra - 2] != b[..rb - 2] {
        return Err(format!("leading extents of {a} and {b} differ"));
    }
    let mut out = a.clone();
    out.0[ra - 1] = b[rb - 1];
    Ok(out)
}

fn slice_shape(x: &Shape, starts: &[usize], steps: &[i64], out: &Shape) -> Result<Shape, String> {
    if [starts.len(), steps.len(), out.rank()] != [x.rank(); 3] {
        return Err("one start and step per axis".into());
    }
    for axis in 0..x.rank() {
        // Wide enough for any start and step that a text can name.
        let (first, step) = (starts[axis] as i128, i128::from(steps[axis]));
        let last = first + step * (out[axis] as i128 - 1);
        let inside = |i: i128| (0..x[axis] as i128).contains(&i);
        if step == 0 || out[axis] > 0 && !(inside(first) && inside(last)) {
            return Err(format!("axis {axis} is cut out of range"));
        }
    }
    Ok(out.clone())
}

fn concat_shape(args: &[&Ty], axis: usize) -> Result<Shape, String> {
    let mut out = args[0].shape.clone();
    for arg in &args[1..] {
        let mut rest = arg.shape.clone();
        let extent = *rest.0.get(axis).ok_or("axis out of range")?;
        rest.0[axis] = *out.0.get(axis).ok_or("axis out of range")?;
        if rest != out {
            return Err("extents differ outside the axis".into());
        }
        out.0[axis] = out[axis].checked_add(extent).ok_or("the result is too large")?;
    }
    Ok(out)
}
