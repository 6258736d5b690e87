//! Calibration samples from files.

use anyhow::{Context as _, bail};
use mpcc_ir::Shape;
use mpcc_ir::nn::Graph;
use mpcc_ir::nn::interp::Tensor;
use mpcc_runtime::tensors::{read_npy, read_npz};
use std::path::Path;

/// Reads samples for every input of `graph`: an `.npz` with one array per input, or an `.npy` where
/// there is one input. An array is one sample, or several along its first axis.
pub(crate) fn samples(path: &Path, graph: &Graph) -> anyhow::Result<Vec<Vec<Tensor>>> {
    let zipped = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"));
    let mut columns = Vec::new();
    for input in &graph.inputs {
        let (found, data) = match (zipped, graph.inputs.len()) {
            (true, _) => read_npz(path, &input.name)?,
            (false, 1) => read_npy(path)?,
            (false, _) => {
                bail!("the model has several inputs: give an .npz with an array for each")
            }
        };
        let shape = &graph.program[input.value].ty.shape;
        columns
            .push(split(&found, &data, shape).with_context(|| format!("input `{}`", input.name))?);
    }
    let count = columns.iter().map(Vec::len).min().unwrap_or(0);
    Ok((0..count).map(|i| columns.iter().map(|c| c[i].clone()).collect()).collect())
}

/// Cuts an array into samples of `shape`.
fn split(found: &Shape, data: &[f32], shape: &Shape) -> anyhow::Result<Vec<Tensor>> {
    let size = shape.elements();
    if size == 0 || !data.len().is_multiple_of(size) || data.is_empty() {
        bail!("an array of shape {found} does not hold samples of shape {shape}");
    }
    let tensor = |piece: &[f32]| Tensor { shape: shape.clone(), data: piece.to_vec() };
    Ok(data.chunks_exact(size).map(tensor).collect())
}
