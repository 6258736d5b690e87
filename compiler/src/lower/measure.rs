//! Runs a lowered model in the clear, and measures what its number formats cost in accuracy.

use super::weights::quantise;
use super::{FormatError, LowerOptions, Lowered, RingChoice, lower};
use mpcc_ir::masked::interp::{self, Truncation};
use mpcc_ir::nn::Graph;
use mpcc_ir::nn::interp::{Tensor, evaluate_all};

/// Seed of the truncation errors that a measurement draws.
const SEED: u64 = 20_24;
/// How much larger than the largest measured error an error may be before it is a surprise.
const SAFETY: f64 = 4.0;
/// Errors to look at in each output, at least: the largest of a few may be small by luck. Outputs with
/// fewer elements are computed several times, with other truncation errors.
const ERRORS: usize = 64;
/// How often they are computed at most.
const MOST_DRAWS: usize = 8;

impl Lowered {
    /// What the outputs reveal for these inputs, before the operations in the clear.
    ///
    /// # Errors
    /// The inputs do not fit the program.
    pub fn evaluate(
        &self,
        inputs: &[Tensor],
        truncation: Truncation,
    ) -> Result<Vec<Tensor>, FormatError> {
        let encode = |(x, format): (&Tensor, &super::InputFormat)| {
            let ring = |x: &f32| quantise(f64::from(*x), i32::from(format.frac), format.ring);
            x.data.iter().map(ring).collect()
        };
        let inputs: Vec<Vec<i64>> = inputs.iter().zip(&self.inputs).map(encode).collect();
        let params: Vec<&[i64]> = self.params.iter().map(|p| &p.data[..]).collect();
        let shown = interp::evaluate(&self.program, &inputs, &params, truncation)
            .map_err(|e| FormatError::Measure(e.to_string()))?;
        let decode = |(x, format): (Vec<i64>, &super::OutputFormat)| {
            let unit = f64::from(-format.frac).exp2();
            let data = x.iter().map(|x| (*x as f64 * unit) as f32).collect();
            Tensor { shape: format.shape.clone(), data }
        };
        Ok(shown.into_iter().zip(&self.outputs).map(decode).collect())
    }

    /// Largest difference from the graph in the clear, by output, over all samples.
    ///
    /// # Errors
    /// A sample does not fit the graph.
    pub fn measure(
        &self,
        graph: &Graph,
        samples: &[Vec<Tensor>],
        parties: u8,
    ) -> Result<Vec<f64>, FormatError> {
        let mut worst = vec![0.0_f64; self.outputs.len()];
        for (at, sample) in samples.iter().enumerate() {
            let clear = evaluate_all(graph, sample, &mut |_, _| {})
                .map_err(|e| FormatError::Measure(e.to_string()))?;
            let fewest = clear.iter().map(|output| output.data.len().max(1)).min().unwrap_or(1);
            for draw in 0..ERRORS.div_ceil(fewest).min(MOST_DRAWS) {
                let seed = SEED + (at * MOST_DRAWS + draw) as u64;
                let fixed = self.evaluate(sample, Truncation::Seeded { parties, seed })?;
                for ((worst, clear), fixed) in worst.iter_mut().zip(&clear).zip(&fixed) {
                    let pairs = clear.data.iter().zip(&fixed.data);
                    let differences = pairs.map(|(a, b)| f64::from(a - b).abs());
                    *worst = differences.fold(*worst, f64::max);
                }
            }
        }
        Ok(worst)
    }
}

/// As [`lower`], but the error is measured on samples rather than estimated: `RingChoice::Auto` takes
/// 32 bits if the measured error is within the tolerance, and the report predicts four times the
/// largest error seen. At most two samples are run.
///
/// # Errors
/// As [`lower`], and if a sample does not fit the graph.
pub fn lower_measured(
    graph: &Graph,
    options: &LowerOptions,
    samples: &[Vec<Tensor>],
) -> Result<Lowered, FormatError> {
    let samples = &samples[..samples.len().min(2)];
    if samples.is_empty() {
        return lower(graph, options);
    }
    let narrow = LowerOptions { ring: RingChoice::R32, ..*options };
    let first = match options.ring {
        RingChoice::Auto => lower(graph, &narrow),
        RingChoice::R32 | RingChoice::R64 => lower(graph, options),
    };
    let measured = first.and_then(|lowered| with_errors(lowered, graph, options, samples));
    let wide = LowerOptions { ring: RingChoice::R64, ..*options };
    match (options.ring, measured) {
        (RingChoice::Auto, Ok(l)) if l.report.relative_error() > options.tolerance * SAFETY => {
            with_errors(lower(graph, &wide)?, graph, options, samples)
        }
        (RingChoice::Auto, Err(FormatError::NoRoom { .. })) => {
            with_errors(lower(graph, &wide)?, graph, options, samples)
        }
        (_, result) => result,
    }
}

fn with_errors(
    mut lowered: Lowered,
    graph: &Graph,
    options: &LowerOptions,
    samples: &[Vec<Tensor>],
) -> Result<Lowered, FormatError> {
    let worst = lowered.measure(graph, samples, options.parties)?;
    let unit = |i: usize| f64::from(-lowered.outputs[i].frac).exp2();
    let errors: Vec<f64> = worst.iter().enumerate().map(|(i, e)| SAFETY * e + unit(i)).collect();
    lowered.report.output_error = errors;
    lowered.report.measured = true;
    Ok(lowered)
}
