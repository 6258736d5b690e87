//! Runs a model in the clear with tract on one thread: the plain reference of `--compare` and of
//! the benchmarks. It is a second opinion, independent of the nn level.

use mpcc_ir::Shape;
use mpcc_ir::nn::interp::Tensor;
use std::path::Path;
use tract_onnx::prelude::*;

/// Why a model does not run in the clear.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
#[non_exhaustive]
pub enum ClearError {
    #[error("the plain reference cannot load the model: {0}; run without --compare")]
    Load(String),
    #[error("the model has {want} inputs and {found} were given; give one tensor per input")]
    InputCount { want: usize, found: usize },
    #[error("the plain reference fails: {0}; run without --compare")]
    Run(String),
}

/// A model made ready to run in the clear.
#[derive(Debug)]
pub struct ClearModel {
    plan: Arc<TypedRunnableModel>,
    kinds: Vec<DatumType>,
}

impl ClearModel {
    /// Reads a model and optimises it for inputs of these shapes.
    ///
    /// # Errors
    /// Says what tract does not support.
    pub fn new(bytes: &[u8], shapes: &[Shape]) -> Result<Self, ClearError> {
        Self::build(bytes, shapes).map_err(|e| ClearError::Load(brief(&e)))
    }

    fn build(bytes: &[u8], shapes: &[Shape]) -> TractResult<Self> {
        // Annotations of exporters often carry symbolic extents, which clash with fixed inputs.
        let onnx = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let mut model = onnx.model_for_read(&mut &bytes[..])?;
        let mut kinds = Vec::new();
        for (at, shape) in shapes.iter().enumerate().take(model.input_outlets()?.len()) {
            let kind = model.input_fact(at)?.datum_type().unwrap_or(f32::datum_type());
            model.set_input_fact(at, InferenceFact::dt_shape(kind, &shape.0))?;
            kinds.push(kind);
        }
        let plan = model.into_optimized()?.into_runnable()?;
        Ok(Self { plan, kinds })
    }

    /// Runs on one set of inputs, in the model's order.
    ///
    /// # Errors
    /// Says which input is missing or why tract fails.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ClearError> {
        if inputs.len() != self.kinds.len() {
            let (want, found) = (self.kinds.len(), inputs.len());
            return Err(ClearError::InputCount { want, found });
        }
        self.evaluate(inputs).map_err(|e| ClearError::Run(brief(&e)))
    }

    fn evaluate(&self, inputs: &[Tensor]) -> TractResult<Vec<Tensor>> {
        let feed = |(input, kind): (&Tensor, &DatumType)| {
            let tensor = tract_onnx::prelude::Tensor::from_shape(&input.shape.0, &input.data)?;
            Ok(tensor.cast_to_dt(*kind)?.into_owned().into())
        };
        let inputs = inputs.iter().zip(&self.kinds).map(feed).collect::<TractResult<_>>()?;
        let read = |output: &TValue| {
            let cast = output.cast_to::<f32>()?;
            let data = cast.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
            Ok(Tensor { shape: Shape::of(output.shape()), data })
        };
        self.plan.run(inputs)?.iter().map(read).collect()
    }
}

/// Runs a model once in the clear.
///
/// # Errors
/// As [`ClearModel::new`] and [`ClearModel::run`].
pub fn run(bytes: &[u8], inputs: &[Tensor]) -> Result<Vec<Tensor>, ClearError> {
    let shapes: Vec<Shape> = inputs.iter().map(|t| t.shape.clone()).collect();
    ClearModel::new(bytes, &shapes)?.run(inputs)
}

/// Runs a model file once in the clear.
///
/// # Errors
/// As [`run`], and where the file cannot be read.
pub fn run_path(path: &Path, inputs: &[Tensor]) -> Result<Vec<Tensor>, ClearError> {
    let bytes = std::fs::read(path)
        .map_err(|e| ClearError::Load(format!("cannot read `{}`: {e}", path.display())))?;
    run(&bytes, inputs)
}

fn brief(error: &TractError) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
