//! Level 1: a neural network over real tensors, with ranges and visibility.

pub mod interp;
mod op;
mod ty;
mod verify;

pub use op::Op;
pub use ty::{Range, Ty, Visibility};

use crate::id::{Id, ParamId};
use crate::shape::Shape;
use crate::ssa::{Level, Program};
use crate::text::{Attr, Lexer, ParseError};
use serde::{Deserialize, Serialize};

/// Marker of the nn level.
#[derive(Clone, Debug, PartialEq)]
pub struct Nn;

impl Level for Nn {
    type Op = Op;
    type Ty = Ty;
    const KEYWORD: &'static str = "nn";

    fn check(op: &Op, args: &[&Ty], result: &Ty) -> Result<(), String> {
        op.check(args, result)
    }
}

/// A parameter tensor with its data.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The initializer's name in the model.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// Row-major values.
    pub data: Vec<f32>,
    /// Part of the graph rather than of its owner's secret (divisors of pooling, for example).
    pub public: bool,
}

/// What the receiver does in the clear after the reveal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClearOp {
    /// Soft maximum along an axis.
    Softmax {
        /// Axis, from 0.
        axis: usize,
    },
    /// Logistic function.
    Sigmoid,
    /// Index of the largest entry along an axis, as a float; the axis keeps extent 1.
    ArgMax {
        /// Axis, from 0.
        axis: usize,
        /// The last of equal maxima instead of the first.
        last: bool,
    },
    /// The same elements in another shape.
    Reshape {
        /// New extents.
        shape: Shape,
    },
}

impl ClearOp {
    /// The most by which the largest difference between two arguments grows; `None` where no bound holds.
    pub fn steepest(&self) -> Option<f64> {
        match self {
            // Row sums of the Jacobian: 2 p (1 - p), and p (1 - p).
            Self::Softmax { .. } => Some(0.5),
            Self::Sigmoid => Some(0.25),
            Self::Reshape { .. } => Some(1.0),
            Self::ArgMax { .. } => None,
        }
    }
}

/// A model input.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Name in the model.
    pub name: String,
    /// The node, an [`Op::Input`].
    pub value: Id,
}

/// A model output.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Name in the model.
    pub name: String,
    /// The secret value that is revealed to the receiver.
    pub value: Id,
    /// What the receiver does with it in the clear, in order.
    pub clear: Vec<ClearOp>,
}

/// A model: the program, its parameters and its ports.
///
/// `program.outputs` equals the values of `outputs`, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Nodes; `origin` of a node is an index into `program.names`, the ONNX node names.
    pub program: Program<Nn>,
    /// Parameters by [`ParamId`].
    pub params: Vec<Param>,
    /// Inputs in the model's order.
    pub inputs: Vec<Input>,
    /// Outputs in the model's order.
    pub outputs: Vec<Output>,
}

impl Graph {
    /// Adds a parameter and the node that reads it.
    pub fn add_param(&mut self, param: Param, origin: Option<u32>) -> Id {
        let visibility = if param.public { Visibility::Public } else { Visibility::Weight };
        let ty = Ty { visibility, shape: param.shape.clone(), range: None };
        let id = ParamId(self.params.len() as u32);
        self.params.push(param);
        self.program.push(Op::Param { id }, &[], ty, origin)
    }
}

impl Attr for Visibility {
    fn print(&self, out: &mut String) {
        out.push_str(self.word());
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let word = lexer.word()?;
        [Self::Secret, Self::Weight, Self::Public]
            .into_iter()
            .find(|v| v.word() == word)
            .ok_or_else(|| lexer.error("expected secret, weight or public"))
    }
}
