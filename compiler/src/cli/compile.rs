//! `mpcc compile`: an ONNX file to a plan and its weights.

use super::model_args::ModelArgs;
use super::{Progress, megabytes, note};
use anyhow::{Context as _, ensure};
use mpcc_compiler::compile::{Compiled, compile};
use mpcc_compiler::import::{Limits, read_path};
use mpcc_compiler::lower::FormatReport;
use mpcc_ir::codec;
use mpcc_ir::files::{cannot_write, check_writable};
use mpcc_ir::plan::Phase;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Compile an ONNX model into a plan and its weight file
#[derive(clap::Args)]
pub(crate) struct Compile {
    /// ONNX file
    model: PathBuf,
    #[command(flatten)]
    how: ModelArgs,
    /// Compute threads of each role that the plan is made for
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = super::threads())]
    threads: u16,
    /// Plan file; the weights go beside it [default: the model's name with .plan]
    #[arg(short, long, value_name = "M.plan")]
    output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How many tensors the report lists.
const SHOWN_TENSORS: usize = 5;

impl Compile {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let plan = self.output.unwrap_or_else(|| self.model.with_extension("plan"));
        check_output(&plan)?;
        let compiled = compile_file(&self.model, &self.how, self.threads)?;
        let digest = write(&compiled, &plan)?;
        if self.json {
            super::print_json(&as_json(&compiled, &plan, &digest))
        } else {
            super::print(&summary(&compiled, &plan))
        }
    }
}

/// Compiles a model with progress on stderr.
pub(crate) fn compile_file(
    model: &Path,
    how: &ModelArgs,
    threads: u16,
) -> anyhow::Result<Compiled> {
    let bytes = read_path(model, &Limits::default())?;
    let progress = Progress::new();
    let options = how.options(model, &bytes, threads);
    let compiled = options
        .and_then(|options| Ok(compile(&bytes, &options, &mut |stage| progress.stage(stage))?));
    progress.finish();
    let compiled = compiled.with_context(|| format!("cannot compile `{}`", model.display()))?;
    if compiled.calibration.random {
        note(
            "warning: number formats were calibrated on random inputs; real inputs may leave their \
             ranges and give wrong results. Give samples with --calibrate",
        );
    }
    Ok(compiled)
}

/// Refuses a plan file that could not be written, or would not be taken for one, before the work begins.
fn check_output(plan: &Path) -> anyhow::Result<()> {
    let named = plan.extension().is_some_and(|e| e.eq_ignore_ascii_case("plan"));
    ensure!(named, "`{}` is no name for a plan; give -o a name that ends in .plan", plan.display());
    for path in [plan, &weights_path(plan)] {
        check_writable(path).with_context(|| cannot_write(path))?;
    }
    Ok(())
}

/// Writes the plan, and the weights beside it; the plan's digest.
pub(crate) fn write(compiled: &Compiled, plan: &Path) -> anyhow::Result<[u8; 32]> {
    let weights = weights_path(plan);
    compiled.weights.write(&weights)?;
    Ok(codec::write_file(plan, &compiled.plan)?)
}

/// Where the weights of a plan file are.
pub(crate) fn weights_path(plan: &Path) -> PathBuf {
    plan.with_extension("weights")
}

/// What `explain` says of a plan, but for its layers, with the files and the headroom of all tensors.
fn as_json(compiled: &Compiled, path: &Path, digest: &[u8]) -> Value {
    let mut object = super::explain::as_json(&compiled.plan, digest);
    if let Some(object) = object.as_object_mut() {
        object.remove("layers");
    }
    object["plan"] = json!(path.display().to_string());
    object["weights_file"] = json!(weights_path(path).display().to_string());
    object["output_error"] = json!(compiled.formats.output_error);
    object["random_calibration"] = json!(compiled.calibration.random);
    let headroom = compiled.formats.headroom.iter().map(|h| {
        json!({
            "tensor": h.tensor,
            "format": h.format,
            "range": [h.lo, h.hi],
            "limit": h.limit,
            "bits": h.bits,
        })
    });
    object["headroom"] = headroom.collect();
    object
}

fn summary(compiled: &Compiled, path: &Path) -> String {
    let plan = &compiled.plan;
    let sent = plan.compute_parties().map(|party| plan.sent_bytes(party, Phase::Online));
    let mut out = String::new();
    let _ = writeln!(out, "plan     {}", path.display());
    let _ = writeln!(out, "weights  {} (keep it secret)", weights_path(path).display());
    let _ = writeln!(
        out,
        "ring {}, {} compute parties, weights {}; {} rounds, at most {} sent online by a compute party",
        plan.word.bits(),
        plan.parties,
        plan.weights,
        plan.rounds(),
        megabytes(sent.max().unwrap_or(0)),
    );
    for (port, error) in plan.outputs.iter().zip(&compiled.formats.output_error) {
        let _ = writeln!(out, "output `{}`: expected error about {error:.2e}", port.name);
    }
    let _ = writeln!(out, "\ntensors with the least headroom:");
    let mut rows =
        vec![["tensor", "format", "calibrated range", "limit", "bits"].map(String::from)];
    for h in compiled.formats.headroom.iter().take(SHOWN_TENSORS) {
        let (lo, hi) = (h.lo, h.hi);
        rows.push([
            h.tensor.clone(),
            h.format.clone(),
            format!("[{lo:.4}, {hi:.4}]"),
            format!("{:.4}", h.limit),
            format!("{:.1}", h.bits),
        ]);
    }
    super::table(&mut out, &rows);
    let _ = writeln!(out, "{}", FormatReport::OUT_OF_RANGE);
    out
}
