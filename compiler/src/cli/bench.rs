//! `mpcc bench`: what a private run costs, beside the model in the clear on one thread, in one go.

use super::model_args::ModelArgs;
use super::run::deployment::{Deployment, is_onnx};
use super::run::report::{Difference, Summary, difference};
use super::{count, megabytes, note};
use anyhow::Context as _;
use mpcc_compiler::clear::ClearModel;
use mpcc_ir::Shape;
use mpcc_ir::nn::interp::Tensor;
use mpcc_ir::plan::{InputPort, Plan, Role};
use mpcc_runtime::kernels::Cpu;
use mpcc_runtime::serve::{Report, RunReport, median};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Measure latency and throughput of private runs, beside the model in the clear on one thread
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Plan file, or ONNX file to compile first
    model: PathBuf,
    /// An input, name=@file.npy, or all of them, @file.npz; random data if absent
    #[arg(short, long = "input", value_name = "NAME=@FILE")]
    inputs: Vec<String>,
    /// The model in the clear; a MODEL that is an ONNX file if absent
    #[arg(long, value_name = "MODEL.onnx")]
    compare: Option<PathBuf>,
    /// Number of private runs that count, or as many as are in flight if that is more, and of clear ones before and
    /// after; those that begin during the setup, and the last ones, beside which fewer are in flight, come on top
    #[arg(long, value_name = "R", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// Compute threads of each role; the clear model always has one
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = super::threads())]
    threads: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    how: ModelArgs,
}

impl Bench {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let deployment = Deployment::open(&self.model, &self.how, self.threads)?;
        let plan = &deployment.plan;
        let inputs = deployment.inputs(&self.inputs)?;
        let itself = is_onnx(&self.model).then_some(self.model.as_path());
        let clear = self.compare.as_deref().or(itself);
        let mut clear = clear.map(|model| Clear::new(model, plan, &inputs)).transpose()?;
        if let Some(clear) = &mut clear {
            note("running in the clear");
            clear.run(self.runs)?;
        }
        // So many are left for the steady state, which takes a whole group of those in flight.
        let depth = u64::from(plan.depth);
        let runs = self.runs.max(depth) + 2 * depth - 1;
        let summary = deployment.run(&inputs, runs, self.threads, false)?;
        let difference = match &mut clear {
            Some(clear) => {
                note("running in the clear");
                clear.run(self.runs)?;
                Some(difference(plan, summary.outputs(), &clear.outputs)?)
            }
            None => None,
        };
        let measured = Measured { bench: &self, plan, summary, clear, difference };
        if self.json {
            super::print_json(&measured.as_json())
        } else {
            super::print(&measured.as_text())
        }
    }
}

/// The model in the clear, with the seconds of its runs.
struct Clear {
    model: ClearModel,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    seconds: Vec<f64>,
}

impl Clear {
    /// Loads the model and runs it once, which is not timed.
    fn new(path: &Path, plan: &Plan, inputs: &[Vec<f32>]) -> anyhow::Result<Self> {
        let context = || format!("cannot run `{}` in the clear", path.display());
        let tensor = |(port, data): (&InputPort, &Vec<f32>)| Tensor {
            shape: port.shape.clone(),
            data: data.clone(),
        };
        let inputs: Vec<Tensor> = plan.inputs.iter().zip(inputs).map(tensor).collect();
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape.clone()).collect();
        let bytes = std::fs::read(path).with_context(context)?;
        let model = ClearModel::new(&bytes, &shapes).with_context(context)?;
        let outputs = model.run(&inputs).with_context(context)?;
        Ok(Self { model, inputs, outputs, seconds: Vec::new() })
    }

    fn run(&mut self, runs: u64) -> anyhow::Result<()> {
        for _ in 0..runs {
            let start = Instant::now();
            self.outputs = self.model.run(&self.inputs)?;
            self.seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(())
    }
}

/// Everything that was measured.
struct Measured<'a> {
    bench: &'a Bench,
    plan: &'a Plan,
    summary: Summary,
    clear: Option<Clear>,
    difference: Option<Difference>,
}

/// Least, middle and greatest of several measurements.
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let [min, max] = [values.first(), values.last()].map(|end| end.copied().unwrap_or(0.0));
        Self { min, median: median(values), max }
    }

    fn as_json(&self) -> Value {
        json!({ "min": self.min, "median": self.median, "max": self.max })
    }
}

impl Measured<'_> {
    /// Runs that count: those of the steady state, at least as many as are in flight.
    fn runs(&self) -> usize {
        self.summary.outcome.report.steady_runs().len()
    }

    fn cpu_s(&self) -> f64 {
        self.summary.everyone().map(|(_, report)| self.role_cpu_s(report)).sum()
    }

    fn role_cpu_s(&self, report: &Report) -> f64 {
        report.cpu_s_per_run().unwrap_or_default()
    }

    fn online(&self) -> Spread {
        Spread::of(self.summary.outcome.report.steady_runs().iter().map(|run| run.online_s))
    }

    /// Per run, that of the slowest role.
    fn offline(&self) -> Spread {
        let slowest = |run: usize| {
            let seconds = self.summary.reports.iter().map(|(_, r)| r.steady_runs().get(run));
            seconds.flatten().map(|run| run.offline_s).fold(0.0, f64::max)
        };
        Spread::of((0..self.runs()).map(slowest))
    }

    fn clear(&self) -> Option<Spread> {
        self.clear.as_ref().map(|clear| Spread::of(clear.seconds.iter().copied()))
    }

    /// Memory that a role should take, as the plan says.
    fn planned_bytes(&self, role: &str) -> Option<u64> {
        let role = self.plan.roles.iter().find(|plan| plan.role.to_string() == role);
        role.map(|role| self.plan.peak_bytes(role))
    }

    fn as_json(&self) -> Value {
        let roles = self.summary.everyone().map(|(role, report)| {
            let object = json!({
                "cpu_s": self.role_cpu_s(report),
                "sent_bytes": report.sent_bytes,
                "peak_rss_bytes": report.peak_rss_bytes,
                "planned_bytes": self.planned_bytes(&role),
            });
            (role, object)
        });
        let roles: serde_json::Map<String, Value> = roles.collect();
        let mut object = json!({
            "model": self.plan.name,
            "ring": self.plan.word.bits(),
            "parties": self.plan.parties,
            "threads": self.bench.threads,
            "runs": self.runs(),
            "kernels": Cpu::active().name(),
            "online_s": self.online().as_json(),
            "offline_s": self.offline().as_json(),
            "first_output_s": self.summary.outcome.first_output_s(),
            "setup_s": self.summary.setup_s(),
            "cpu_s": self.cpu_s(),
            "rounds": self.summary.rounds(),
            "roles": roles,
        });
        self.summary.times_into(&mut object);
        if let Some(clear) = self.clear() {
            object["clear_s"] = clear.as_json();
            object["online_per_clear"] = json!(self.online().median / clear.median);
        }
        if let Some(difference) = &self.difference {
            difference.write_json(&mut object);
        }
        object
    }

    fn as_text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{}: ring {}, {} compute parties, {} a role, {} kernels, {} runs\n",
            self.plan.name,
            self.plan.word.bits(),
            self.plan.parties,
            count(u64::from(self.bench.threads), "thread"),
            Cpu::active().name(),
            self.runs(),
        );
        let mut rows = vec![["", "median", "min", "max"].map(String::from)];
        let mut row = |what: &str, spread: &Spread| {
            let cells = [spread.median, spread.min, spread.max].map(|s| format!("{s:.4} s"));
            let [median, min, max] = cells;
            rows.push([what.to_owned(), median, min, max]);
        };
        row("online", &self.online());
        row("offline", &self.offline());
        if let Some(clear) = self.clear() {
            row("in the clear, one thread", &clear);
        }
        super::table(&mut out, &rows);
        let _ = writeln!(
            out,
            "\n{:.3} CPU s a run in all roles; {} rounds",
            self.cpu_s(),
            self.summary.rounds(),
        );
        let _ = writeln!(out, "{}", self.summary.cold_start());
        if let Some(predicted) = self.summary.predicted_online() {
            let _ = writeln!(out, "{predicted}");
        }
        if let Some(throughput) = self.summary.throughput() {
            let _ = writeln!(out, "{throughput}");
        }
        if let Some(clear) = self.clear() {
            let times = self.online().median / clear.median;
            let _ = writeln!(out, "online takes {times:.2} times as long as in the clear");
        }
        if let Some(difference) = &self.difference {
            let _ = writeln!(out, "{}", difference.as_text());
        }
        let _ = writeln!(out);
        self.roles(&mut out);
        out
    }

    fn roles(&self, out: &mut String) {
        let heading = [
            "role",
            "CPU s a run",
            "busy",
            "wait",
            "online",
            "offline",
            "setup",
            "peak memory",
            "planned",
        ];
        let mut rows = vec![heading.map(String::from)];
        let threads = |report: &Report, of: fn(&RunReport) -> f64| {
            // A client has no compute threads.
            let shown = report.role != Role::Client.to_string();
            if shown { format!("{:.4}", mean(report, of)) } else { String::new() }
        };
        for (role, report) in self.summary.everyone() {
            let sent = &report.sent_bytes;
            rows.push([
                role.clone(),
                format!("{:.3}", self.role_cpu_s(report)),
                threads(report, |run| run.busy_s),
                threads(report, |run| run.wait_s),
                megabytes(sent.online),
                megabytes(sent.offline),
                megabytes(sent.setup),
                megabytes(report.peak_rss_bytes),
                self.planned_bytes(&role).map_or_else(String::new, megabytes),
            ]);
        }
        super::table(out, &rows);
        let _ = writeln!(
            out,
            "busy, wait: seconds of compute threads a run; online, offline, setup: bytes sent"
        );
    }
}

/// Mean of a figure over a role's runs that count.
fn mean(report: &Report, of: fn(&RunReport) -> f64) -> f64 {
    let runs = report.steady_runs();
    runs.iter().map(of).sum::<f64>() / runs.len().max(1) as f64
}
