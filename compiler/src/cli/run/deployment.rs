//! A plan deployed on this host: every role a process, over loopback TCP.

use super::children::{Children, Local};
use super::report::Summary;
use crate::cli::compile::{compile_file, weights_path, write};
use crate::cli::model_args::ModelArgs;
use crate::cli::{Progress, note, read_plan};
use anyhow::{Context as _, bail};
use mpcc_ir::plan::Plan;
use mpcc_runtime::client::ClientRun;
use mpcc_runtime::serve::{InferOptions, infer};
use mpcc_runtime::tensors::{random_inputs, read_inputs};
use mpcc_runtime::trace::Clock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A plan with its file and a folder for the state of its roles, which goes when this is dropped.
pub(crate) struct Deployment {
    pub(crate) plan: Arc<Plan>,
    digest: [u8; 32],
    plan_file: PathBuf,
    folder: TempDir,
}

/// Whether a file is a model to compile rather than a plan.
pub(crate) fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}

impl Deployment {
    /// Reads a plan, or compiles a model.
    pub(crate) fn open(model: &Path, how: &ModelArgs, threads: u16) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        if let (false, Some(option)) = (is_onnx(model), how.given()) {
            bail!(
                "`{}` is compiled already, so {option} has no effect; remove it, or give an ONNX file",
                model.display()
            );
        }
        let plan_file = if is_onnx(model) {
            let file = folder.path().join("model.plan");
            write(&compile_file(model, &how.on_this_host(), threads)?, &file)?;
            file
        } else {
            model.to_owned()
        };
        let (plan, digest) = read_plan(&plan_file)?;
        Ok(Self { plan: Arc::new(plan), digest, plan_file, folder })
    }

    /// The inputs that the arguments name, or random ones; refuses what does not fit before any role starts.
    pub(crate) fn inputs(&self, arguments: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
        let inputs = if arguments.is_empty() {
            note("no input given: using random data");
            random_inputs(&self.plan, 1)
        } else {
            read_inputs(&self.plan, arguments)?
        };
        ClientRun::new(Arc::clone(&self.plan), 1, &inputs)?;
        Ok(inputs)
    }

    /// Starts the roles, runs the inputs, collects what all report, with the times of steps if `trace`.
    pub(crate) fn run(
        &self,
        inputs: &[Vec<f32>],
        runs: u64,
        threads: u16,
        trace: bool,
    ) -> anyhow::Result<Summary> {
        let progress = Progress::new();
        progress.stage("starting the roles");
        let state = tempfile::tempdir_in(&self.folder).context("cannot make a temporary folder")?;
        let weights = weights_path(&self.plan_file);
        let local = Local {
            plan: &self.plan_file,
            weights: &weights,
            state: state.path(),
            runs,
            threads: usize::from(threads),
            trace,
        };
        let children = Children::start(&self.plan, &local)?;
        progress.stage("running");
        let outcome = infer(
            &InferOptions {
                plan: Arc::clone(&self.plan),
                plan_digest: self.digest,
                peers: children.addresses.iter().cloned().collect(),
                state_dir: state.path().join("client"),
                stored: false,
                runs,
                keep: Some(1),
                connect_within: Duration::from_secs(60),
                stall: Some(Duration::from_secs(600)),
                trace: trace.then(Clock::new),
                log: Arc::new(|_| ()),
            },
            inputs,
        )?;
        let reports = children.finish(&self.plan, self.digest)?;
        progress.finish();
        let (forecast, depth) = (self.plan.forecast.clone(), self.plan.depth);
        Ok(Summary { outcome, reports, forecast, depth, threads })
    }
}
