//! The ONNX operator cases: reads them, evaluates them in the clear and privately, counts them by operator.
//!
//! `tests/conformance/make.py` writes the archive from the onnx package's backend node cases.
#![expect(clippy::wildcard_enum_match_arm, reason = "other refusals are told as they are")]

use mpcc_compiler::compile::{CompileError, CompileOptions, compile};
use mpcc_compiler::import::{ImportError, ImportOptions, import};
use mpcc_ir::Shape;
use mpcc_ir::nn::interp::{Tensor, evaluate};
use mpcc_ir::plan::{OutputPort, Phase, Role};
use mpcc_runtime::client::Output;
use mpcc_runtime::sim::{self, SimOptions};
use npyz::{DType, NpyFile};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::{Cursor, Read};
use std::panic::resume_unwind;
use std::thread::ScopedJoinHandle;

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
    /// The compiler refused it, for this reason.
    Refused(String),
    /// The evaluator failed or the outputs differ.
    Wrong(String),
}

/// An output and the error that it may have.
#[derive(Clone, Debug)]
pub struct Found {
    /// What was computed.
    pub tensor: Tensor,
    /// How far an element may be from the reference, at most.
    pub within: f64,
}

/// Why a case gave no outputs.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The compiler refused the model, for this reason.
    Refused(String),
    /// Something else failed.
    Broken(String),
}

impl Failure {
    fn broken(error: impl Display) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        Self::Refused(reason(&error))
    }
}

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

/// Part of the largest entry (or of 1) by which single precision may differ from the reference.
const CLEAR: f64 = 1e-4;
/// The same for half precision, which keeps eleven bits.
const HALF: f64 = 5e-4;
/// Part of the largest entry (or of 1) beyond which number formats are no good, whatever they predict.
const PRIVATE: f64 = 0.02;

/// Imports a case and evaluates it at the nn level.
///
/// # Errors
/// [`Failure`] tells a refusal from a defect.
pub fn in_the_clear(case: &Case) -> Result<Vec<Found>, Failure> {
    let graph = import(&case.model, &ImportOptions::default())?;
    graph.program.verify().map_err(Failure::broken)?;
    let outputs = evaluate(&graph, &case.inputs).map_err(Failure::broken)?;
    let found = |(tensor, reference): (Tensor, &Tensor)| Found {
        tensor,
        within: case.precision() * largest(reference),
    };
    Ok(outputs.into_iter().zip(&case.outputs).map(found).collect())
}

/// Compiles a case, calibrated on its own inputs, and runs all roles in the simulator.
///
/// An output may be as wrong as the plan says, and single precision on top. What the receiver sees must
/// agree, and what the roles counted must be what the plan says.
///
/// # Errors
/// [`Failure`] tells a refusal from a defect.
pub fn privately(case: &Case) -> Result<Vec<Found>, Failure> {
    let options = CompileOptions { samples: vec![case.inputs.clone()], ..Default::default() };
    let compiled = compile(&case.model, &options, &mut |_| ()).map_err(|error| match error {
        CompileError::Import(error) => error.into(),
        CompileError::Format(error) => Failure::Refused(error.to_string()),
        CompileError::Calibrate(error) => Failure::Refused(error.to_string()),
        other => Failure::broken(other),
    })?;
    let inputs: Vec<Vec<f32>> = case.inputs.iter().map(|tensor| tensor.data.clone()).collect();
    let plan = &compiled.plan;
    let outcome = sim::run(plan, &compiled.weights, &inputs, SimOptions::default())
        .map_err(Failure::broken)?;
    for role in plan.compute_parties().chain([Role::Dealer]) {
        for phase in Phase::ALL {
            let (counted, said) =
                (outcome.counts[&role].sent_bytes(phase), plan.sent_bytes(role, phase));
            if counted != said {
                let message =
                    format!("{role} sent {counted} bytes {phase}, and the plan says {said}");
                return Err(Failure::Broken(message));
            }
        }
    }
    let found = |((output, port), reference): ((Output, &OutputPort), &Tensor)| {
        let tensor = Tensor { shape: output.shape, data: output.values };
        let single = case.precision() * largest(reference);
        // An index is right or wrong.
        let within = port
            .shown_error()
            .map_or(0.0, |error| error.min(PRIVATE * largest(reference)) + single);
        Found { tensor, within }
    };
    Ok(outcome.outputs.into_iter().zip(&plan.outputs).zip(&case.outputs).map(found).collect())
}

impl Case {
    fn precision(&self) -> f64 {
        if self.name.ends_with("to_FLOAT16") { HALF } else { CLEAR }
    }
}

/// Evaluates a case and compares with its reference.
pub fn judge(case: &Case, evaluate: fn(&Case) -> Result<Vec<Found>, Failure>) -> Verdict {
    match evaluate(case) {
        Err(Failure::Refused(reason)) => Verdict::Refused(reason),
        Err(Failure::Broken(message)) => Verdict::Wrong(message),
        Ok(outputs) => compare(&outputs, &case.outputs),
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

/// The largest finite entry, or 1.
fn largest(reference: &Tensor) -> f64 {
    let finite = reference.data.iter().filter(|x| x.is_finite());
    f64::from(finite.fold(1.0_f32, |largest, x| largest.max(x.abs())))
}

/// Compares outputs with a reference; the error told is relative to the reference's largest entry.
fn compare(outputs: &[Found], reference: &[Tensor]) -> Verdict {
    if outputs.len() != reference.len() {
        return Verdict::Wrong(format!("{} outputs of {}", outputs.len(), reference.len()));
    }
    let mut worst = 0.0_f64;
    for (Found { tensor, within }, reference) in outputs.iter().zip(reference) {
        if tensor.shape != reference.shape {
            return Verdict::Wrong(format!("shape {} and not {}", tensor.shape, reference.shape));
        }
        let mut error = 0.0_f64;
        for (x, y) in tensor.data.iter().zip(&reference.data) {
            let same = x == y || x.is_nan() && y.is_nan();
            let apart = if same { 0.0 } else { f64::from((x - y).abs()) };
            error = if apart.is_nan() { f64::INFINITY } else { error.max(apart) };
        }
        if error > *within {
            return Verdict::Wrong(format!("off by {error:.3e}, where {within:.3e} is allowed"));
        }
        worst = worst.max(error / largest(reference));
    }
    Verdict::Agrees(worst)
}

/// A case and what came of it in the clear and privately.
pub struct Outcome {
    /// The case.
    pub case: Case,
    /// At the nn level.
    pub clear: Verdict,
    /// By all roles.
    pub private: Verdict,
}

/// Judges all cases, on all cores.
///
/// # Errors
/// If the archive is damaged.
pub fn judge_all() -> Result<Vec<Outcome>, Box<dyn Error>> {
    let cases = cases()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let outcome = |case: &Case| Outcome {
        clear: judge(case, in_the_clear),
        private: judge(case, privately),
        case: case.clone(),
    };
    let outcomes = std::thread::scope(|scope| {
        let share = cases.len().div_ceil(cores);
        let judge_share =
            |cases| scope.spawn(move || <[Case]>::iter(cases).map(outcome).collect::<Vec<_>>());
        let threads: Vec<_> = cases.chunks(share).map(judge_share).collect();
        let join = |thread: ScopedJoinHandle<'_, Vec<_>>| {
            thread.join().unwrap_or_else(|e| resume_unwind(e))
        };
        threads.into_iter().flat_map(join).collect()
    });
    Ok(outcomes)
}

const HEADER: &str = "\
# ONNX operator conformance

The backend node cases of the onnx package for the operators that mpcc imports. Parameters that a real
network holds as constants are constants; everything else is secret. Each case is evaluated at the nn
level and compared with the reference to 1e-4 of its largest entry, and then compiled, calibrated on its
own inputs, and run by all roles, where it must agree within the error that its plan states and within
2 % of the largest entry, and send the bytes that its plan states. The largest private error is
relative to the largest entry, or to 1 if that is larger.

`cargo run --release --bin conformance` prints this page; `tests/conformance/make.py` makes
the cases; `UPDATE_DOCS=1 cargo test --release --workspace --test it conformance` stores the page.

";

/// The page of the documentation.
pub fn page(outcomes: &[Outcome]) -> String {
    format!("{HEADER}{}", table(outcomes))
}

/// A table in Markdown: by operator the cases, how many agree, the largest private error, and what is
/// refused and why.
fn table(outcomes: &[Outcome]) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let mut all = Row::default();
    for outcome in outcomes {
        rows.entry(&outcome.case.op).or_default().count(outcome);
        all.count(outcome);
    }
    let mut text = String::from(
        "| operator | cases | agree in the clear | agree privately | largest private error | refused | why |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (op, row) in &rows {
        row.write(&mut text, op, &row.reasons());
    }
    all.write(&mut text, "all", "");
    text
}

#[derive(Default)]
struct Row {
    cases: usize,
    clear: usize,
    private: usize,
    error: f64,
    refused: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Row {
    fn count(&mut self, outcome: &Outcome) {
        self.cases += 1;
        self.clear += usize::from(matches!(outcome.clear, Verdict::Agrees(_)));
        match &outcome.private {
            Verdict::Agrees(error) => {
                self.private += 1;
                self.error = self.error.max(*error);
            }
            Verdict::Refused(reason) => *self.refused.entry(reason.clone()).or_default() += 1,
            Verdict::Wrong(message) => self.wrong.push(format!("{}: {message}", outcome.case.name)),
        }
    }

    fn reasons(&self) -> String {
        let refused = self.refused.iter().map(|(reason, count)| format!("{count}: {reason}"));
        let wrong = self.wrong.iter().map(|message| format!("WRONG {message}"));
        let all: Vec<_> = refused.chain(wrong).map(|text| text.replace('|', "/")).collect();
        all.join("<br>")
    }

    fn write(&self, text: &mut String, op: &str, why: &str) {
        let Self { cases, clear, private, error, .. } = self;
        let refused: usize = self.refused.values().sum();
        let error = if *private == 0 { String::new() } else { format!("{error:.0e}") };
        let _ = writeln!(
            text,
            "| {op} | {cases} | {clear} | {private} | {error} | {refused} | {why} |"
        );
    }
}
