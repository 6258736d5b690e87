//! Matrix products.

use super::super::constant::Const;
use super::super::cx::{Cx, Res, Value, broadcast_dims};
use super::super::error::invalid;
use super::one;
use mpcc_ir::Id;
use mpcc_ir::nn::Op;

pub(super) fn matmul(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let (mut da, mut db) = (cx.dims_of(&a), cx.dims_of(&b));
    let (row, column) = (da.len() == 1, db.len() == 1);
    if row {
        da.insert(0, 1);
    }
    if column {
        db.push(1);
    }
    let (ra, rb) = (da.len(), db.len());
    if ra < 2 || rb < 2 || da[ra - 1] != db[rb - 2] {
        return invalid(format!(
            "shapes {:?} and {:?} do not multiply",
            cx.dims_of(&a),
            cx.dims_of(&b)
        ));
    }
    // Leading extents of 1 on the right are dropped, so that one matrix serves all of the left.
    if db[..rb - 2].iter().all(|&d| d == 1) && ra >= rb {
        db.drain(..rb - 2);
    }
    let batch = broadcast_dims(&da[..ra - 2], &db[..db.len() - 2])?;
    let (m, n, k) = (da[ra - 2], db[db.len() - 1], da[ra - 1]);
    let a = shaped(cx, &a, &da)?;
    let b = shaped(cx, &b, &db)?;
    let a = leading(cx, a, &batch)?;
    let b = if db.len() == 2 { b } else { leading(cx, b, &batch)? };
    let mut out = [&batch[..], &[m, n]].concat();
    debug_assert_eq!(cx.dims(a).last(), Some(&k));
    let y = cx.emit(Op::MatMul, &[a, b], &out)?;
    if column {
        out.pop();
    }
    if row {
        out.remove(batch.len());
    }
    cx.reshape(y, &out).map(one)
}

/// A value with these extents; a constant becomes a parameter that has them.
fn shaped(cx: &mut Cx<'_>, x: &Value, dims: &[usize]) -> Res<Id> {
    match x {
        Value::Const(constant) => cx.param(constant, dims),
        Value::Net { .. } | Value::Clear(_) | Value::Unknown => {
            let id = cx.to_net(x)?;
            cx.reshape(id, dims)
        }
    }
}

/// Gives a matrix the leading extents `batch`.
fn leading(cx: &mut Cx<'_>, x: Id, batch: &[usize]) -> Res<Id> {
    let dims = cx.dims(x);
    let (front, matrix) = dims.split_at(dims.len() - 2);
    let mut padded = vec![1; batch.len() - front.len()];
    padded.extend(&dims);
    let full = [batch, matrix].concat();
    let x = cx.reshape(x, &padded)?;
    if padded == full { Ok(x) } else { cx.emit(Op::Expand, &[x], &full) }
}

pub(super) fn gemm(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let a = matrix(cx, 0, "transA")?;
    let b = matrix(cx, 1, "transB")?;
    let ([m, _], [_, n]) = ([0, 1].map(|i| cx.dims(a)[i]), [0, 1].map(|i| cx.dims(b)[i]));
    let mut y = cx.emit(Op::MatMul, &[a, b], &[m, n])?;
    let (alpha, beta) = (cx.float("alpha", 1.0)?, cx.float("beta", 1.0)?);
    y = scale(cx, y, alpha)?;
    if !cx.has(2) || beta == 0.0 {
        return Ok(one(y));
    }
    let c = cx.input(2)?;
    if broadcast_dims(&cx.dims_of(&c), &[m, n])? != [m, n] {
        return invalid(format!("its third input has shape {:?}", cx.dims_of(&c)));
    }
    let c = match &c {
        Value::Const(c) if beta != 1.0 => {
            let scaled = c.floats()?.iter().map(|x| (f64::from(*x) * beta) as f32).collect();
            cx.derived("bias", &c.dims, scaled, &[m, n])?
        }
        Value::Const(_) | Value::Net { .. } | Value::Clear(_) | Value::Unknown => {
            let c = cx.broadcast(&c, &[m, n])?;
            scale(cx, c, beta)?
        }
    };
    cx.emit(Op::Add, &[y, c], &[m, n]).map(one)
}

fn scale(cx: &mut Cx<'_>, x: Id, by: f64) -> Res<Id> {
    match by {
        1.0 => Ok(x),
        by if by.is_finite() => cx.map(Op::Scale { by }, x),
        _ => invalid("alpha or beta is infinite"),
    }
}

/// A matrix operand; a constant one is transposed here and now.
fn matrix(cx: &mut Cx<'_>, at: usize, flag: &str) -> Res<Id> {
    let value = cx.input(at)?;
    let dims = cx.dims_of(&value);
    let &[rows, columns] = &dims[..] else {
        return invalid(format!("its input number {} has shape {dims:?} and is no matrix", at + 1));
    };
    match (&value, cx.flag(flag)?) {
        (_, false) => cx.to_net(&value),
        (Value::Const(constant), true) => {
            let data = transposed(constant, rows, columns)?;
            let what = if at == 0 { "a" } else { "b" };
            cx.derived(what, &[columns, rows], data, &[columns, rows])
        }
        (Value::Net { .. } | Value::Clear(_) | Value::Unknown, true) => {
            let x = cx.to_net(&value)?;
            cx.transpose(x, &[1, 0])
        }
    }
}

/// Goes in blocks that fit the cache: the weights of a fully connected layer can be large.
fn transposed(constant: &Const, rows: usize, columns: usize) -> Res<Vec<f32>> {
    const BLOCK: usize = 32;
    let data = constant.floats()?;
    let mut out = vec![0.0; data.len()];
    for row in (0..rows).step_by(BLOCK) {
        for column in (0..columns).step_by(BLOCK) {
            for r in row..rows.min(row + BLOCK) {
                for c in column..columns.min(column + BLOCK) {
                    out[c * rows + r] = data[r * columns + c];
                }
            }
        }
    }
    Ok(out)
}
