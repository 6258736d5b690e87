//! Reductions along axes.

use super::super::cx::{Cx, Res, Value, axes};
use super::one;
use mpcc_ir::Id;
use mpcc_ir::nn::Op;

pub(super) fn mean(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    reduce(cx, x, |axes| Op::ReduceMean { axes })
}

pub(super) fn sum(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    reduce(cx, x, |axes| Op::ReduceSum { axes })
}

pub(super) fn max(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    reduce(cx, x, |axes| Op::ReduceMax { axes })
}

/// The negative of the maximum of the negatives.
pub(super) fn min(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let negative = cx.map(Op::Scale { by: -1.0 }, x)?;
    let [Value::Net { id, .. }] = reduce(cx, negative, |axes| Op::ReduceMax { axes })?[..] else {
        return Ok(Vec::new());
    };
    cx.map(Op::Scale { by: -1.0 }, id).map(one)
}

pub(super) fn l1(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let x = cx.map(Op::Abs, x)?;
    reduce(cx, x, |axes| Op::ReduceSum { axes })
}

pub(super) fn sum_square(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let x = cx.map(Op::Pow { n: 2 }, x)?;
    reduce(cx, x, |axes| Op::ReduceSum { axes })
}

fn reduce(cx: &mut Cx<'_>, x: Id, op: fn(Vec<usize>) -> Op) -> Res<Vec<Value>> {
    let dims = cx.dims(x);
    let list = cx.ints_or_input("axes", 1)?.unwrap_or_default();
    let over = match list[..] {
        [] if cx.flag("noop_with_empty_axes")? => return Ok(one(x)),
        [] => (0..dims.len()).collect(),
        _ => axes(&list, dims.len())?,
    };
    let mut out = dims.clone();
    for &axis in &over {
        out[axis] = 1;
    }
    let y = if over.is_empty() { x } else { cx.emit(op(over.clone()), &[x], &out)? };
    if cx.int("keepdims", 1)? != 0 {
        return Ok(one(y));
    }
    let kept = (0..dims.len()).filter(|i| !over.contains(i)).map(|i| dims[i]);
    cx.reshape(y, &kept.collect::<Vec<_>>()).map(one)
}
