//! Joining and splitting along an axis.

use super::super::cx::{Cx, Res, Value};
use super::super::error::{Fault, invalid};
use super::one;
use mpcc_ir::nn::Op;

pub(super) fn concat(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let mut parts = Vec::new();
    for at in 0..cx.inputs.len() {
        // An empty constant adds nothing; some exporters leave one.
        let value = cx.input(at)?;
        let empty = matches!(&value, Value::Const(c) if c.len() == 0);
        if !empty {
            parts.push(cx.to_net(&value)?);
        }
    }
    let Some(&first) = parts.first() else { return invalid("it has no inputs") };
    let mut dims = cx.dims(first);
    if cx.node.attribute.iter().all(|a| a.name != "axis") {
        return invalid("it names no axis");
    }
    let axis = cx.axis_attr(0, dims.len())?;
    let extents: Vec<_> =
        parts.iter().map(|&p| cx.dims(p).get(axis).copied().unwrap_or(0)).collect();
    dims[axis] = extents.iter().fold(0, |a, b| a.saturating_add(*b));
    if parts.len() == 1 {
        return Ok(one(first));
    }
    cx.emit(Op::Concat { axis }, &parts, &dims).map(one)
}

pub(super) fn split(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let dims = cx.dims(x);
    let axis = cx.axis_attr(0, dims.len())?;
    let sizes = match cx.ints_or_input("split", 1)? {
        Some(list) => super::super::cx::dims_from(&list)?,
        None => equal_parts(cx, dims[axis])?,
    };
    let total = sizes.iter().fold(0usize, |a, b| a.saturating_add(*b));
    if total != dims[axis] || sizes.len() != cx.node.output.len() {
        return invalid(format!("parts of {sizes:?} do not make up an extent of {}", dims[axis]));
    }
    let mut start = 0;
    let part = |size: usize| {
        let (mut starts, mut out) = (vec![0; dims.len()], dims.clone());
        (starts[axis], out[axis]) = (start, size);
        start += size;
        let steps = vec![1; dims.len()];
        let id = cx.emit(Op::Slice { starts, steps }, &[x], &out)?;
        Ok::<_, Fault>(Value::Net { id, float: true })
    };
    sizes.into_iter().map(part).collect()
}

/// As many parts as the node has outputs, the last one smaller where they do not divide the extent.
fn equal_parts(cx: &Cx<'_>, extent: usize) -> Res<Vec<usize>> {
    let parts = cx.node.output.len();
    let declared = cx.int("num_outputs", parts as i64)?;
    if declared != parts as i64 || parts == 0 {
        return invalid(format!("it has {parts} outputs and declares {declared}"));
    }
    let size = extent.div_ceil(parts);
    let rest = extent.checked_sub(size * (parts - 1));
    match rest {
        Some(rest) if rest == size || rest > 0 && cx.opset >= 18 => {
            let mut sizes = vec![size; parts];
            sizes[parts - 1] = rest;
            Ok(sizes)
        }
        Some(_) | None => {
            invalid(format!("an extent of {extent} does not split into {parts} parts"))
        }
    }
}
