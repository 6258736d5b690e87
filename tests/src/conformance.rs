//! The ONNX operator cases: reads them, runs them through any evaluator, counts them by operator.
//!
//! `tests/conformance/make.py` writes the archive from the onnx package's backend node cases.
#![expect(clippy::wildcard_enum_match_arm, reason = "other refusals are told as they are")]

use mpcc_compiler::import::{ImportError, ImportOptions, import};
use mpcc_ir::Shape;
use mpcc_ir::nn::Graph;
use mpcc_ir::nn::interp::Tensor;
use npyz::{DType, NpyFile};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{Cursor, Read};

/// Cases, results in single precision.
const ARCHIVE: &[u8] = include_bytes!("../conformance/cases.npz");

/// One case: a model of one node with inputs and the outputs they should give.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name in the onnx package.
    pub name: String,
    /// The operator it is about.
    pub op: String,
    /// An ONNX file.
    pub model: Vec<u8>,
    /// In the model's order; integers are converted.
    pub inputs: Vec<Tensor>,
    /// In the model's order; integers are converted.
    pub outputs: Vec<Tensor>,
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The outputs agree, up to this error relative to the largest output (or to 1, if larger).
    Agrees(f64),
    /// The importer refused it, for this reason.
    Refused(String),
    /// The evaluator failed or the outputs differ.
    Wrong(String),
}

/// Evaluates an imported graph: in the clear, or privately.
pub type Evaluate<'a> = &'a mut dyn FnMut(&Graph, &[Tensor]) -> Result<Vec<Tensor>, String>;

/// All cases, by name.
///
/// # Errors
/// If the archive is damaged.
pub fn cases() -> Result<Vec<Case>, Box<dyn Error>> {
    let mut archive = npyz::npz::NpzArchive::new(Cursor::new(ARCHIVE))?;
    let mut names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    names.sort();
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for entry in names {
        let (case, part) = entry.split_once('/').ok_or("an entry without a case")?;
        let case = cases.entry(case.to_owned()).or_insert_with(|| Case {
            name: case.to_owned(),
            op: String::new(),
            model: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        });
        let file = archive.by_name(&entry)?.ok_or("an entry that vanished")?;
        // No case has more than ten tensors, so names sort in the model's order.
        match part {
            "model" => case.model = file.into_vec()?,
            "op" => case.op = String::from_utf8(file.into_vec()?)?,
            _ if part.starts_with("input_") => case.inputs.push(tensor(file)?),
            _ => case.outputs.push(tensor(file)?),
        }
    }
    Ok(cases.into_values().collect())
}

/// Reads a tensor of `float32` or `int64`.
///
/// # Errors
/// If the file is of another type or damaged.
pub fn tensor<R: Read>(file: NpyFile<R>) -> Result<Tensor, Box<dyn Error>> {
    let shape = Shape(file.shape().iter().map(|&d| d as usize).collect());
    let float = matches!(file.dtype(), DType::Plain(kind) if kind.to_string().ends_with("f4"));
    let data = if float {
        file.into_vec::<f32>()?
    } else {
        file.into_vec::<i64>()?.into_iter().map(|x| x as f32).collect()
    };
    Ok(Tensor { shape, data })
}

/// Imports and evaluates a case.
pub fn run(case: &Case, evaluate: Evaluate<'_>, tolerance: f64) -> Verdict {
    let graph = match import(&case.model, &ImportOptions::default()) {
        Ok(graph) => graph,
        Err(error) => return Verdict::Refused(reason(&error)),
    };
    if let Err(error) = graph.program.verify() {
        return Verdict::Wrong(error.to_string());
    }
    match evaluate(&graph, &case.inputs) {
        Err(message) => Verdict::Wrong(message),
        Ok(outputs) => {
            // Half precision keeps eleven bits, and its casts are exact here.
            let half = case.name.ends_with("to_FLOAT16");
            let tolerance = if half { tolerance.max(5e-4) } else { tolerance };
            compare(&outputs, &case.outputs, tolerance)
        }
    }
}

/// The importer's reason without names of nodes and tensors.
fn reason(error: &ImportError) -> String {
    match error {
        ImportError::Unsupported(list) => {
            let texts: Vec<_> = list.iter().map(|r| r.reason.clone()).collect();
            texts.join("; ")
        }
        ImportError::BadInput { reason, .. } => format!("an input {reason}"),
        ImportError::ConstantOutput { .. } => "an output depends on no input".to_owned(),
        ImportError::NoPorts { what } => format!("the model has no {what}"),
        other => other.to_string(),
    }
}

/// Compares outputs with a reference, relative to the reference's largest entry (or to 1).
pub fn compare(outputs: &[Tensor], reference: &[Tensor], tolerance: f64) -> Verdict {
    if outputs.len() != reference.len() {
        return Verdict::Wrong(format!("{} outputs of {}", outputs.len(), reference.len()));
    }
    let mut worst = 0.0f64;
    for (output, reference) in outputs.iter().zip(reference) {
        if output.shape != reference.shape {
            return Verdict::Wrong(format!("shape {} and not {}", output.shape, reference.shape));
        }
        let largest =
            reference.data.iter().filter(|x| x.is_finite()).fold(1.0f32, |m, x| m.max(x.abs()));
        for (x, y) in output.data.iter().zip(&reference.data) {
            let same = x == y || x.is_nan() && y.is_nan();
            let error = if same { 0.0 } else { f64::from((x - y).abs() / largest) };
            worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
        }
    }
    if worst <= tolerance {
        Verdict::Agrees(worst)
    } else {
        Verdict::Wrong(format!("off by {worst:.3e} of the largest entry"))
    }
}

/// A table in Markdown: cases, agreeing and refused ones by operator, with the reasons.
pub fn table(results: &[(&Case, Verdict)]) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for (case, verdict) in results {
        let row = rows.entry(&case.op).or_default();
        row.cases += 1;
        match verdict {
            Verdict::Agrees(_) => row.agree += 1,
            Verdict::Refused(reason) => *row.refused.entry(reason.clone()).or_default() += 1,
            Verdict::Wrong(message) => row.wrong.push(format!("{}: {message}", case.name)),
        }
    }
    let mut text =
        String::from("| operator | cases | agree | refused | why |\n|---|---|---|---|---|\n");
    let mut total = [0; 3];
    for (op, row) in &rows {
        let refused: usize = row.refused.values().sum();
        let reasons = row.refused.iter().map(|(reason, count)| format!("{count}: {reason}"));
        let wrong = row.wrong.iter().map(|w| format!("WRONG {w}"));
        let why: Vec<_> = reasons.chain(wrong).map(|w| w.replace('|', "/")).collect();
        let (cases, agree, why) = (row.cases, row.agree, why.join("<br>"));
        let _ = writeln!(text, "| {op} | {cases} | {agree} | {refused} | {why} |");
        total = [total[0] + row.cases, total[1] + agree, total[2] + refused];
    }
    let [cases, agree, refused] = total;
    let _ = writeln!(text, "| all | {cases} | {agree} | {refused} | |");
    text
}

#[derive(Default)]
struct Row {
    cases: usize,
    agree: usize,
    refused: BTreeMap<String, usize>,
    wrong: Vec<String>,
}
