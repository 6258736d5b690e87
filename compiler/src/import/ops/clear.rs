//! Operators that the receiver computes in the clear, at the very end of a model.

use super::super::cx::{Clear, Cx, Res, Value, axis};
use super::super::error::refuse;
use mpcc_ir::Shape;
use mpcc_ir::nn::ClearOp;
use std::rc::Rc;

pub(super) fn only_at_the_end(op: &str) -> bool {
    ["Softmax", "Sigmoid", "ArgMax"].contains(&op)
}

pub(super) fn not_at_the_end<T>(op: &str) -> Res<T> {
    let remedy = match op {
        "Sigmoid" => "use HardSigmoid or Relu in its place and train again",
        _ => "cut the model before it, or train again without it",
    };
    refuse(
        "it is supported only at the very end of the model, where the receiver computes it in the clear",
        remedy,
    )
}

/// Appends to what the receiver does with a value.
fn append(cx: &mut Cx<'_>, ops: &[ClearOp], dims: &[usize]) -> Res<Vec<Value>> {
    if !cx.in_tail {
        return not_at_the_end(&cx.node.op_type);
    }
    cx.admit(dims)?;
    let (base, mut list) = match cx.input(0)? {
        Value::Clear(clear) => (clear.base, clear.ops.clone()),
        value @ (Value::Net { .. } | Value::Const(_) | Value::Unknown) => {
            (cx.to_net(&value)?, Vec::new())
        }
    };
    list.extend_from_slice(ops);
    Ok(vec![Value::Clear(Rc::new(Clear { base, ops: list, dims: dims.to_vec() }))])
}

/// The same elements in another shape, after a clear operation.
pub(super) fn reshape(cx: &mut Cx<'_>, dims: &[usize]) -> Res<Vec<Value>> {
    append(cx, &[ClearOp::Reshape { shape: Shape::of(dims) }], dims)
}

pub(super) fn softmax(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let dims = cx.dims_of(&cx.input(0)?);
    if cx.opset >= 13 {
        let axis = cx.axis_attr(-1, dims.len())?;
        return append(cx, &[ClearOp::Softmax { axis }], &dims);
    }
    // Before operator set 13 the input is taken as a matrix, cut at the axis.
    let axis = cx.axis_attr(1, dims.len())?;
    let matrix = Shape::of(&[dims[..axis].iter().product(), dims[axis..].iter().product()]);
    let back = ClearOp::Reshape { shape: Shape::of(&dims) };
    if matrix[..] == dims[..] {
        return append(cx, &[ClearOp::Softmax { axis: 1 }], &dims);
    }
    append(cx, &[ClearOp::Reshape { shape: matrix }, ClearOp::Softmax { axis: 1 }, back], &dims)
}

pub(super) fn sigmoid(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let dims = cx.dims_of(&cx.input(0)?);
    append(cx, &[ClearOp::Sigmoid], &dims)
}

pub(super) fn arg_max(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let mut dims = cx.dims_of(&cx.input(0)?);
    let at = axis(cx.int("axis", 0)?, dims.len())?;
    let last = cx.flag("select_last_index")?;
    dims[at] = 1;
    let mut ops = vec![ClearOp::ArgMax { axis: at, last }];
    if cx.int("keepdims", 1)? == 0 {
        dims.remove(at);
        ops.push(ClearOp::Reshape { shape: Shape::of(&dims) });
    }
    append(cx, &ops, &dims)
}
