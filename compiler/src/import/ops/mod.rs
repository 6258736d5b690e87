//! The table of operators.

mod activation;
mod arithmetic;
mod clear;
mod constants;
mod conv;
mod conv_transpose;
mod join;
mod matmul;
mod norm;
mod pad;
mod pool;
mod reduce;
mod resize;
mod select;
mod shape;
mod window;

use super::cx::{Cx, Res, Value, broadcast_dims};
use super::error::refuse;
use super::fold;
use mpcc_ir::nn::{Op, Ty, Visibility};
use mpcc_ir::{Id, Shape};

type Translate = fn(&mut Cx<'_>) -> Res<Vec<Value>>;

/// Operators whose result is known when their inputs' shapes are, or that change no element: they
/// take constants as they are. All others are folded where they only see constants.
fn structural(op: &str) -> Option<Translate> {
    Some(match op {
        "Constant" => constants::constant,
        "ConstantOfShape" => constants::constant_of_shape,
        "Range" => constants::range,
        "Shape" => constants::shape,
        "Size" => constants::size,
        "Cast" => constants::cast,
        "Identity" => constants::identity,
        "Dropout" => constants::dropout,
        "Flatten" => shape::flatten,
        "Reshape" => shape::reshape,
        "Squeeze" => shape::squeeze,
        "Unsqueeze" => shape::unsqueeze,
        _ => return None,
    })
}

fn arithmetic(op: &str) -> Option<Translate> {
    Some(match op {
        "Add" | "Sum" => arithmetic::sum,
        "Sub" => arithmetic::sub,
        "Mul" => arithmetic::mul,
        "Div" => arithmetic::div,
        "Neg" => arithmetic::neg,
        "Max" => arithmetic::max,
        "Min" => arithmetic::min,
        "Mean" => arithmetic::mean,
        "Pow" => arithmetic::pow,
        "Abs" => activation::abs,
        "Relu" => activation::relu,
        "LeakyRelu" => activation::leaky_relu,
        "PRelu" => activation::prelu,
        "Clip" => activation::clip,
        "HardSigmoid" => activation::hard_sigmoid,
        "HardSwish" => activation::hard_swish,
        "Softmax" => clear::softmax,
        "Sigmoid" => clear::sigmoid,
        "ArgMax" => clear::arg_max,
        "BatchNormalization" => norm::batch_normalization,
        "Gemm" => matmul::gemm,
        "MatMul" => matmul::matmul,
        "Conv" => conv::conv,
        "ConvTranspose" => conv_transpose::conv_transpose,
        "MaxPool" => pool::max_pool,
        "AveragePool" => pool::average_pool,
        "GlobalAveragePool" => pool::global_average_pool,
        "GlobalMaxPool" => pool::global_max_pool,
        "ReduceMean" => reduce::mean,
        "ReduceSum" => reduce::sum,
        "ReduceMax" => reduce::max,
        "ReduceMin" => reduce::min,
        "ReduceL1" => reduce::l1,
        "ReduceSumSquare" => reduce::sum_square,
        _ => return None,
    })
}

fn movement(op: &str) -> Option<Translate> {
    Some(match op {
        "Transpose" => shape::transpose,
        "DepthToSpace" => shape::depth_to_space,
        "SpaceToDepth" => shape::space_to_depth,
        "Expand" => shape::expand,
        "Tile" => shape::tile,
        "Concat" => join::concat,
        "Split" => join::split,
        "Slice" => select::slice,
        "Gather" => select::gather,
        "Pad" => pad::pad,
        "Resize" => resize::resize,
        "Upsample" => resize::upsample,
        _ => return None,
    })
}

/// Translates a node.
///
/// # Errors
/// Refuses an operator or a use of it that is not supported. Where an input is `unknown`, because
/// it comes out of a refused node, only the operator is judged.
pub(super) fn translate(op: &str, cx: &mut Cx<'_>, unknown: bool) -> Res<Vec<Value>> {
    if let Some(translate) = structural(op) {
        return if unknown { Ok(unknowns(cx)) } else { translate(cx) };
    }
    let known = arithmetic(op).or_else(|| movement(op));
    let constant = |v: &Value| matches!(v, Value::Const(_));
    if !unknown && !cx.inputs.is_empty() && cx.inputs.iter().flatten().all(constant) {
        return fold::fold(op, cx);
    }
    match known {
        None => unsupported(op),
        // Whether it stands at the end can be judged without its input.
        Some(_) if unknown && clear::only_at_the_end(op) && !cx.in_tail => {
            clear::not_at_the_end(op)
        }
        Some(_) if unknown => Ok(unknowns(cx)),
        Some(translate) => translate(cx),
    }
}

fn unknowns(cx: &Cx<'_>) -> Vec<Value> {
    vec![Value::Unknown; cx.node.output.len()]
}

fn unsupported(op: &str) -> Res<Vec<Value>> {
    let smooth = "use Relu, LeakyRelu, HardSigmoid, HardSwish or Clip in its place and train again";
    let remedy = match op {
        "Tanh" | "Erf" | "Gelu" | "Elu" | "Selu" | "Celu" | "Softplus" | "Softsign" | "Mish"
        | "Swish" | "Exp" => smooth,
        "LayerNormalization" | "InstanceNormalization" | "GroupNormalization" | "LRN" => {
            "use BatchNormalization in its place and train again"
        }
        "LSTM" | "GRU" | "RNN" => "use convolutions in its place and train again",
        "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "QLinearMatMul" => {
            "export the model in float32"
        }
        "If" | "Loop" | "Scan" => "simplify the model, for example with onnxsim",
        "ai.onnx.ml.Scaler" => "write it as Sub and Mul",
        _ => "compute it outside of the model, or see README.md for what is supported",
    };
    refuse("the operator is not supported", remedy)
}

/// Operators that keep their first input's shape.
const SAME_SHAPE: [&str; 30] = [
    "Softmax",
    "LogSoftmax",
    "Hardmax",
    "Sigmoid",
    "Tanh",
    "Erf",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Gelu",
    "Elu",
    "Selu",
    "Celu",
    "Softplus",
    "Softsign",
    "Mish",
    "Swish",
    "Sin",
    "Cos",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "LRN",
    "LayerNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LpNormalization",
    "ThresholdedRelu",
];

/// A value that stands for a refused node's result, so that the nodes after it can be judged too.
/// The graph is thrown away in the end.
pub(super) fn stand_in(op: &str, cx: &mut Cx<'_>) -> Value {
    let dims = match (op, &cx.inputs[..]) {
        (_, [Some(first), ..]) if SAME_SHAPE.contains(&op) => cx.dims_of(first),
        ("Div" | "Pow" | "Mul" | "Add" | "Sub", [Some(a), Some(b)]) => {
            match broadcast_dims(&cx.dims_of(a), &cx.dims_of(b)) {
                Ok(dims) => dims,
                Err(_) => return Value::Unknown,
            }
        }
        _ => return Value::Unknown,
    };
    if cx.admit(&dims).is_err() {
        return Value::Unknown;
    }
    let ty = Ty { visibility: Visibility::Secret, shape: Shape(dims), range: None };
    let op = Op::Input { port: mpcc_ir::PortId(0) };
    Value::Net { id: cx.graph.program.push(op, &[], ty, None), float: true }
}

/// One result, of reals.
fn one(id: Id) -> Vec<Value> {
    vec![Value::Net { id, float: true }]
}
