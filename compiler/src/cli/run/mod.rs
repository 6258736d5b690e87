//! `mpcc run`: all roles as local processes over loopback TCP.

mod children;
mod reference;
mod report;
pub(crate) mod role;

use super::compile::{compile_file, weights_path, write};
use super::model_args::ModelArgs;
use super::{Progress, note, read_plan};
use anyhow::{Context as _, bail};
use children::{Children, Local};
use mpcc_ir::plan::Plan;
use mpcc_runtime::client::ClientRun;
use mpcc_runtime::serve::{InferOptions, infer};
use mpcc_runtime::tensors::{check_output_file, random_inputs, read_inputs, write_outputs};
use reference::Reference;
use report::Summary;
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
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// Compute threads of each role
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
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
        if let (false, Some(option)) = (is_onnx, self.how.given()) {
            bail!(
                "`{}` is compiled already, so {option} has no effect; remove it, or give an ONNX file",
                self.model.display()
            );
        }
        let plan_file = if is_onnx {
            let file = folder.path().join("model.plan");
            write(&compile_file(&self.model, &self.how)?, &file)?;
            file
        } else {
            self.model.clone()
        };
        let (plan, digest) = read_plan(&plan_file)?;
        let plan = Arc::new(plan);
        if let Some(path) = &self.output {
            check_output_file(path, &plan)?;
        }
        let compare = self.compare.as_deref().or(is_onnx.then_some(self.model.as_path()));
        let reference = compare.map(|with| Reference::open(with, &plan)).transpose()?;
        if self.inputs.is_empty() && reference.as_ref().is_some_and(Reference::is_stored) {
            bail!("stored outputs belong to certain inputs: give those with -i");
        }
        let inputs = if self.inputs.is_empty() {
            note("no input given: using random data");
            random_inputs(&plan, 1)
        } else {
            read_inputs(&plan, &self.inputs)?
        };
        // Refuses inputs that do not fit before any role starts.
        ClientRun::new(Arc::clone(&plan), 1, &inputs)?;
        let summary = self.execute(&plan, digest, &plan_file, folder.path(), &inputs)?;
        if let Some(path) = &self.output {
            write_outputs(path, summary.outputs())?;
        }
        let compared = reference.map(|with| with.compare(&plan, &inputs, summary.outputs()));
        let difference = compared.transpose()?;
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
            threads: usize::from(self.threads),
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
