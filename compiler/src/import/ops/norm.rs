//! Batch normalisation as a product and a sum per channel; a pass folds both into a neighbour.

use super::super::cx::{Cx, Res, Value};
use super::super::error::{invalid, refuse};
use super::one;
use mpcc_ir::nn::Op;

pub(super) fn batch_normalization(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    if cx.flag("training_mode")? || cx.int("spatial", 1)? == 0 {
        return refuse("it is in training mode", "export the model for inference");
    }
    let x = cx.net(0)?;
    let dims = cx.dims(x);
    if dims.len() < 2 {
        return invalid(format!("its input has shape {dims:?}, without channels"));
    }
    let (gamma, beta) = (cx.required(1)?, cx.required(2)?);
    let (mean, var) = (cx.required(3)?, cx.required(4)?);
    let epsilon = cx.float("epsilon", 1e-5)?;
    let channels = dims[1];
    if [&gamma, &beta, &mean, &var].iter().any(|c| c.len() != channels) {
        return invalid(format!(
            "its parameters do not have one entry for each of {channels} channels"
        ));
    }
    let (mut scale, mut shift) = (Vec::new(), Vec::new());
    let (gamma, beta, mean, var) = (gamma.reals(), beta.reals(), mean.reals(), var.reals());
    for c in 0..channels {
        let factor = gamma[c] / (var[c] + epsilon).sqrt();
        scale.push(factor as f32);
        shift.push((beta[c] - mean[c] * factor) as f32);
    }
    let mut per_channel = vec![1; dims.len() - 1];
    per_channel[0] = channels;
    let scale = cx.derived("scale", &per_channel, scale, &dims)?;
    let shift = cx.derived("shift", &per_channel, shift, &dims)?;
    let scaled = cx.emit(Op::Mul, &[x, scale], &dims)?;
    cx.emit(Op::Add, &[scaled, shift], &dims).map(one)
}
