//! The whole way from an ONNX file to a plan and its weights.

use crate::calibrate::{CalibrateError, CalibrationReport, calibrate, random_samples};
use crate::import::{ImportError, ImportOptions, import};
use crate::lower::{
    FormatError, FormatReport, InputFormat, LowerOptions, Lowered, OutputFormat, QuantParam,
    RingChoice, lower_measured,
};
use crate::protocols::{ExpandOptions, expand};
use crate::schedule::{Model, Overlap, ScheduleOptions, Setting, schedule};
use crate::{masked_passes, passes};
use mpcc_ir::nn::interp::Tensor;
use mpcc_ir::plan::{
    InputPort, MAX_DEPTH, OutputPort, ParamInfo, Plan, PlanError, WeightsMode, Word,
};
use mpcc_ir::weights::Weights;

/// What the user chooses.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Name of the plan, for people.
    pub name: String,
    /// Shapes of inputs that the file leaves open, and limits.
    pub import: ImportOptions,
    /// Samples that show the usual ranges, one tensor per input each; seeded noise if empty.
    pub samples: Vec<Vec<Tensor>>,
    /// Ring width.
    pub ring: RingChoice,
    /// Bits above the calibrated range.
    pub margin_bits: u8,
    /// Compute parties, at least 2.
    pub parties: u8,
    /// Who knows the weights.
    pub weights: WeightsMode,
    /// Runs in flight, 1 to [`MAX_DEPTH`]: each takes memory of its own.
    pub depth: u8,
    /// Chunks of every operation; those that are predicted to take least if `None`.
    pub chunks: Option<usize>,
    /// What may happen at once.
    pub overlap: Overlap,
    /// Hosts and links that the plan is made for.
    pub setting: Setting,
    /// Goes into the digests of model and weights, which are public; drawn if `None`. Two compilations
    /// give the same files if it is the same.
    pub salt: Option<[u8; 32]>,
}

impl Default for CompileOptions {
    fn default() -> Self {
        let lower = LowerOptions::default();
        Self {
            name: "model".to_owned(),
            import: ImportOptions::default(),
            samples: Vec::new(),
            ring: RingChoice::Auto,
            margin_bits: lower.margin_bits,
            parties: 2,
            weights: WeightsMode::Party0,
            depth: 1,
            chunks: None,
            overlap: Overlap::Pipelined,
            setting: Setting::default(),
            salt: None,
        }
    }
}

/// A compiled model.
pub struct Compiled {
    /// The public plan.
    pub plan: Plan,
    /// The owner's quantised weights.
    pub weights: Weights,
    /// What calibration saw.
    pub calibration: CalibrationReport,
    /// The number formats.
    pub formats: FormatReport,
}

/// Why a model does not compile.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum CompileError {
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("a plan has 2 to 16 compute parties, not {parties}; choose another `--parties`")]
    Parties { parties: u8 },
    #[error("a plan has 1 to {MAX_DEPTH} runs in flight, not {depth}; choose another `--depth`")]
    Depth { depth: u8 },
    #[error("the compiler made a plan that its own verifier rejects; please report this model")]
    Verify(#[from] PlanError),
}

/// Compiles the ONNX model in `bytes`; `progress` is told what begins.
///
/// # Errors
/// [`CompileError`] names the place and the remedy.
pub fn compile(
    bytes: &[u8],
    options: &CompileOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<Compiled, CompileError> {
    if !(2..=16).contains(&options.parties) {
        return Err(CompileError::Parties { parties: options.parties });
    }
    if !(1..=MAX_DEPTH).contains(&options.depth) {
        return Err(CompileError::Depth { depth: options.depth });
    }
    progress("reading the model");
    let mut graph = import(bytes, &options.import)?;
    progress("simplifying");
    passes::run_all(&mut graph);
    progress("calibrating");
    let calibration = calibrate(&mut graph, &options.samples)?;
    progress("choosing number formats");
    let lowering = LowerOptions {
        ring: options.ring,
        margin_bits: options.margin_bits,
        parties: options.parties,
        ..LowerOptions::default()
    };
    // Whether 32 bits are accurate enough is measured, on noise where there are no samples.
    let drawn =
        if options.samples.is_empty() { vec![random_samples(&graph, 0)] } else { Vec::new() };
    let samples = if options.samples.is_empty() { &drawn } else { &options.samples };
    let mut lowered = lower_measured(&graph, &lowering, samples)?;
    drop(graph);
    masked_passes::run_all(&mut lowered.program);
    lowered.store_transposed();

    progress("scheduling");
    let expansion =
        ExpandOptions { weights: options.weights, parties: options.parties, ..Default::default() };
    let views = expand(&lowered.program, &expansion);
    let scheduling = ScheduleOptions {
        word: lowered.word,
        parties: options.parties,
        weights: options.weights,
        overlap: options.overlap,
        depth: options.depth,
        chunks: options.chunks,
    };
    let weights = pack_weights(&lowered, options.salt.unwrap_or_else(rand::random));
    let model = Model {
        name: options.name.clone(),
        model_digest: weights.model_digest(bytes),
        weights_digest: weights.digest(),
        inputs: lowered.inputs.iter().map(input_port).collect(),
        outputs: lowered
            .outputs
            .iter()
            .zip(&lowered.report.output_error)
            .map(output_port)
            .collect(),
        params: lowered.params.iter().map(param_info).collect(),
    };
    let plan = schedule(&lowered.program, &views, model, scheduling, &options.setting);
    progress("verifying the plan");
    plan.verify()?;

    Ok(Compiled { plan, weights, calibration, formats: lowered.report })
}

fn input_port(format: &InputFormat) -> InputPort {
    InputPort {
        name: format.name.clone(),
        shape: format.shape.clone(),
        ring: format.ring,
        frac: format.frac,
        lo: format.lo,
        hi: format.hi,
        mask: u32::MAX,
        masked: Vec::new(),
    }
}

fn output_port((format, error): (&OutputFormat, &f64)) -> OutputPort {
    OutputPort {
        name: format.name.clone(),
        shape: format.shape.clone(),
        ring: format.ring,
        frac: format.frac,
        masked: u32::MAX,
        shares: Vec::new(),
        clear: format.clear.clone(),
        error: *error,
    }
}

fn param_info(param: &QuantParam) -> ParamInfo {
    ParamInfo {
        name: param.name.clone(),
        elements: param.data.len() as u64,
        frac: param.frac,
        public: param.public.then(|| param.data.clone()),
        masked: Vec::new(),
        mask: None,
    }
}

/// The weights file: words of secret parameters; public ones are in the plan.
fn pack_weights(lowered: &Lowered, salt: [u8; 32]) -> Weights {
    let words = |param: &QuantParam| match lowered.word {
        _ if param.public => Vec::new(),
        Word::W32 => param.data.iter().flat_map(|w| (*w as u32).to_le_bytes()).collect(),
        Word::W64 => param.data.iter().flat_map(|w| w.to_le_bytes()).collect(),
    };
    Weights { word: lowered.word, salt, params: lowered.params.iter().map(words).collect() }
}
