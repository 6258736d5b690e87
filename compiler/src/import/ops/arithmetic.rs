//! Element-wise arithmetic with broadcasting. A public number becomes `Scale`, `Offset` or `Clip`.

use super::super::constant::Data;
use super::super::cx::{Cx, Res, Value, broadcast_dims, decimal};
use super::super::error::refuse;
use super::one;
use mpcc_ir::Id;
use mpcc_ir::nn::Op;

/// Largest exponent of `Pow`: beyond it no fixed-point format has room.
const MAX_EXPONENT: f64 = 16.0;

/// An operand after broadcasting.
#[derive(Clone, Copy)]
enum Term {
    /// A public number.
    Real(f64),
    /// A value of the result's shape.
    Id(Id),
}

/// The number that a public constant of one element is; `None` for other values.
fn real(value: &Value) -> Option<f64> {
    let Value::Const(constant) = value else { return None };
    match &constant.data {
        Data::Float(v) if v.len() == 1 && !constant.private && v[0].is_finite() => {
            Some(decimal(v[0]))
        }
        Data::Float(_) | Data::Int(..) => None,
    }
}

/// All operands, broadcast to one shape. At least one depends on an input.
fn terms(cx: &mut Cx<'_>) -> Res<Vec<Term>> {
    let values: Vec<Value> = (0..cx.inputs.len()).map(|i| cx.input(i)).collect::<Res<_>>()?;
    broadcast(cx, &values)
}

fn broadcast(cx: &mut Cx<'_>, values: &[Value]) -> Res<Vec<Term>> {
    let mut dims = Vec::new();
    for value in values {
        dims = broadcast_dims(&dims, &cx.dims_of(value))?;
    }
    let term = |value: &Value| match real(value) {
        Some(x) => Ok(Term::Real(x)),
        None => cx.broadcast(value, &dims).map(Term::Id),
    };
    values.iter().map(term).collect()
}

/// Joins terms: numbers by `reals`, values by `op`, and the number with the value by `with`.
fn join(
    cx: &mut Cx<'_>,
    terms: &[Term],
    op: &Op,
    reals: fn(f64, f64) -> f64,
    with: impl Fn(f64) -> Op,
) -> Res<Id> {
    let (mut number, mut value) = (None, None);
    for term in terms {
        match (*term, value) {
            (Term::Real(x), _) => number = Some(number.map_or(x, |n| reals(n, x))),
            (Term::Id(x), None) => value = Some(x),
            (Term::Id(x), Some(sum)) => {
                let dims = cx.dims(x);
                value = Some(cx.emit(op.clone(), &[sum, x], &dims)?);
            }
        }
    }
    match (value, number) {
        (Some(x), Some(n)) => cx.map(with(n), x),
        (Some(x), None) => Ok(x),
        (None, _) => refuse("it has no inputs", "remove it"),
    }
}

pub(super) fn sum(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let terms = terms(cx)?;
    join(cx, &terms, &Op::Add, |a, b| a + b, |by| Op::Offset { by }).map(one)
}

pub(super) fn mean(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let terms = terms(cx)?;
    let sum = join(cx, &terms, &Op::Add, |a, b| a + b, |by| Op::Offset { by })?;
    cx.map(Op::Scale { by: 1.0 / terms.len() as f64 }, sum).map(one)
}

pub(super) fn mul(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let terms = terms(cx)?;
    join(cx, &terms, &Op::Mul, |a, b| a * b, |by| Op::Scale { by }).map(one)
}

pub(super) fn max(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let terms = terms(cx)?;
    join(cx, &terms, &Op::Max, f64::max, |lo| Op::Clip { lo, hi: f64::INFINITY }).map(one)
}

pub(super) fn min(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let terms = terms(cx)?;
    join(cx, &terms, &Op::Min, f64::min, |hi| Op::Clip { lo: f64::NEG_INFINITY, hi }).map(one)
}

pub(super) fn sub(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let values = [cx.input(0)?, cx.input(1)?];
    let terms = broadcast(cx, &values)?;
    let id = match terms[..] {
        [Term::Id(a), Term::Id(b)] => {
            let dims = cx.dims(a);
            cx.emit(Op::Sub, &[a, b], &dims)
        }
        [Term::Id(a), Term::Real(b)] => cx.map(Op::Offset { by: -b }, a),
        [Term::Real(a), Term::Id(b)] => {
            let negative = cx.map(Op::Scale { by: -1.0 }, b)?;
            cx.map(Op::Offset { by: a }, negative)
        }
        _ => refuse("it has no inputs", "remove it"),
    };
    id.map(one)
}

pub(super) fn div(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let Value::Const(divisor) = cx.input(1)? else {
        return refuse(
            "its divisor depends on a model input",
            "divide by a constant, or compute the division outside of the model",
        );
    };
    let divisors = divisor.floats()?;
    if divisors.contains(&0.0) {
        return refuse("its divisor holds a zero", "repair the model");
    }
    if let Some(by) = real(&Value::Const(divisor.clone())) {
        let values = [cx.input(0)?, cx.input(1)?];
        let [Term::Id(x), _] = broadcast(cx, &values)?[..] else {
            return refuse("its dividend is no value of the graph", "simplify the model");
        };
        return cx.map(Op::Scale { by: 1.0 / by }, x).map(one);
    }
    let reciprocals = divisors.iter().map(|d| 1.0 / d).collect();
    let x = cx.input(0)?;
    let dims = broadcast_dims(&cx.dims_of(&x), &divisor.dims)?;
    let x = cx.broadcast(&x, &dims)?;
    let factors = cx.derived("reciprocal", &divisor.dims, reciprocals, &dims)?;
    cx.emit(Op::Mul, &[x, factors], &dims).map(one)
}

pub(super) fn neg(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    cx.map(Op::Scale { by: -1.0 }, x).map(one)
}

pub(super) fn pow(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let Value::Const(exponent) = cx.input(1)? else {
        return refuse(
            "its exponent depends on a model input",
            "use a constant exponent from 1 to 16",
        );
    };
    let exponents = exponent.reals();
    let n = exponents.first().copied().unwrap_or(0.0);
    if exponents.iter().any(|e| *e != n) || n.fract() != 0.0 || !(1.0..=MAX_EXPONENT).contains(&n) {
        return refuse(
            format!("its exponent is {}", exponent.brief()),
            "only the same whole number from 1 to 16 everywhere is supported: rewrite the formula",
        );
    }
    let dims = broadcast_dims(&cx.dims_of(&cx.input(0)?), &exponent.dims)?;
    let x = cx.input(0)?;
    let x = cx.broadcast(&x, &dims)?;
    cx.map(Op::Pow { n: n as u32 }, x).map(one)
}
