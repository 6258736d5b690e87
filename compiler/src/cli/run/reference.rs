//! What the outputs of `mpcc run` are compared with.

use super::report::{Difference, difference};
use anyhow::{Context as _, bail};
use mpcc_compiler::clear;
use mpcc_compiler::import::{self, ImportError, ImportOptions};
use mpcc_ir::Shape;
use mpcc_ir::nn::interp::Tensor;
use mpcc_ir::plan::{InputPort, OutputPort, Plan};
use mpcc_runtime::client::Output;
use mpcc_runtime::tensors::{read_npy, read_npz};
use std::fs::File;
use std::path::Path;

/// Where the expected outputs come from.
pub(crate) struct Reference<'a> {
    path: &'a Path,
    /// Outputs stored in the file; otherwise it is a model, to be run in the clear on the same inputs.
    stored: Option<Vec<Tensor>>,
}

impl<'a> Reference<'a> {
    /// Reads stored outputs before the run. A model is read after it: its memory would count as the client's.
    pub(crate) fn open(path: &'a Path, plan: &Plan) -> anyhow::Result<Self> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let stored = match extension.to_str() {
            Some("npz") => {
                let array = |port: &OutputPort| read_npz(path, &port.name).map(tensor);
                Some(plan.outputs.iter().map(array).collect::<Result<_, _>>()?)
            }
            Some("npy") if plan.outputs.len() == 1 => Some(vec![tensor(read_npy(path)?)]),
            Some("npy") => {
                bail!("the model has several outputs: give an .npz with an array for each")
            }
            _ => {
                let fail = |reason| ImportError::Read { path: path.to_owned(), reason };
                File::open(path).map_err(fail)?;
                None
            }
        };
        Ok(Self { path, stored })
    }

    /// Whether the outputs belong to certain inputs.
    pub(crate) fn is_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// Compares what was revealed with what is expected.
    pub(crate) fn compare(
        self,
        plan: &Plan,
        inputs: &[Vec<f32>],
        outputs: &[Output],
    ) -> anyhow::Result<Difference> {
        let expected = match self.stored {
            Some(stored) => stored,
            None => in_the_clear(self.path, plan, inputs)?,
        };
        difference(plan, outputs, &expected)
            .with_context(|| format!("cannot compare with `{}`", self.path.display()))
    }
}

fn tensor((shape, data): (Shape, Vec<f32>)) -> Tensor {
    Tensor { shape, data }
}

/// Runs a model that has the inputs of the plan.
fn in_the_clear(model: &Path, plan: &Plan, inputs: &[Vec<f32>]) -> anyhow::Result<Vec<Tensor>> {
    let shapes = plan.inputs.iter().map(|port| (port.name.clone(), port.shape.0.clone())).collect();
    let options = ImportOptions { shapes, ..ImportOptions::default() };
    let bytes = import::read_path(model, &options.limits)?;
    import::check_inputs(&bytes, &options)
        .with_context(|| format!("cannot compare with `{}`", model.display()))?;
    let input = |(port, data): (&InputPort, &Vec<f32>)| tensor((port.shape.clone(), data.clone()));
    let tensors: Vec<Tensor> = plan.inputs.iter().zip(inputs).map(input).collect();
    clear::run(&bytes, &tensors)
        .with_context(|| format!("cannot run `{}` in the clear", model.display()))
}
