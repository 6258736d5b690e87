//! Convolution over one or two axes.

use super::super::cx::{Cx, Res, Value};
use super::super::error::{invalid, refuse};
use super::one;
use super::window::{Geometry, image, image_of_rank, output, with_row};
use mpcc_ir::Id;
use mpcc_ir::nn::Op;

pub(super) fn conv(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let Value::Const(weight) = cx.input(1)? else {
        return refuse("its weight depends on a model input", "make the weight a constant");
    };
    let rank = cx.dims(x).len();
    if weight.dims.len() != rank {
        return invalid(format!("its weight has shape {:?}", weight.dims));
    }
    let mut geometry = Geometry::new(cx, x, weight.dims.get(2..))?;
    geometry.settle();
    let window = geometry.window()?;
    let weight = cx.param(&weight, &with_row(&weight.dims))?;
    finish(cx, [x, weight], window, rank)
}

/// The number of groups.
pub(super) fn groups(cx: &Cx<'_>) -> Res<usize> {
    match usize::try_from(cx.int("group", 1)?) {
        Ok(groups @ 1..) => Ok(groups),
        Ok(0) | Err(_) => invalid("its number of groups is not positive"),
    }
}

fn finish(
    cx: &mut Cx<'_>,
    [x, weight]: [Id; 2],
    window: mpcc_ir::Window,
    rank: usize,
) -> Res<Vec<Value>> {
    let groups = groups(cx)?;
    let x = image(cx, x)?;
    let mut args = vec![x, weight];
    args.extend(bias(cx)?);
    let dims = output(cx, x, &window, cx.dims(weight)[0])?;
    let y = cx.emit(Op::Conv { window, groups }, &args, &dims)?;
    image_of_rank(cx, y, rank).map(one)
}

/// The optional bias, input number 3.
pub(super) fn bias(cx: &mut Cx<'_>) -> Res<Option<Id>> {
    if !cx.has(2) {
        return Ok(None);
    }
    match cx.input(2)? {
        Value::Const(bias) => cx.param(&bias, &bias.dims).map(Some),
        Value::Net { .. } | Value::Clear(_) | Value::Unknown => {
            refuse("its bias depends on a model input", "make the bias a constant")
        }
    }
}
