//! `mpcc run`: all roles as local processes over loopback TCP.

mod children;
pub(crate) mod deployment;
mod reference;
pub(crate) mod report;
pub(crate) mod role;

use super::compile::weights_path;
use super::model_args::ModelArgs;
use super::replaced::check_apart;
use super::timeline::TraceFiles;
use anyhow::bail;
use deployment::{Deployment, is_onnx};
use mpcc_runtime::tensors::{check_output_file, write_outputs};
use reference::Reference;
use std::path::{Path, PathBuf};

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
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = super::threads())]
    threads: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    files: TraceFiles,
    #[command(flatten)]
    how: ModelArgs,
}

impl Run {
    /// Refuses outputs that would replace what the run reads, or each other.
    fn check_outputs(&self) -> anyhow::Result<()> {
        let weights = weights_path(&self.model);
        let mut kept = self.how.files();
        if is_onnx(&self.model) {
            kept.push(("the model", &self.model));
        } else {
            kept.extend([("the plan", self.model.as_path()), ("the weights", &weights)]);
        }
        let inputs = self.inputs.iter().filter_map(|argument| argument.split_once('@'));
        kept.extend(inputs.map(|(_, file)| ("the input", Path::new(file))));
        kept.extend(self.compare.iter().map(|path| ("the --compare file", path.as_path())));
        let mut outputs = self.files.named();
        outputs.extend(self.output.iter().map(|path| ("--output", path.as_path())));
        check_apart(&outputs, &kept)
    }

    pub(crate) fn run(self) -> anyhow::Result<()> {
        self.check_outputs()?;
        let deployment = Deployment::open(&self.model, &self.how, self.threads)?;
        let plan = &deployment.plan;
        if let Some(path) = &self.output {
            check_output_file(path, plan)?;
        }
        self.files.check()?;
        let itself = is_onnx(&self.model).then_some(self.model.as_path());
        let compare = self.compare.as_deref().or(itself);
        let reference = compare.map(|with| Reference::open(with, plan)).transpose()?;
        if self.inputs.is_empty() && reference.as_ref().is_some_and(Reference::is_stored) {
            bail!("stored outputs belong to certain inputs: give those with -i");
        }
        let inputs = deployment.inputs(&self.inputs)?;
        let summary = deployment.run(&inputs, self.runs, self.threads, self.files.wanted())?;
        if let Some(path) = &self.output {
            write_outputs(path, summary.outputs())?;
        }
        self.files.write(plan, &summary.traces())?;
        let compared = reference.map(|with| with.compare(plan, &inputs, summary.outputs()));
        let difference = compared.transpose()?;
        if self.json {
            super::print_json(&summary.as_json(difference.as_ref()))
        } else {
            super::print(&summary.as_text(difference.as_ref()))
        }
    }
}
