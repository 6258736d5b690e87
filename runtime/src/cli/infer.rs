//! `mpcc-party infer`.

use super::{check_trace_file, load, log, write_trace};
use anyhow::ensure;
use mpcc_ir::plan::Role;
use mpcc_runtime::client::Output;
use mpcc_runtime::serve::{InferOptions, InferOutcome, infer};
use mpcc_runtime::tensors::{check_output_file, random_inputs, read_inputs, write_outputs};
use mpcc_runtime::trace::Clock;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// Ask the serving parties for a private inference
#[derive(clap::Args)]
pub(super) struct Infer {
    /// Configuration file of the client
    #[arg(long, value_name = "TOML")]
    config: PathBuf,
    /// An input, name=@file.npy, or all of them, @file.npz; random data if absent
    #[arg(short, long, value_name = "NAME=@FILE")]
    input: Vec<String>,
    /// Where the outputs go (.npz, or .npy for one output)
    #[arg(short, long, value_name = "Y.npz")]
    output: Option<PathBuf>,
    /// Number of runs with these inputs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// Print outputs and times as one JSON object
    #[arg(long)]
    json: bool,
    /// Also write when each message of the last runs came and went; `mpcc explain --measured` shows it
    #[arg(long, value_name = "CLIENT.json")]
    trace: Option<PathBuf>,
}

impl Infer {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let loaded = load(&self.config)?;
        let config = &loaded.config;
        ensure!(config.role == Role::Client, "`role` is {}, not client", config.role);
        if let Some(path) = &self.output {
            check_output_file(path, &loaded.plan)?;
        }
        check_trace_file(self.trace.as_deref())?;
        let inputs = if self.input.is_empty() {
            (log())("no input given: using random data");
            random_inputs(&loaded.plan, 1)
        } else {
            read_inputs(&loaded.plan, &self.input)?
        };
        let options = InferOptions {
            plan: Arc::clone(&loaded.plan),
            plan_digest: loaded.digest,
            peers: config.peers.clone(),
            state_dir: config.state_dir.clone(),
            stored: config.store,
            runs: self.runs,
            keep: Some(1),
            connect_within: loaded.connect_within(),
            stall: loaded.stall(),
            trace: self.trace.is_some().then(Clock::new),
            log: log(),
        };
        let outcome = infer(&options, &inputs)?;
        let last = outcome.outputs.last().map_or(&[][..], Vec::as_slice);
        if let Some(path) = &self.output {
            write_outputs(path, last)?;
        }
        write_trace(self.trace.as_deref(), &outcome.report)?;
        self.print(&outcome, last)
    }

    fn print(&self, outcome: &InferOutcome, outputs: &[Output]) -> anyhow::Result<()> {
        let report = &outcome.report;
        if self.json {
            let describe =
                |o: &Output| json!({ "name": o.name, "shape": o.shape.0, "values": o.values });
            let outputs: Vec<_> = outputs.iter().map(describe).collect();
            println!(
                "{}",
                serde_json::to_string(&json!({
                    "outputs": outputs, "report": report, "output_s": outcome.output_s,
                    "first_output_s": outcome.first_output_s(), "s_per_run": outcome.s_per_run(),
                    "runs_per_s": outcome.s_per_run().map(f64::recip),
                }))?
            );
            return Ok(());
        }
        for output in outputs {
            let top = output.values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let (at, value) = top.map_or((0, f32::NAN), |(at, value)| (at, *value));
            println!("{} {}: largest is element {at}, {value}", output.name, output.shape);
        }
        println!("{:.3} s online, {} rounds", report.online_s, report.rounds);
        if let Some(s_per_run) = outcome.s_per_run() {
            println!("{s_per_run:.3} s a run, {:.2} runs a second", s_per_run.recip());
        }
        Ok(())
    }
}
