//! Padding: new elements by `Pad`, repeated ones by `Gather`, negative amounts by `Slice`.

use super::super::constant::Data;
use super::super::cx::{Cx, Res, Value, axis, decimal};
use super::super::error::invalid;
use super::super::limits::MAX_EXTENT;
use super::{one, select};
use mpcc_ir::Id;
use mpcc_ir::nn::Op;

pub(super) fn pad(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let dims = cx.dims(x);
    let Some(list) = cx.ints_or_input("pads", 1)? else { return invalid("it names no pads") };
    let over = match cx.constant(3)? {
        Some(axes) => axes.integers()?.iter().map(|&a| axis(a, dims.len())).collect::<Res<_>>()?,
        None => (0..dims.len()).collect::<Vec<_>>(),
    };
    if list.len() != 2 * over.len()
        || list.iter().any(|p| p.unsigned_abs() > MAX_EXTENT.unsigned_abs())
    {
        return invalid(format!("its pads {list:?} do not match shape {dims:?}"));
    }
    let mut amounts = vec![[0; 2]; dims.len()];
    for (i, &axis) in over.iter().enumerate() {
        amounts[axis] = [list[i], list[over.len() + i]];
    }
    match cx.text("mode", "constant")?.as_str() {
        "constant" => {
            let value = value(cx)?;
            constant(cx, x, &amounts, value).map(one)
        }
        mode => repeated(cx, x, &amounts, mode).map(one),
    }
}

fn value(cx: &Cx<'_>) -> Res<f64> {
    let value = match cx.constant(2)? {
        Some(constant) => match &constant.data {
            Data::Float(v) if v.len() == 1 => decimal(v[0]),
            Data::Float(v) if v.is_empty() => 0.0,
            Data::Float(_) | Data::Int(..) => return invalid("its value is not one real"),
        },
        None => cx.float("value", 0.0)?,
    };
    if value.is_finite() { Ok(value) } else { invalid("its value is not finite") }
}

fn constant(cx: &mut Cx<'_>, x: Id, amounts: &[[i64; 2]], value: f64) -> Res<Id> {
    let mut dims = cx.dims(x);
    let starts: Vec<_> = amounts.iter().map(|a| a[0].min(0).unsigned_abs() as usize).collect();
    for (d, a) in dims.iter_mut().zip(amounts) {
        *d = (*d as i64 + a[0].min(0) + a[1].min(0)).max(0) as usize;
    }
    let x = if dims == cx.dims(x) {
        x
    } else {
        let steps = vec![1; dims.len()];
        cx.emit(Op::Slice { starts, steps }, &[x], &dims)?
    };
    let side = |side: usize| amounts.iter().map(|a| a[side].max(0) as usize).collect::<Vec<_>>();
    let (before, after) = (side(0), side(1));
    for (i, d) in dims.iter_mut().enumerate() {
        *d += before[i] + after[i];
    }
    if dims == cx.dims(x) {
        return Ok(x);
    }
    let interior = vec![0; dims.len()];
    cx.emit(Op::Pad { before, after, interior, value }, &[x], &dims)
}

fn repeated(cx: &mut Cx<'_>, mut x: Id, amounts: &[[i64; 2]], mode: &str) -> Res<Id> {
    for (axis, &[before, after]) in amounts.iter().enumerate() {
        let extent = cx.dims(x)[axis] as i64;
        let source: fn(i64, i64) -> i64 = match mode {
            "edge" => |i, n| i.clamp(0, n - 1),
            "wrap" => |i, n| i.rem_euclid(n),
            "reflect" => reflect,
            other => return invalid(format!("its mode `{other}` is unknown")),
        };
        let mut dims = cx.dims(x);
        dims[axis] = (extent + before + after).max(0) as usize;
        cx.admit(&dims)?;
        let indices = (-before..extent + after).map(|i| source(i, extent) as u32).collect();
        x = select::take(cx, x, axis, indices)?;
    }
    Ok(x)
}

/// Mirrors at the first and last element, which are not repeated.
fn reflect(i: i64, n: i64) -> i64 {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n - 1);
    let at = i.rem_euclid(period);
    at.min(period - at)
}
