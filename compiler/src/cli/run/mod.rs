//! `mpcc run`: all roles as local processes over loopback TCP.

mod children;
mod report;
pub(crate) mod role;

use super::compile::{compile_file, weights_path, write};
use super::model_args::ModelArgs;
use super::{Progress, note};
use anyhow::{Context as _, bail};
use children::{Children, Local};
use mpcc_compiler::clear;
use mpcc_ir::nn::interp::Tensor;
use mpcc_ir::plan::{InputPort, OutputPort, Plan};
use mpcc_ir::{Shape, codec};
use mpcc_runtime::serve::{InferOptions, infer};
use mpcc_runtime::tensors::{
    TensorError, random_inputs, read_inputs, read_npy, read_npz, write_outputs,
};
use report::{Difference, Summary};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Run a plan, or an ONNX model, with all roles as local processes over TCP
#[derive(clap::Args)]
pub(crate) struct Run {
    /// Plan file, or ONNX file to compile first
    model: PathBuf,
    /// An input, name=@file.npy, or all of them, @file.npz; random data if absent
    #[arg(short, long = "input", value_name = "NAME=@FILE")]
    inputs: Vec<String>,
    /// Where the outputs go (.npz, or .npy for one output)
    #[arg(short, long, value_name = "Y.npz")]
    output: Option<PathBuf>,
    /// Compare with this ONNX model run in the clear, or with stored outputs (.npz by name, or .npy);
    /// a MODEL that is an ONNX file is compared with itself if nothing is given
    #[arg(long, value_name = "MODEL.onnx|Y.npz")]
    compare: Option<PathBuf>,
    /// Number of runs; times are medians
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Compute threads of each role
    #[arg(long, value_name = "T", default_value_t = 1)]
    threads: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    how: ModelArgs,
}

impl Run {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let is_onnx = self.model.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
        let plan_file = if is_onnx {
            let file = folder.path().join("model.plan");
            write(&compile_file(&self.model, &self.how)?, &file)?;
            file
        } else {
            self.model.clone()
        };
        let (plan, digest) = codec::read_file(&plan_file)
            .with_context(|| format!("cannot use `{}`", self.model.display()))?;
        let plan = Arc::new(plan);
        let inputs = if self.inputs.is_empty() {
            note("no input given: using random data");
            random_inputs(&plan, 1)
        } else {
            read_inputs(&plan, &self.inputs)?
        };
        let summary = self.execute(&plan, digest, &plan_file, folder.path(), &inputs)?;
        let model = self.compare.as_deref().or(is_onnx.then_some(self.model.as_path()));
        let difference = match model {
            Some(model) => Some(compare(model, &plan, &inputs, &summary)?),
            None => None,
        };
        if let Some(path) = &self.output {
            write_outputs(path, summary.outputs())?;
        }
        if self.json {
            super::print_json(&summary.as_json(difference.as_ref()))
        } else {
            super::print(&summary.as_text(difference.as_ref()))
        }
    }

    /// Starts the roles, runs the inputs, collects what all report.
    fn execute(
        &self,
        plan: &Arc<Plan>,
        digest: [u8; 32],
        plan_file: &Path,
        folder: &Path,
        inputs: &[Vec<f32>],
    ) -> anyhow::Result<Summary> {
        let progress = Progress::new();
        progress.stage("starting the roles");
        let weights = weights_path(plan_file);
        let local = Local {
            plan: plan_file,
            weights: &weights,
            state: folder,
            runs: self.runs,
            threads: self.threads.max(1),
        };
        let children = Children::start(plan, &local)?;
        progress.stage("running");
        let outcome = infer(
            &InferOptions {
                plan: Arc::clone(plan),
                plan_digest: digest,
                peers: children.addresses.iter().cloned().collect(),
                state_dir: folder.join("client"),
                stored: false,
                runs: self.runs,
                connect_within: Duration::from_secs(60),
                stall: Some(Duration::from_secs(600)),
                log: Arc::new(|_| ()),
            },
            inputs,
        )?;
        let reports = children.finish()?;
        progress.finish();
        Ok(Summary { outcome, reports })
    }
}

/// Compares with the model at `with`, run in the clear on the same inputs, or with the outputs stored there.
fn compare(
    with: &Path,
    plan: &Plan,
    inputs: &[Vec<f32>],
    summary: &Summary,
) -> anyhow::Result<Difference> {
    let extension = with.extension().unwrap_or_default().to_ascii_lowercase();
    let stored = |read: &dyn Fn(&OutputPort) -> Result<(Shape, Vec<f32>), TensorError>| {
        let tensor = |port| read(port).map(|(shape, data)| Tensor { shape, data });
        plan.outputs.iter().map(tensor).collect::<Result<Vec<_>, _>>()
    };
    let expected = match extension.to_str() {
        Some("npz") => stored(&|port| read_npz(with, &port.name))?,
        Some("npy") if plan.outputs.len() == 1 => stored(&|_| read_npy(with))?,
        Some("npy") => bail!("the model has several outputs: give an .npz with an array for each"),
        _ => in_the_clear(with, plan, inputs)?,
    };
    report::difference(plan, summary.outputs(), &expected)
        .with_context(|| format!("cannot compare with `{}`", with.display()))
}

fn in_the_clear(model: &Path, plan: &Plan, inputs: &[Vec<f32>]) -> anyhow::Result<Vec<Tensor>> {
    let tensor = |(port, data): (&InputPort, &Vec<f32>)| Tensor {
        shape: port.shape.clone(),
        data: data.clone(),
    };
    let tensors: Vec<Tensor> = plan.inputs.iter().zip(inputs).map(tensor).collect();
    clear::run_path(model, &tensors)
        .with_context(|| format!("cannot run `{}` in the clear", model.display()))
}
