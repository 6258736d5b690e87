//! What the receiver computes in the clear after the reveal.

use super::{EvalError, Tensor};
use crate::nn::ClearOp;
use crate::shape::Shape;

/// Applies one operation in the clear.
///
/// # Errors
/// [`EvalError::Clear`] if the axis or the number of elements does not fit the tensor.
pub fn apply_clear(op: &ClearOp, tensor: Tensor) -> Result<Tensor, EvalError> {
    let Tensor { shape, mut data } = tensor;
    match op {
        ClearOp::Softmax { axis } => {
            for line in lines("softmax", &shape, *axis)? {
                softmax(&mut data, &line);
            }
            Ok(Tensor { shape, data })
        }
        ClearOp::Sigmoid => {
            for x in &mut data {
                *x = (1.0 / (1.0 + (-f64::from(*x)).exp())) as f32;
            }
            Ok(Tensor { shape, data })
        }
        ClearOp::ArgMax { axis, last } => {
            let lines = lines("argmax", &shape, *axis)?;
            let data = lines.iter().map(|line| arg_max(&data, line, *last) as f32).collect();
            let mut shape = shape;
            shape.0[*axis] = 1;
            Ok(Tensor { shape, data })
        }
        ClearOp::Reshape { shape: wanted } if wanted.elements() == data.len() => {
            Ok(Tensor { shape: wanted.clone(), data })
        }
        ClearOp::Reshape { .. } => Err(EvalError::Clear { op: "reshape", shape }),
    }
}

/// The offsets of each line of elements along `axis`, in row-major order of the other axes.
fn lines(op: &'static str, shape: &Shape, axis: usize) -> Result<Vec<Vec<usize>>, EvalError> {
    let extent = *shape.get(axis).ok_or_else(|| EvalError::Clear { op, shape: shape.clone() })?;
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let line = |row: usize, column: usize| {
        (0..extent).map(|i| (row * extent + i) * inner + column).collect()
    };
    Ok((0..outer).flat_map(|row| (0..inner).map(move |column| line(row, column))).collect())
}

fn softmax(data: &mut [f32], line: &[usize]) {
    let most = line.iter().map(|&i| data[i]).fold(f32::NEG_INFINITY, f32::max);
    let power = |x: f32| f64::from(x - most).exp();
    let sum: f64 = line.iter().map(|&i| power(data[i])).sum();
    for &i in line {
        data[i] = (power(data[i]) / sum) as f32;
    }
}

fn arg_max(data: &[f32], line: &[usize], last: bool) -> usize {
    let mut best = 0;
    for (at, &i) in line.iter().enumerate() {
        let (new, old) = (data[i], data[line[best]]);
        if new > old || last && new >= old {
            best = at;
        }
    }
    best
}
