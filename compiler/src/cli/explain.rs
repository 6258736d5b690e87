//! `mpcc explain`: what a plan does, what it costs, what it needs.

use super::compile::weights_path;
use super::replaced::check_apart;
use anyhow::{Context as _, bail};
use mpcc_ir::nn::ClearOp;
use mpcc_ir::plan::{Forecast, Layer, MessageKind, Phase, Plan, Role, WeightsMode};
use mpcc_runtime::trace::Trace;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Show a plan's layers, number formats, rounds, bytes and memory
#[derive(clap::Args)]
pub(crate) struct Explain {
    /// Plan file
    plan: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print the whole plan as text: every step, buffer and message
    #[arg(long, conflicts_with = "json")]
    text: bool,
    /// Also write a page that shows when each role computes, sends and waits, as the plan predicts
    #[arg(long, value_name = "OUT.html")]
    timeline: Option<PathBuf>,
    /// What `mpcc-party --trace` has recorded at a role, once for each, the client too: the page shows it beside what the plan predicts
    #[arg(long, value_name = "ROLE.json", requires = "timeline")]
    measured: Vec<PathBuf>,
}

impl Explain {
    /// Refuses a page that would replace what is read, or the plan's weights.
    fn check_output(&self) -> anyhow::Result<()> {
        let weights = weights_path(&self.plan);
        let mut kept = vec![("the plan", self.plan.as_path()), ("the weights", &weights)];
        kept.extend(self.measured.iter().map(|path| ("the trace", path.as_path())));
        let page = self.timeline.iter().map(|path| ("--timeline", path.as_path()));
        check_apart(&page.collect::<Vec<_>>(), &kept)
    }

    pub(crate) fn run(self) -> anyhow::Result<()> {
        self.check_output()?;
        let (plan, digest) = super::read_plan(&self.plan)?;
        if let Some(path) = &self.timeline {
            let traces = read_traces(&self.measured, &plan, digest)?;
            super::timeline::write_page(&self.plan, &plan, &traces, path)?;
        }
        if self.json {
            super::print_json(&as_json(&plan, &digest))
        } else if self.text {
            super::print(&plan.to_string())
        } else {
            super::print(&as_table(&plan))
        }
    }
}

/// What each of several roles has recorded.
fn read_traces(paths: &[PathBuf], plan: &Plan, digest: [u8; 32]) -> anyhow::Result<Vec<Trace>> {
    let mut traces: Vec<Trace> = Vec::new();
    for path in paths {
        if is_trace_events(path) {
            bail!(
                "`{}` has trace events of `mpcc run`, for Perfetto; give what `--trace` of `mpcc-party serve` or `infer` \
                 has recorded, or see a run of this host with `mpcc run --timeline`",
                path.display()
            );
        }
        let trace = Trace::read(path, plan, digest);
        let trace = trace.with_context(|| format!("trace `{}`", path.display()))?;
        if traces.iter().any(|known| known.role == trace.role) {
            bail!(
                "`{}` is a second trace of {}; give one for each role",
                path.display(),
                trace.role
            );
        }
        traces.push(trace);
    }
    Ok(traces)
}

/// Whether a file begins as [`super::timeline`] writes trace events. A pipe is not looked at: it could not be read again.
fn is_trace_events(path: &Path) -> bool {
    let mut head = Vec::new();
    if !path.is_file() {
        return false;
    }
    let read = File::open(path).and_then(|file| file.take(1 << 16).read_to_end(&mut head));
    let key = b"\"traceEvents\"";
    read.is_ok() && head.windows(key.len()).any(|window| window == key)
}

/// Payload bytes of the plan's messages that satisfy a condition.
fn bytes(plan: &Plan, wanted: impl Fn(&mpcc_ir::plan::Message) -> bool) -> u64 {
    plan.messages.iter().filter(|m| wanted(m)).map(|m| m.bytes).sum()
}

fn peak_bytes(plan: &Plan) -> Vec<(Role, u64)> {
    plan.roles.iter().map(|r| (r.role, plan.peak_bytes(r))).collect()
}

/// Layers that compute something.
fn shown(plan: &Plan) -> impl Iterator<Item = (usize, &Layer)> {
    plan.layers.iter().enumerate().filter(|(_, l)| !l.op.is_empty())
}

/// When the compute parties begin and end a layer online, in milliseconds from the input on.
fn predicted_ms(plan: &Plan, layer: usize) -> Option<(f64, f64)> {
    plan.forecast.as_ref()?;
    let steps = plan.roles.iter().flat_map(|role| &role.online);
    let times = steps.filter(|step| step.layer as usize == layer).map(|step| step.predicted_us);
    let whole = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    Some((whole.0 / 1e3, whole.1 / 1e3))
}

/// Why a layer was split or not.
fn choice(plan: &Plan, layer: usize) -> &str {
    let choices = plan.forecast.as_ref().map_or(&[][..], |forecast| &forecast.choices);
    choices.get(layer).map_or("", String::as_str)
}

/// The predicted times of a run, with what bounds them, in milliseconds.
fn forecast_json(forecast: &Forecast, depth: u8) -> Value {
    let ms = |us: f64| us / 1e3;
    json!({
        "schedule": forecast.schedule,
        "link": forecast.link,
        "bytes_per_us": forecast.bytes_per_us,
        "kernels": forecast.kernels,
        "threads": forecast.threads,
        "cores": forecast.cores,
        "offline_ms": ms(forecast.offline_us),
        "online_ms": ms(forecast.online_us),
        "lower_bound_ms": ms(forecast.bound_us()),
        "compute_ms": ms(forecast.compute_us),
        "wire_ms": ms(forecast.wire_us),
        "latency_ms": ms(forecast.latency_us),
        "predicted_ms_per_run": ms(forecast.run_us),
        "online_ms_in_flight": ms(forecast.run_online_us),
        "lower_bound_ms_per_run": ms(forecast.bound_us_per_run(depth)),
    })
}

/// The schedule, and the link and hosts that it is predicted for.
pub(crate) fn described(forecast: &Forecast) -> String {
    let hosts = forecast.cores.map_or_else(
        || " on a host of its own".to_owned(),
        |cores| format!(" on {} that all share", super::count(cores.into(), "core")),
    );
    let threads = super::count(forecast.threads.into(), "thread");
    format!("schedule {}, link {}, {threads} a role{hosts}", forecast.schedule, forecast.link)
}

fn forecast_text(forecast: &Forecast, depth: u8, out: &mut String) {
    let ms = |us: f64| us / 1e3;
    let _ =
        writeln!(out, "predicted for {}, with {} kernels:", described(forecast), forecast.kernels);
    let _ = writeln!(
        out,
        "  a run alone: {:.2} ms online after {:.2} ms offline; online at least {:.2} ms ({:.2} ms compute, {:.2} ms wire, {:.2} ms latency), {:.2} times that",
        ms(forecast.online_us),
        ms(forecast.offline_us),
        ms(forecast.bound_us()),
        ms(forecast.compute_us),
        ms(forecast.wire_us),
        ms(forecast.latency_us),
        forecast.online_us / forecast.bound_us().max(1e-9),
    );
    let _ = writeln!(
        out,
        "  with {depth} in flight {:.2} ms a run in the steady state, each {:.2} ms online; a run at least {:.2} ms ({:.2} ms compute, {:.2} ms wire, {:.2} ms latency)",
        ms(forecast.run_us),
        ms(forecast.run_online_us),
        ms(forecast.bound_us_per_run(depth)),
        ms(forecast.run_compute_us),
        ms(forecast.run_wire_us),
        ms(forecast.run_latency_us / f64::from(depth)),
    );
}

/// Everything that a script may want to know of a plan.
pub(crate) fn as_json(plan: &Plan, digest: &[u8]) -> Value {
    let layers: Vec<Value> = shown(plan)
        .map(|(at, l)| {
            json!({
                "name": l.name,
                "op": l.op,
                "shape": l.shape.0,
                "format": l.format,
                "rounds": l.rounds,
                "online_bytes": l.online_bytes,
                "correction_bytes": l.correction_bytes,
                "predicted_ms": predicted_ms(plan, at).map(|(start, end)| [start, end]),
                "choice": choice(plan, at),
            })
        })
        .collect();
    let sent = |role: Role| {
        let of = |phase: Phase| (phase.to_string(), json!(plan.sent_bytes(role, phase)));
        Value::Object(Phase::ALL.map(of).into_iter().collect())
    };
    let roles: serde_json::Map<String, Value> = peak_bytes(plan)
        .into_iter()
        .map(|(role, peak)| {
            (role.to_string(), json!({ "peak_bytes": peak, "sent_bytes": sent(role) }))
        })
        .collect();
    // The client and the owner have no steps and no buffers, but they send.
    let owner = (plan.weights == WeightsMode::Owner).then_some(Role::Owner);
    let everyone = plan.roles.iter().map(|r| r.role).chain(owner).chain([Role::Client]);
    json!({
        "name": plan.name,
        "digest": hex(digest),
        "model_digest": hex(&plan.model_digest),
        "ring": plan.word.bits(),
        "parties": plan.parties,
        "weights": plan.weights.to_string(),
        "depth": plan.depth,
        "inputs": plan.inputs.iter().map(|p| json!({
            "name": p.name, "shape": p.shape.0, "format": format!("{}q{}", p.ring, p.frac), "range": [p.lo, p.hi],
        })).collect::<Vec<_>>(),
        "outputs": plan.outputs.iter().map(|p| json!({
            "name": p.name, "shape": p.shape.0, "format": format!("{}q{}", p.ring, p.frac),
            "in_the_clear": p.clear.iter().map(clear_word).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "layers": layers,
        "rounds": plan.rounds(),
        "forecast": plan.forecast.as_ref().map(|forecast| forecast_json(forecast, plan.depth)),
        "online_bytes": most_opened(plan, Phase::Online),
        "ahead_bytes": most_opened(plan, Phase::Offline),
        "correction_bytes": bytes(plan, |m| m.kind == MessageKind::Correction),
        "setup_bytes": bytes(plan, |m| m.phase == Phase::Setup),
        "roles": roles,
        "sent_bytes": everyone.map(|role| (role.to_string(), sent(role))).collect::<serde_json::Map<_, _>>(),
    })
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn clear_word(op: &ClearOp) -> String {
    match op {
        ClearOp::Softmax { axis } => format!("softmax over axis {axis}"),
        ClearOp::Sigmoid => "sigmoid".to_owned(),
        ClearOp::ArgMax { axis, .. } => format!("argmax over axis {axis}"),
        ClearOp::Reshape { shape } => format!("reshape to {shape}"),
    }
}

/// The most bytes of openings that one compute party sends another in a phase.
fn most_opened(plan: &Plan, phase: Phase) -> u64 {
    let pairs =
        plan.compute_parties().flat_map(|from| plan.compute_parties().map(move |to| (from, to)));
    let opened = |(from, to)| {
        bytes(plan, |m| m.kind == MessageKind::Open && (m.phase, m.from, m.to) == (phase, from, to))
    };
    pairs.map(opened).max().unwrap_or(0)
}

/// Why the rows of the table have other sums than the plan.
const SUMS: &str = "
rounds, bytes: of a row by itself. Their sums may be more than the plan has: rows that do not wait for each other
  share rounds, and bytes are those of the direction in which the row sends more.
";

/// What the columns of predictions mean.
const KEY: &str = "\
from, to: first start and last end of any party's steps, from the input on. A row without times is computed
  in the steps of others. Rows are listed as in the model; one that the compiler has moved, such as an
  activation behind a pooling, may start after those that use it, or need nothing of those above.
split: chunks of messages and element-wise work, parts of products, and why so many.
  saves, more add: time of a run (online, and a twentieth of offline) against as few pieces as can be, of 65536
  elements at most, or against more. no gain: others were tried. alike: best if all are cut alike; others were not
  tried here, or would be the same. as ROW: cut with that row, which says what this saves for both. too small: no
  more than 8192 elements, the least of a piece. as asked: --chunks. sequential: as few as can be.
";

fn as_table(plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}: ring {}, {} compute parties, weights {}, depth {}\n",
        plan.name,
        plan.word.bits(),
        plan.parties,
        plan.weights,
        plan.depth,
    );
    let mut rows = vec![
        [
            "layer",
            "operations",
            "shape",
            "format",
            "rounds",
            "bytes",
            "corrections",
            "from ms",
            "to ms",
            "split",
        ]
        .map(String::from),
    ];
    for (at, layer) in shown(plan) {
        let (from, to) = predicted_ms(plan, at).unzip();
        let time = |ms: Option<f64>| ms.map_or_else(String::new, |ms| format!("{ms:.2}"));
        rows.push([
            shorten(&layer.name, 40),
            shorten(&layer.op, 40),
            layer.shape.to_string(),
            layer.format.clone(),
            layer.rounds.to_string(),
            layer.online_bytes.to_string(),
            layer.correction_bytes.to_string(),
            time(from),
            time(to),
            choice(plan, at).to_owned(),
        ]);
    }
    super::table(&mut out, &rows);
    out.push_str(SUMS);
    out.push_str(if plan.forecast.is_some() { KEY } else { "" });
    let corrections = bytes(plan, |m| m.kind == MessageKind::Correction);
    let setup = bytes(plan, |m| m.phase == Phase::Setup);
    let _ = writeln!(
        out,
        "\n{} rounds; at most {} from a compute party to another online; {} ahead, and {} of corrections; {} once per deployment",
        plan.rounds(),
        super::megabytes(most_opened(plan, Phase::Online)),
        super::megabytes(most_opened(plan, Phase::Offline)),
        super::megabytes(corrections),
        super::megabytes(setup),
    );
    if let Some(forecast) = &plan.forecast {
        forecast_text(forecast, plan.depth, &mut out);
    }
    for (role, peak) in peak_bytes(plan) {
        let _ = writeln!(out, "{role}: {} of memory at its peak", super::megabytes(peak));
    }
    for port in plan.outputs.iter().filter(|p| !p.clear.is_empty()) {
        let ops: Vec<String> = port.clear.iter().map(clear_word).collect();
        let _ = writeln!(
            out,
            "output `{}`: the client computes {} in the clear, after the reveal",
            port.name,
            ops.join(", then ")
        );
    }
    out
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let tail: Vec<char> = text.chars().rev().take(most - 3).collect();
    format!("...{}", tail.into_iter().rev().collect::<String>())
}
