//! Evaluates nodes that only see constants, one at a time, with tract.
//!
//! This is how shape arithmetic (`Shape`, `Gather`, `Concat`, ..) and computed weights vanish. Only
//! operators whose result cannot be much larger than their inputs are evaluated, so that a small
//! file cannot ask for a large computation.

use super::constant::{Const, Data, count};
use super::cx::{Cx, Res, Value, broadcast_dims};
use super::error::{invalid, refuse};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use tract_onnx::prelude::*;

/// Element-wise operators, with broadcasting.
const ELEMENTWISE: [&str; 37] = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Neg",
    "Abs",
    "Sqrt",
    "Exp",
    "Log",
    "Pow",
    "Max",
    "Min",
    "Sum",
    "Mean",
    "Floor",
    "Ceil",
    "Round",
    "Reciprocal",
    "Erf",
    "Tanh",
    "Sigmoid",
    "Relu",
    "Sin",
    "Cos",
    "Equal",
    "Less",
    "LessOrEqual",
    "Greater",
    "GreaterOrEqual",
    "And",
    "Or",
    "Not",
    "Where",
    "Clip",
    "Sign",
    "LeakyRelu",
];

/// Operators that choose, order or sum up elements.
const SMALLER: [&str; 13] = [
    "Concat",
    "Slice",
    "Split",
    "Transpose",
    "Gather",
    "GatherElements",
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ArgMax",
    "Trilu",
];

/// Replaces a node by its value.
///
/// # Errors
/// Refuses operators that are not in the tables above, and those that fail.
pub(super) fn fold(op: &str, cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let inputs = (0..cx.inputs.len()).map(|i| cx.constant(i)).collect::<Res<Vec<_>>>()?;
    check_size(op, cx, &inputs)?;
    let private = inputs.iter().flatten().any(|c| c.private);
    let Some(tensors) = evaluate(cx, &inputs) else {
        return refuse(
            "it works on constants and fails",
            "simplify the model, for example with onnxsim",
        );
    };
    let names = cx.node.output.iter();
    let value = |(name, tensor): (&String, TValue)| {
        let (dims, data) = from_tract(&tensor)?;
        let name = name.clone();
        Ok(Value::Const(Rc::new(Const { name, dims, data, private })))
    };
    names.zip(tensors).map(value).collect()
}

fn check_size(op: &str, cx: &Cx<'_>, inputs: &[Option<Rc<Const>>]) -> Res<()> {
    let dims: Vec<&[usize]> = inputs.iter().flatten().map(|c| &c.dims[..]).collect();
    let result = match op {
        "Expand" | "Tile" => {
            let extents = super::cx::dims_from(cx.required(1)?.integers()?)?;
            let repeats = if op == "Tile" { dims[0].to_vec() } else { vec![] };
            [repeats, extents].concat()
        }
        _ if ELEMENTWISE.contains(&op) => {
            dims.iter().try_fold(Vec::new(), |all, d| broadcast_dims(&all, d))?
        }
        // Gather repeats a slice of its data for each index.
        "Gather" => dims.concat(),
        _ if SMALLER.contains(&op) => vec![],
        _ => {
            return refuse(
                "the operator is not supported on constants",
                "simplify the model, for example with onnxsim",
            );
        }
    };
    let what = format!("the number of elements of `{}`", cx.output_name());
    let elements = count(&result).unwrap_or(usize::MAX);
    Ok(cx.limits.check(&what, elements, cx.limits.tensor_elements)?)
}

/// Runs the node alone. `None` where tract fails; a panic in it is one way of failing.
fn evaluate(cx: &Cx<'_>, inputs: &[Option<Rc<Const>>]) -> Option<TVec<TValue>> {
    let model = one_node(cx.node, inputs, cx.opset);
    let run = || -> TractResult<TVec<TValue>> {
        let model = tract_onnx::onnx().parse(&model, None)?.model;
        model.into_typed()?.into_runnable()?.run(tvec![])
    };
    catch_unwind(AssertUnwindSafe(run)).ok()?.ok()
}

fn one_node(node: &NodeProto, inputs: &[Option<Rc<Const>>], opset: i64) -> ModelProto {
    let mut node = node.clone();
    let mut initializer = Vec::new();
    // Inputs get names of their own: the same constant may come twice.
    for (at, constant) in inputs.iter().enumerate() {
        if let Some(constant) = constant {
            node.input[at] = format!("input {at}");
            initializer.push(tensor(&node.input[at], constant));
        }
    }
    let name = |name: &String| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() };
    let output = node.output.iter().filter(|o| !o.is_empty()).map(name).collect();
    let graph = GraphProto { node: vec![node], initializer, output, ..GraphProto::default() };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

fn tensor(name: &str, constant: &Const) -> TensorProto {
    let (kind, raw_data) = match &constant.data {
        Data::Float(v) => (DataType::Float, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::Int(DataType::Bool, v) => (DataType::Bool, v.iter().map(|&x| x as u8).collect()),
        Data::Int(DataType::Int32, v) => {
            (DataType::Int32, v.iter().flat_map(|&x| (x as i32).to_le_bytes()).collect())
        }
        // Narrow integers do not occur in shape arithmetic, so wrap-around does not matter.
        Data::Int(_, v) => (DataType::Int64, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
    };
    TensorProto {
        name: name.to_owned(),
        dims: constant.dims.iter().map(|&d| d as i64).collect(),
        data_type: kind as i32,
        raw_data,
        ..TensorProto::default()
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all other types are integers")]
fn from_tract(tensor: &Tensor) -> Res<(Vec<usize>, Data)> {
    let dims = tensor.shape().to_vec();
    let ints = |kind| {
        let cast = tensor.cast_to::<i64>().ok()?;
        Some(Data::Int(kind, cast.try_as_plain_ram().ok()?.as_slice::<i64>().ok()?.to_vec()))
    };
    let data = match tensor.datum_type() {
        DatumType::F16 | DatumType::F32 | DatumType::F64 => {
            let cast = tensor.cast_to::<f32>().ok();
            cast.and_then(|t| {
                Some(Data::Float(t.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec()))
            })
        }
        DatumType::Bool => ints(DataType::Bool),
        DatumType::I32 => ints(DataType::Int32),
        _ => ints(DataType::Int64),
    };
    match data {
        Some(data) => Ok((dims, data)),
        None => invalid("it makes a constant that is not made of numbers"),
    }
}
