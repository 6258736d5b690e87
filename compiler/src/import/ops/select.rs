//! Choosing elements by constant indices.

use super::super::cx::{Cx, Res, Value, axis};
use super::super::error::{invalid, refuse};
use super::one;
use mpcc_ir::Id;
use mpcc_ir::nn::Op;

pub(super) fn slice(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let dims = cx.dims(x);
    let (Some(from), Some(to)) = (cx.ints_or_input("starts", 1)?, cx.ints_or_input("ends", 2)?)
    else {
        return invalid("it names no starts or ends");
    };
    let axes = match cx.ints_or_input("axes", 3)? {
        Some(list) => list.iter().map(|&a| axis(a, dims.len())).collect::<Res<Vec<_>>>()?,
        None => (0..from.len()).collect(),
    };
    let by = cx.ints_or_input("steps", 4)?.unwrap_or_else(|| vec![1; from.len()]);
    if [to.len(), axes.len(), by.len()] != [from.len(); 3] || axes.iter().any(|&a| a >= dims.len())
    {
        return invalid("its starts, ends, axes and steps do not match");
    }
    let (mut starts, mut steps, mut out) = (vec![0; dims.len()], vec![1; dims.len()], dims.clone());
    for (i, &axis) in axes.iter().enumerate() {
        let Some((start, step, count)) = range(dims[axis], from[i], to[i], by[i]) else {
            return invalid("one of its steps is zero");
        };
        (starts[axis], steps[axis], out[axis]) = (start, step, count);
    }
    if out == dims && steps.iter().all(|&s| s == 1) {
        return Ok(one(x));
    }
    cx.emit(Op::Slice { starts, steps }, &[x], &out).map(one)
}

/// First index, step and count of a slice of an axis, by ONNX's rules for negative and far indices.
fn range(extent: usize, from: i64, to: i64, step: i64) -> Option<(usize, i64, usize)> {
    let extent = extent as i64;
    let wrap = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
    // Steps longer than the axis all take one element.
    let step = step.clamp(-extent.max(1), extent.max(1));
    let (from, to) = (wrap(from), wrap(to));
    let (from, to) = match step {
        0 => return None,
        1.. => (from.clamp(0, extent), to.clamp(0, extent)),
        _ => (from.clamp(0, (extent - 1).max(0)), to.clamp(-1, extent - 1)),
    };
    let span = if step > 0 { to - from } else { from - to };
    let count = if span <= 0 { 0 } else { (span - 1) / step.abs() + 1 };
    let start = if count == 0 { 0 } else { from as usize };
    Some((start, step, count as usize))
}

pub(super) fn gather(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    if !matches!(cx.input(1)?, Value::Const(_)) {
        return refuse(
            "its indices depend on a model input",
            "look the rows up outside of the model and feed them in",
        );
    }
    let x = cx.net(0)?;
    let dims = cx.dims(x);
    let axis = cx.axis_attr(0, dims.len())?;
    let indices = cx.required(1)?;
    let extent = dims[axis] as i64;
    let wrap = |&i: &i64| {
        let from_front = if i < 0 { i.saturating_add(extent) } else { i };
        if (0..extent).contains(&from_front) { Ok(from_front as u32) } else { Err(i) }
    };
    let list = match indices.integers()?.iter().map(wrap).collect::<Result<Vec<_>, _>>() {
        Ok(list) => list,
        Err(index) => return invalid(format!("index {index} is out of range for extent {extent}")),
    };
    let gathered = take(cx, x, axis, list)?;
    let mut out = dims[..axis].to_vec();
    out.extend(&indices.dims);
    out.extend(&dims[axis + 1..]);
    cx.reshape(gathered, &out).map(one)
}

/// `x` with the entries of an axis replaced by those that `indices` name.
pub(super) fn take(cx: &mut Cx<'_>, x: Id, axis: usize, indices: Vec<u32>) -> Res<Id> {
    let mut dims = cx.dims(x);
    if indices.iter().copied().eq(0..dims[axis] as u32) {
        return Ok(x);
    }
    dims[axis] = indices.len();
    cx.emit(Op::Gather { axis, indices }, &[x], &dims)
}
