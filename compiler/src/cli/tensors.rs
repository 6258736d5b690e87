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
    let mut columns: Vec<Vec<Tensor>> = Vec::new();
    for input in &graph.inputs {
        let (found, data) = match (zipped, graph.inputs.len()) {
            (true, _) => read_npz(path, &input.name)?,
            (false, 1) => read_npy(path)?,
            (false, _) => {
                bail!("the model has several inputs: give an .npz with an array for each")
            }
        };
        let shape = &graph.program[input.value].ty.shape;
        let samples =
            split(&found, &data, shape).with_context(|| format!("input `{}`", input.name))?;
        if let Some(first) = columns.first().filter(|first| first.len() != samples.len()) {
            bail!(
                "it has {} samples of input `{}` and {} of input `{}`; give as many of each",
                first.len(),
                graph.inputs[0].name,
                samples.len(),
                input.name
            );
        }
        columns.push(samples);
    }
    let count = columns.first().map_or(0, Vec::len);
    Ok((0..count).map(|i| columns.iter().map(|c| c[i].clone()).collect()).collect())
}

/// Cuts an array into samples of `shape`: the whole of it is one, or each entry of its first axis, or as many
/// entries as the sample has in its own first axis.
fn split(found: &Shape, data: &[f32], shape: &Shape) -> anyhow::Result<Vec<Tensor>> {
    let size = shape.elements();
    let proper = |dims: &[usize]| dims.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
    let inner = proper(found.get(1..).unwrap_or_default());
    let fits = proper(found) == proper(shape)
        || inner == proper(shape)
        || inner == proper(shape.get(1..).unwrap_or_default());
    if !fits || size == 0 || !data.len().is_multiple_of(size) || data.is_empty() {
        bail!(
            "an array of shape {found} does not hold samples of shape {shape}; give one sample, or \
             several along the first axis"
        );
    }
    let tensor = |piece: &[f32]| Tensor { shape: shape.clone(), data: piece.to_vec() };
    Ok(data.chunks_exact(size).map(tensor).collect())
}
