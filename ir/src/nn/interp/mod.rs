//! Evaluates a graph in the clear, in single precision: the oracle of the tests and of calibration.
//!
//! Fast enough for whole models (a few seconds for four billion multiply-adds), plain enough to be
//! believed: convolution and products go through one blocked matrix kernel, everything that only
//! moves elements through one strided copy.

mod clear;
pub(crate) mod conv;
mod elementwise;
pub(crate) mod layout;
pub(crate) mod matmul;
mod pool;
pub(crate) mod reduce;
#[cfg(test)]
mod tests;

pub use clear::apply_clear;

use super::{Graph, Op};
use crate::id::Id;
use crate::shape::Shape;
use crate::ssa::VerifyError;

/// A dense tensor of reals, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents.
    pub shape: Shape,
    /// `shape.elements()` values.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor of these extents and values.
    ///
    /// # Errors
    /// The number of values is not the product of the extents.
    pub fn new(shape: Shape, data: Vec<f32>) -> Result<Self, EvalError> {
        if shape.elements() == data.len() {
            Ok(Self { shape, data })
        } else {
            Err(EvalError::DataLength {
                what: "tensor".to_owned(),
                want: shape.elements(),
                found: data.len(),
            })
        }
    }
}

/// Why a graph cannot be evaluated. No message contains a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum EvalError {
    #[error("the graph is malformed: {0}")]
    Malformed(#[from] VerifyError),
    #[error("the model has {want} inputs, but {found} were given; give one tensor per input")]
    InputCount { want: usize, found: usize },
    #[error("input `{name}` has shape {found}; the model wants {want}")]
    InputShape { name: String, want: Shape, found: Shape },
    #[error("{what} wants {want} values, but has {found}")]
    DataLength { what: String, want: usize, found: usize },
    #[error("`{op}` in the clear does not fit the shape {shape}; check the model's last layers")]
    Clear { op: &'static str, shape: Shape },
}

/// A borrowed tensor: an earlier result or a parameter.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T = f32> {
    pub(crate) shape: &'a Shape,
    pub(crate) data: &'a [T],
}

/// What the kernels compute with: reals here, ring elements in the evaluator of masked programs.
pub(crate) trait Element: Copy + Default {
    /// `self + a * b`.
    #[must_use]
    fn plus_product(self, a: Self, b: Self) -> Self;
    /// `self + a`.
    #[must_use]
    fn plus(self, a: Self) -> Self;
}

impl Element for f32 {
    fn plus_product(self, a: Self, b: Self) -> Self {
        self + a * b
    }

    fn plus(self, a: Self) -> Self {
        self + a
    }
}

impl Element for u32 {
    fn plus_product(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }

    fn plus(self, a: Self) -> Self {
        self.wrapping_add(a)
    }
}

impl Element for u64 {
    fn plus_product(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }

    fn plus(self, a: Self) -> Self {
        self.wrapping_add(a)
    }
}

/// Computes the outputs of `graph`, including what the receiver does in the clear after the reveal.
///
/// Inputs and outputs are in the model's order; sums are accumulated in single precision in blocks.
///
/// # Errors
/// The graph breaks a rule of its level, or the inputs do not fit it.
pub fn evaluate(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let revealed = evaluate_all(graph, inputs, &mut |_, _| {})?;
    let finish = |(value, output): (Tensor, &super::Output)| {
        output.clear.iter().try_fold(value, |tensor, op| apply_clear(op, tensor))
    };
    revealed.into_iter().zip(&graph.outputs).map(finish).collect()
}

/// Computes `graph` and shows every value but the parameters to `visit`, in program order.
///
/// Returns the program's outputs as they are revealed, before any operation in the clear. A value is
/// freed after its last use.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_all(
    graph: &Graph,
    inputs: &[Tensor],
    visit: &mut dyn FnMut(Id, &Tensor),
) -> Result<Vec<Tensor>, EvalError> {
    check(graph, inputs)?;
    let program = &graph.program;
    let mut uses = program.use_counts();
    let mut values: Vec<Option<Tensor>> = vec![None; program.nodes.len()];
    for id in program.ids() {
        let node = &program[id];
        if matches!(node.op, Op::Param { .. }) {
            continue;
        }
        let args: Vec<View<'_>> = node.args.iter().map(|a| view(graph, &values, *a)).collect();
        let data = compute(&node.op, &args, &node.ty.shape, inputs);
        let tensor = Tensor { shape: node.ty.shape.clone(), data };
        visit(id, &tensor);
        if uses[id.index()] > 0 {
            values[id.index()] = Some(tensor);
        }
        for arg in &node.args {
            uses[arg.index()] -= 1;
            if uses[arg.index()] == 0 {
                values[arg.index()] = None;
            }
        }
    }
    let owned = |id: &Id| {
        let View { shape, data } = view(graph, &values, *id);
        Tensor { shape: shape.clone(), data: data.to_vec() }
    };
    Ok(program.outputs.iter().map(owned).collect())
}

/// Computes one node whose operands are all parameters; `None` for any other, and for leaves.
///
/// # Panics
/// If `graph` is malformed: passes call this on graphs that the verifier has seen.
pub fn fold_node(graph: &Graph, id: Id) -> Option<Tensor> {
    let node = &graph.program[id];
    let is_param = |a: &Id| matches!(graph.program[*a].op, Op::Param { .. });
    if node.args.is_empty() || !node.args.iter().all(is_param) {
        return None;
    }
    let args: Vec<View<'_>> = node.args.iter().map(|a| view(graph, &[], *a)).collect();
    let shape = node.ty.shape.clone();
    Some(Tensor { data: compute(&node.op, &args, &shape, &[]), shape })
}

/// Refuses what would make a kernel index out of range.
fn check(graph: &Graph, inputs: &[Tensor]) -> Result<(), EvalError> {
    graph.verify()?;
    if graph.inputs.len() != inputs.len() {
        return Err(EvalError::InputCount { want: graph.inputs.len(), found: inputs.len() });
    }
    for (port, tensor) in graph.inputs.iter().zip(inputs) {
        let want = &graph.program[port.value].ty.shape;
        if *want != tensor.shape {
            return Err(EvalError::InputShape {
                name: port.name.clone(),
                want: want.clone(),
                found: tensor.shape.clone(),
            });
        }
        if tensor.data.len() != want.elements() {
            return Err(EvalError::DataLength {
                what: format!("input `{}`", port.name),
                want: want.elements(),
                found: tensor.data.len(),
            });
        }
    }
    Ok(())
}

fn view<'a>(graph: &'a Graph, values: &'a [Option<Tensor>], id: Id) -> View<'a> {
    if let Op::Param { id } = graph.program[id].op {
        let param = &graph.params[id.index()];
        return View { shape: &param.shape, data: &param.data };
    }
    let value = values[id.index()].as_ref().expect("an operand lives until its last use");
    View { shape: &value.shape, data: &value.data }
}

/// The elements of one node's result, of shape `out`.
fn compute(op: &Op, args: &[View<'_>], out: &Shape, inputs: &[Tensor]) -> Vec<f32> {
    match op {
        Op::Input { port } => inputs[port.index()].data.clone(),
        Op::Param { .. } => unreachable!("parameters are read in place"),
        Op::Conv { window, groups } => conv::conv(args, window, *groups, out),
        Op::MatMul => matmul::matmul(args[0], args[1]),
        Op::MaxPool { window } => pool::max_pool(args[0], window, out),
        Op::AvgPool { window, count_pad } => pool::avg_pool(args[0], window, *count_pad, out),
        Op::ReduceSum { axes } => reduce::sum(args[0], axes, out),
        Op::ReduceMean { axes } => reduce::mean(args[0], axes, out),
        Op::ReduceMax { axes } => reduce::max(args[0], axes, out),
        Op::Reshape => args[0].data.to_vec(),
        Op::Transpose { perm } => layout::transpose(args[0], perm, out),
        Op::Slice { starts, steps } => layout::slice(args[0], starts, steps, out),
        Op::Pad { before, interior, value, .. } => {
            layout::pad(args[0], before, interior, *value as f32, out)
        }
        Op::Expand => layout::expand(args[0], out),
        Op::Concat { axis } => layout::concat(args, *axis, out),
        Op::Gather { axis, indices } => layout::gather(args[0], *axis, indices),
        Op::Add | Op::Sub | Op::Mul | Op::Max | Op::Min | Op::PRelu => {
            elementwise::binary(op, args[0].data, args[1].data)
        }
        Op::Scale { .. }
        | Op::Offset { .. }
        | Op::Relu
        | Op::Clip { .. }
        | Op::LeakyRelu { .. }
        | Op::HardSigmoid { .. }
        | Op::HardSwish
        | Op::Abs
        | Op::Pow { .. } => elementwise::unary(op, args[0].data),
    }
}
