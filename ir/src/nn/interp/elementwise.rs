//! Operations that treat every element alone.

use crate::nn::Op;

/// `f(x, y)` for each pair of elements.
pub(super) fn binary(op: &Op, x: &[f32], y: &[f32]) -> Vec<f32> {
    fn zip(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        x.iter().zip(y).map(|(&x, &y)| f(x, y)).collect()
    }
    if matches!(op, Op::Add) {
        zip(x, y, |x, y| x + y)
    } else if matches!(op, Op::Sub) {
        zip(x, y, |x, y| x - y)
    } else if matches!(op, Op::Mul) {
        zip(x, y, |x, y| x * y)
    } else if matches!(op, Op::Max) {
        zip(x, y, f32::max)
    } else if matches!(op, Op::Min) {
        zip(x, y, f32::min)
    } else {
        zip(x, y, |x, slope| if x > 0.0 { x } else { slope * x })
    }
}

/// `f(x)` for each element. Attributes are applied in double precision, as the passes fold them.
pub(super) fn unary(op: &Op, x: &[f32]) -> Vec<f32> {
    fn map(x: &[f32], f: impl Fn(f64) -> f64) -> Vec<f32> {
        x.iter().map(|&x| f(f64::from(x)) as f32).collect()
    }
    if let Op::Scale { by } = op {
        map(x, |x| x * by)
    } else if let Op::Offset { by } = op {
        map(x, |x| x + by)
    } else if let Op::Clip { lo, hi } = op {
        map(x, |x| x.max(*lo).min(*hi))
    } else if let Op::LeakyRelu { alpha } = op {
        map(x, |x| if x > 0.0 { x } else { alpha * x })
    } else if let Op::HardSigmoid { alpha, beta } = op {
        map(x, |x| hard_sigmoid(x, *alpha, *beta))
    } else if matches!(op, Op::HardSwish) {
        map(x, |x| x * hard_sigmoid(x, 1.0 / 6.0, 0.5))
    } else if let Op::Pow { n } = op {
        map(x, |x| x.powi(*n as i32))
    } else if matches!(op, Op::Abs) {
        x.iter().map(|x| x.abs()).collect()
    } else {
        x.iter().map(|x| x.max(0.0)).collect()
    }
}

fn hard_sigmoid(x: f64, alpha: f64, beta: f64) -> f64 {
    (alpha * x + beta).clamp(0.0, 1.0)
}
