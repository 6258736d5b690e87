//! Activations that have an operation of their own.

use super::super::cx::{Cx, Res, Value};
use super::super::error::{invalid, refuse};
use super::one;
use mpcc_ir::nn::Op;

fn unary(cx: &mut Cx<'_>, op: Op) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    cx.map(op, x).map(one)
}

pub(super) fn relu(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    unary(cx, Op::Relu)
}

pub(super) fn abs(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    unary(cx, Op::Abs)
}

pub(super) fn leaky_relu(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let alpha = cx.float("alpha", 0.01)?;
    finite(alpha)?;
    unary(cx, Op::LeakyRelu { alpha })
}

pub(super) fn hard_sigmoid(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let (alpha, beta) = (cx.float("alpha", 0.2)?, cx.float("beta", 0.5)?);
    finite(alpha)?;
    finite(beta)?;
    unary(cx, Op::HardSigmoid { alpha, beta })
}

pub(super) fn hard_swish(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    unary(cx, Op::HardSwish)
}

fn finite(x: f64) -> Res<()> {
    if x.is_finite() { Ok(()) } else { invalid("an attribute is infinite") }
}

/// The slope broadcasts to the input and never the other way round.
pub(super) fn prelu(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let dims = cx.dims(x);
    let slope = cx.input(1)?;
    if !matches!(slope, Value::Const(_)) {
        return refuse("its slope depends on a model input", "make the slope a constant");
    }
    let slope = cx.broadcast(&slope, &dims)?;
    cx.emit(Op::PRelu, &[x, slope], &dims).map(one)
}

pub(super) fn clip(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let lo = bound(cx, "min", 1, f64::NEG_INFINITY)?;
    let hi = bound(cx, "max", 2, f64::INFINITY)?;
    let x = cx.net(0)?;
    if lo == f64::NEG_INFINITY && hi == f64::INFINITY {
        return Ok(one(x));
    }
    if lo > hi {
        // ONNX takes the maximum first, so the upper bound wins everywhere.
        let zero = cx.map(Op::Scale { by: 0.0 }, x)?;
        return cx.map(Op::Offset { by: hi }, zero).map(one);
    }
    if lo == hi || lo == f64::INFINITY || hi == f64::NEG_INFINITY {
        return refuse(format!("its bounds are {lo} and {hi}"), "remove it");
    }
    cx.map(Op::Clip { lo, hi }, x).map(one)
}

/// A bound from an attribute (before operator set 11) or an input. The largest float counts as none.
fn bound(cx: &Cx<'_>, attr: &str, at: usize, default: f64) -> Res<f64> {
    let value = match cx.constant(at)? {
        None => cx.float(attr, default)?,
        Some(constant) => match constant.floats()? {
            [x] => super::super::cx::decimal(*x),
            list => return invalid(format!("its bound has {} elements", list.len())),
        },
    };
    match value {
        x if x.is_nan() => invalid("its bound is not a number"),
        x if x >= f64::from(f32::MAX) => Ok(f64::INFINITY),
        x if x <= f64::from(f32::MIN) => Ok(f64::NEG_INFINITY),
        x => Ok(x),
    }
}
