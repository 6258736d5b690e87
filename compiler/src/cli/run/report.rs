//! What `mpcc run` says.

use crate::cli::explain::described;
use crate::cli::{count, megabytes};
use anyhow::bail;
use mpcc_ir::nn::interp::Tensor;
use mpcc_ir::plan::{Forecast, OutputPort, Plan, Role};
use mpcc_runtime::client::Output;
use mpcc_runtime::serve::{InferOutcome, Report, RunReport};
use mpcc_runtime::trace::Trace;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The outcome at the client and the reports of all other roles.
pub(crate) struct Summary {
    pub(crate) outcome: InferOutcome,
    pub(crate) reports: Vec<(Role, Report)>,
    pub(crate) forecast: Option<Forecast>,
    /// Runs in flight.
    pub(crate) depth: u8,
    /// Compute threads of each role.
    pub(crate) threads: u16,
}

/// How far the outputs are from those expected.
pub(crate) struct Difference {
    max_abs_err: f64,
    /// The largest error that the plan expects, where it can say.
    predicted_err: Option<f64>,
    largest: f64,
    argmax_equal: bool,
    /// Some output has rows of several scores, so that there are classes to compare.
    classes: bool,
}

/// How many scores of a classifier are shown.
const SHOWN_SCORES: usize = 5;

/// Index of the largest value.
fn argmax(values: &[f32]) -> Option<usize> {
    let top = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    top.map(|(at, _)| at)
}

/// Compares revealed outputs with those expected. The largest entry is looked for in each row of a matrix
/// of scores, and in the whole of other tensors.
pub(crate) fn difference(
    plan: &Plan,
    outputs: &[Output],
    expected: &[Tensor],
) -> anyhow::Result<Difference> {
    if outputs.len() != expected.len() {
        bail!("it has {} outputs, and the plan has {}", expected.len(), outputs.len());
    }
    let largest_predicted =
        |worst: f64, port: &OutputPort| port.shown_error().map(|error| worst.max(error));
    let mut result = Difference {
        max_abs_err: 0.0,
        predicted_err: plan.outputs.iter().try_fold(0.0, largest_predicted),
        largest: 0.0,
        argmax_equal: true,
        classes: false,
    };
    for (output, expected) in outputs.iter().zip(expected) {
        let Output { name, shape, values, .. } = output;
        if *shape != expected.shape {
            bail!("its output `{name}` has shape {}, and the plan's {shape}", expected.shape);
        }
        for (a, b) in values.iter().zip(&expected.data) {
            result.max_abs_err = result.max_abs_err.max(f64::from((a - b).abs()));
            result.largest = result.largest.max(f64::from(b.abs()));
        }
        let scores = shape.rank() <= 2;
        let row = if scores { shape.last().copied() } else { Some(values.len()) };
        let row = row.unwrap_or(1).max(1);
        result.classes |= row > 1;
        let rows = values.chunks(row).zip(expected.data.chunks(row));
        // Where the expected scores are tied, each of the largest will do.
        let top = |(a, b): (&[f32], &[f32])| argmax(a).map(|at| b[at]) == argmax(b).map(|at| b[at]);
        result.argmax_equal &= rows.into_iter().all(top);
    }
    Ok(result)
}

impl Difference {
    pub(crate) fn write_json(&self, object: &mut Value) {
        object["max_abs_err"] = json!(self.max_abs_err);
        object["predicted_err"] = json!(self.predicted_err);
        object["largest"] = json!(self.largest);
        object["argmax_equal"] = json!(self.argmax_equal);
    }

    pub(crate) fn as_text(&self) -> String {
        let (error, largest) = (self.max_abs_err, self.largest);
        let same = match (self.classes, self.argmax_equal) {
            (true, true) => "the same class; ",
            (true, false) => "NOT the same class; ",
            (false, _) => "",
        };
        let predicted =
            self.predicted_err.map_or(String::new(), |e| format!(" (predicted: at most {e:.3e})"));
        format!(
            "compared with the clear result: {same}largest error {error:.3e}{predicted}, largest value {largest:.3e}"
        )
    }
}

impl Summary {
    /// The outputs of the last run.
    pub(crate) fn outputs(&self) -> &[Output] {
        self.outcome.outputs.last().map_or(&[], Vec::as_slice)
    }

    /// The reports of all roles, with the client's.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = (String, &Report)> {
        let roles = self.reports.iter().map(|(role, report)| (role.to_string(), report));
        roles.chain([(Role::Client.to_string(), &self.outcome.report)])
    }

    /// What the roles recorded, if they were asked to.
    pub(crate) fn traces(&self) -> Vec<Trace> {
        self.everyone().filter_map(|(_, report)| report.trace.clone()).collect()
    }

    /// Largest over the roles: a phase ends when its last role has ended.
    fn slowest(&self, of: impl Fn(&Report) -> f64) -> f64 {
        self.reports.iter().map(|(_, report)| of(report)).fold(0.0, f64::max)
    }

    /// Openings on the longest causal chain, over all roles.
    pub(crate) fn rounds(&self) -> u32 {
        self.reports.iter().map(|(_, r)| r.rounds).max().unwrap_or(0)
    }

    /// Seconds of the setup at the slowest role.
    pub(crate) fn setup_s(&self) -> f64 {
        self.slowest(|r| r.setup_s)
    }

    pub(crate) fn as_json(&self, difference: Option<&Difference>) -> Value {
        let client = &self.outcome.report;
        let offline_s = self.slowest(|r| r.offline_s);
        let per_role = |of: &dyn Fn(&Report) -> Value| -> Value {
            let everyone = self.everyone().map(|(role, report)| (role, of(report)));
            Value::Object(everyone.collect::<Map<_, _>>())
        };
        let outputs = self
            .outputs()
            .iter()
            .map(|o| json!({ "name": o.name, "shape": o.shape.0, "values": o.values }));
        let mut object = json!({
            "online_s": client.online_s,
            "offline_s": offline_s,
            "setup_s": self.setup_s(),
            "wall_s": offline_s + client.online_s,
            "first_output_s": self.outcome.first_output_s(),
            "cpu_s": per_role(&|r| json!(r.cpu_s)),
            "peak_rss_bytes": per_role(&|r| json!(r.peak_rss_bytes)),
            "sent_bytes": per_role(&|r| json!(r.sent_bytes)),
            "rounds": self.rounds(),
            "outputs": outputs.collect::<Vec<_>>(),
        });
        self.times_into(&mut object);
        if let Some(difference) = difference {
            difference.write_json(&mut object);
        }
        object
    }

    /// What was predicted, and where each role's time went: medians over the runs, both phases.
    pub(crate) fn times_into(&self, object: &mut Value) {
        let per_role = |of: &dyn Fn(&Report) -> Value| -> Value {
            let roles = self.reports.iter().map(|(role, report)| (role.to_string(), of(report)));
            Value::Object(roles.collect())
        };
        let middle = |report: &Report, of: fn(&RunReport) -> f64| json!(report.median(of));
        object["busy_s"] = per_role(&|report| middle(report, |run| run.busy_s));
        object["wait_s"] = per_role(&|report| middle(report, |run| run.wait_s));
        object["depth"] = json!(self.depth);
        object["s_per_run"] = json!(self.outcome.s_per_run());
        object["runs_per_s"] = json!(self.outcome.s_per_run().map(f64::recip));
        object["role_online_s"] = per_role(&|report| json!(report.online_s));
        let Some(forecast) = &self.forecast else { return };
        let wire_s = |bytes: u64| bytes as f64 / forecast.bytes_per_us * 1e-6;
        object["wire_s"] =
            per_role(&|report| json!(wire_s(report.sent_bytes.offline + report.sent_bytes.online)));
        object["schedule"] = json!(forecast.schedule);
        object["predicted_threads"] = json!(forecast.threads);
        object["predicted_cores"] = json!(forecast.cores);
        object["link"] = json!(forecast.link);
        object["predicted_s"] = json!(forecast.run_online_us * 1e-6);
        object["predicted_alone_s"] = json!(forecast.online_us * 1e-6);
        object["predicted_offline_s"] = json!(forecast.offline_us * 1e-6);
        object["lower_bound_s"] = json!(forecast.bound_us() * 1e-6);
        object["predicted_s_per_run"] = json!(forecast.run_us * 1e-6);
        object["lower_bound_s_per_run"] = json!(forecast.bound_us_per_run(self.depth) * 1e-6);
    }

    /// What the plan predicts of the online phase, in a line.
    pub(crate) fn predicted_online(&self) -> Option<String> {
        let forecast = self.forecast.as_ref()?;
        Some(format!(
            "predicted online: {:.4} s with {} in flight, {:.4} s alone, and at least {:.4} s ({})",
            forecast.run_online_us * 1e-6,
            self.depth,
            forecast.online_us * 1e-6,
            forecast.bound_us() * 1e-6,
            self.predicted_for(forecast),
        ))
    }

    /// How long a new deployment took to its first output.
    pub(crate) fn cold_start(&self) -> String {
        let (first, setup) = (self.outcome.first_output_s(), self.setup_s());
        format!(
            "first output after {first:.3} s; {setup:.3} s setup once, beside the first offline phase"
        )
    }

    /// What times are predicted for, and what is not so where they were measured.
    fn predicted_for(&self, forecast: &Forecast) -> String {
        let threads = u64::from(self.threads);
        let mut here = String::new();
        if forecast.cores.is_none() {
            here += " on one host";
        }
        if forecast.link != "local" {
            here += " over loopback";
        }
        if threads != u64::from(forecast.threads) {
            here += &format!(" with {}", count(threads, "thread"));
        }
        let planned = described(forecast);
        if here.is_empty() { planned } else { format!("{planned}; measured{here}") }
    }

    /// Measured and predicted throughput, where several runs show one.
    pub(crate) fn throughput(&self) -> Option<String> {
        let s_per_run = self.outcome.s_per_run()?;
        let predicted = self.forecast.as_ref().map(|forecast| {
            let [predicted, bound] = [forecast.run_us, forecast.bound_us_per_run(self.depth)];
            format!(" (predicted: {:.4} s, and at least {:.4} s)", predicted * 1e-6, bound * 1e-6)
        });
        Some(format!(
            "throughput: {s_per_run:.4} s a run, {:.2} runs a second, with {} in flight{}",
            s_per_run.recip(),
            self.depth,
            predicted.unwrap_or_default(),
        ))
    }

    pub(crate) fn as_text(&self, difference: Option<&Difference>) -> String {
        let mut out = String::new();
        for output in self.outputs() {
            describe(&mut out, output);
        }
        if let Some(difference) = difference {
            let _ = writeln!(out, "{}", difference.as_text());
        }
        let client = &self.outcome.report;
        let _ = writeln!(
            out,
            "{:.3} s online, {:.3} s offline before it; {} rounds",
            client.online_s,
            self.slowest(|r| r.offline_s),
            self.rounds(),
        );
        let _ = writeln!(out, "{}", self.cold_start());
        if let Some(predicted) = self.predicted_online() {
            let _ = writeln!(out, "{predicted}");
        }
        if let Some(throughput) = self.throughput() {
            let _ = writeln!(out, "{throughput}");
        }
        for (role, report) in &self.reports {
            let sent = &report.sent_bytes;
            let _ = writeln!(
                out,
                "{role}: sent {} online, {} offline, {} setup; {:.2} CPU s; {} peak memory",
                megabytes(sent.online),
                megabytes(sent.offline),
                megabytes(sent.setup),
                report.cpu_s,
                megabytes(report.peak_rss_bytes),
            );
        }
        out
    }
}

/// One output: its largest scores, if it looks like scores, or its first values.
fn describe(out: &mut String, output: &Output) {
    let Output { name, shape, values, .. } = output;
    let scores = shape.last() == Some(&values.len()) && values.len() > 1;
    if scores {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
        let top = order.iter().take(SHOWN_SCORES).map(|at| format!("{at} ({:.3})", values[*at]));
        let class = order[0];
        let top = top.collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "{name}: class {class}; largest scores: {top}");
    } else {
        let first = values.iter().take(SHOWN_SCORES).map(|v| format!("{v:.4}"));
        let _ = writeln!(out, "{name} {shape}: {} ...", first.collect::<Vec<_>>().join(", "));
    }
}
