//! Runs every model below a folder privately, all roles as processes over TCP, and prints a table that
//! compares with the stored outputs.
//!
//!     cargo build --release && cargo run --release --bin zoo -- FOLDER [NAME..]
//!
//! A model is a folder with `model.onnx`, `input_<k>.npy` and `output_<k>.npy`. Number formats are calibrated
//! on the input that is run. Exits with 1 if a model that runs does not agree.

use mpcc_ir::codec;
use mpcc_ir::plan::OutputPort;
use mpcc_runtime::client::Output;
use mpcc_runtime::tensors::{read_npy, write_outputs};
use serde_json::Value;
use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HEADER: &str = "\
| model | ring | online s | offline s | rounds | P0, P1 sent online MB | dealer MB | largest error | predicted | largest value | same class |
|---|---|---|---|---|---|---|---|---|---|---|";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("give the folder of the models")?);
    let wanted: Vec<String> = arguments.collect();
    let mut models: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(|error| format!("cannot read `{}`: {error}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("model.onnx").exists())
        .filter(|path| wanted.is_empty() || wanted.contains(&name(path)))
        .collect();
    models.sort();
    let mut out = std::io::stdout();
    writeln!(out, "{HEADER}")?;
    let mut all_agree = true;
    for model in models {
        let (row, agrees) = match run(&model)? {
            Ok(report) => row(&report),
            Err(refusal) => (format!("refused: {refusal}"), true),
        };
        all_agree &= agrees;
        writeln!(out, "| {} | {row} |", name(&model))?;
        out.flush()?;
    }
    Ok(if all_agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn name(model: &Path) -> String {
    model.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What `mpcc run` reports, or why it refuses.
fn run(model: &Path) -> Result<Result<Value, String>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let plan = folder.path().join("model.plan");
    let input = model.join("input_0.npy");
    let mut compile = mpcc()?;
    compile.arg("compile").arg(model.join("model.onnx")).arg("-o").arg(&plan);
    let one_input = !model.join("input_1.npy").exists();
    if one_input {
        compile.arg("--calibrate").arg(&input);
    }
    let compiled = compile.output()?;
    if !compiled.status.success() {
        return Ok(Err(refusal(&String::from_utf8_lossy(&compiled.stderr))));
    }
    let mut run = mpcc()?;
    run.args(["run", "--json"]).arg(&plan);
    if one_input {
        run.arg("-i").arg(format!("@{}", input.display()));
    }
    let expected = folder.path().join("expected.npz");
    write_outputs(&expected, &stored_outputs(model, &plan)?)?;
    run.arg("--compare").arg(expected);
    let ran = run.output()?;
    if !ran.status.success() {
        return Err(format!("{}: {}", name(model), String::from_utf8_lossy(&ran.stderr)).into());
    }
    let mut report: Value = serde_json::from_slice(&ran.stdout)?;
    let summary = String::from_utf8_lossy(&compiled.stdout).into_owned();
    let ring = summary.split("ring ").nth(1).and_then(|text| text.split(',').next());
    report["ring"] = ring.unwrap_or_default().into();
    Ok(Ok(report))
}

/// The stored outputs under the names that the plan has for them.
fn stored_outputs(model: &Path, plan: &Path) -> Result<Vec<Output>, Box<dyn Error>> {
    let (plan, _) = codec::read_file(plan)?;
    let output = |(k, port): (usize, &OutputPort)| {
        let (shape, values) = read_npy(&model.join(format!("output_{k}.npy")))?;
        Ok(Output { name: port.name.clone(), shape, values, raw: Vec::new() })
    };
    plan.outputs.iter().enumerate().map(output).collect()
}

/// The operators that a refusal names, or its first line where it names none.
fn refusal(stderr: &str) -> String {
    let mut lines = stderr.lines().skip_while(|line| !line.starts_with("error"));
    let first = lines.next().unwrap_or(stderr);
    let nodes = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let operators: BTreeSet<&str> = nodes.collect();
    if operators.is_empty() {
        first.replace('|', "/")
    } else {
        operators.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// The command beside this one.
fn mpcc() -> Result<Command, Box<dyn Error>> {
    let path = std::env::current_exe()?.with_file_name("mpcc");
    if !path.exists() {
        return Err("build mpcc first: cargo build --release".into());
    }
    Ok(Command::new(path))
}

fn row(report: &Value) -> (String, bool) {
    let real = |key: &str| report[key].as_f64();
    let sent = |role: &str, phase: &str| {
        report["sent_bytes"][role][phase].as_f64().unwrap_or(f64::NAN) / 1e6
    };
    let show = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{x:.2e}"));
    let (error, predicted) = (real("max_abs_err"), real("predicted_err"));
    let same = report["argmax_equal"] == true;
    let within = error.zip(predicted).is_none_or(|(error, predicted)| error <= predicted);
    let row = format!(
        "{} | {:.3} | {:.3} | {} | {:.1}, {:.1} | {:.1} | {} | {} | {} | {}",
        report["ring"].as_str().unwrap_or_default(),
        real("online_s").unwrap_or(f64::NAN),
        real("offline_s").unwrap_or(f64::NAN),
        report["rounds"],
        sent("P0", "online"),
        sent("P1", "online"),
        sent("dealer", "offline"),
        show(error),
        show(predicted),
        show(real("largest")),
        if same { "yes" } else { "NO" },
    );
    (row, same && within)
}
