//! What the receiver of the outputs computes in the clear after the reveal.

use crate::check::elements;
use mpcc_ir::nn::ClearOp;
use mpcc_ir::nn::interp::{Tensor, apply_clear};
use mpcc_ir::shape::Shape;

/// Whether the operations fit a tensor of this shape.
pub(crate) fn check(shape: &Shape, ops: &[ClearOp]) -> Result<(), &'static str> {
    let mut shape = shape.clone();
    for op in ops {
        match op {
            ClearOp::Softmax { axis } | ClearOp::ArgMax { axis, .. } if *axis >= shape.rank() => {
                return Err("an axis of a clear operation is out of range");
            }
            ClearOp::Reshape { shape: new } if elements(new) != elements(&shape) => {
                return Err("a clear reshape changes the number of elements");
            }
            ClearOp::Softmax { .. } | ClearOp::Sigmoid => {}
            ClearOp::ArgMax { axis, .. } => shape.0[*axis] = 1,
            ClearOp::Reshape { shape: new } => shape = new.clone(),
        }
    }
    Ok(())
}

/// Applies the operations of an output in order; returns the final shape and values, row-major.
///
/// # Panics
/// If an operation does not fit the shape; the plan check has looked.
pub fn apply(ops: &[ClearOp], shape: &Shape, data: Vec<f32>) -> (Shape, Vec<f32>) {
    let revealed = Tensor { shape: shape.clone(), data };
    let shown = ops.iter().try_fold(revealed, |tensor, op| apply_clear(op, tensor));
    let Tensor { shape, data } = shown.expect("the plan check looks at clear operations");
    (shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arg_max_keeps_the_axis_and_breaks_ties_as_asked() {
        let shape = Shape::of(&[2, 3]);
        let data = vec![1.0, 4.0, 4.0, 9.0, 0.0, 2.0];
        let run = |last| apply(&[ClearOp::ArgMax { axis: 1, last }], &shape, data.clone());
        assert_eq!(run(false), (Shape::of(&[2, 1]), vec![1.0, 0.0]));
        assert_eq!(run(true).1, [2.0, 0.0]);
    }

    #[test]
    fn softmax_sums_to_one_along_its_axis() {
        let (_, y) = apply(
            &[ClearOp::Softmax { axis: 0 }],
            &Shape::of(&[2, 2]),
            vec![100.0, 0.0, 100.0, 0.0_f32.ln_1p()],
        );
        assert_eq!(y, [0.5; 4]);
    }

    #[test]
    fn operations_that_do_not_fit_are_found_by_the_check() {
        let shape = Shape::of(&[4]);
        assert!(check(&shape, &[ClearOp::Softmax { axis: 1 }]).is_err());
        assert!(check(&shape, &[ClearOp::Reshape { shape: Shape::of(&[5]) }]).is_err());
        assert!(check(&shape, &[ClearOp::Reshape { shape: Shape::of(&[2, 2]) }]).is_ok());
    }
}
