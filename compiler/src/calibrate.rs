//! Ranges of all values, from sample inputs: what the number formats are chosen from.
//!
//! The graph is evaluated in the clear on every sample, and each value's range becomes the least and
//! greatest entry seen. Parameters get their exact ranges. Where no samples are given, seeded noise
//! stands in for them, and the report says so: real inputs may then leave the ranges.

use mpcc_ir::Id;
use mpcc_ir::nn::interp::{EvalError, Tensor, evaluate_all};
use mpcc_ir::nn::{Graph, Op, Range};
use std::panic::resume_unwind;

/// How many random samples stand in where none are given.
const RANDOM_SAMPLES: u64 = 2;

/// What calibration saw.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationReport {
    /// Number of samples that were evaluated.
    pub samples: usize,
    /// No samples were given: ranges come from seeded standard normal inputs.
    pub random: bool,
}

/// Why ranges cannot be measured. No message contains a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum CalibrateError {
    #[error("calibration sample {sample}: {source}")]
    Evaluate { sample: usize, source: EvalError },
    #[error(
        "calibration sample {sample}: input `{name}` holds an entry that is not finite; remove it"
    )]
    Input { sample: usize, name: String },
    #[error(
        "calibration sample {sample}: layer `{layer}` computes an entry that is not finite; \
         check that the samples are scaled as the model expects"
    )]
    NotFinite { sample: usize, layer: String },
    #[error("parameter `{name}` holds an entry that is not finite; export the model again")]
    Param { name: String },
}

/// Sets the range of every value of `graph` from `samples`, each one tensor per input.
///
/// Without samples, random ones are drawn with a fixed seed.
///
/// # Errors
/// A sample does not fit the model's inputs, or an input, parameter or result is not finite.
pub fn calibrate(
    graph: &mut Graph,
    samples: &[Vec<Tensor>],
) -> Result<CalibrationReport, CalibrateError> {
    let random = samples.is_empty();
    let drawn: Vec<Vec<Tensor>> = if random {
        (0..RANDOM_SAMPLES).map(|seed| random_samples(graph, seed)).collect()
    } else {
        Vec::new()
    };
    let samples = if random { &drawn } else { samples };
    let mut ranges = observe_all(graph, samples)?;
    for id in graph.program.ids() {
        if let Op::Param { id: param } = graph.program[id].op {
            let param = &graph.params[param.index()];
            let range = range_of(&param.data);
            ranges[id.index()] =
                Some(range.ok_or_else(|| CalibrateError::Param { name: param.name.clone() })?);
        }
    }
    for (node, range) in graph.program.nodes.iter_mut().zip(ranges) {
        node.ty.range = range;
    }
    Ok(CalibrationReport { samples: samples.len(), random })
}

/// One standard normal tensor per input of `graph`, the same for the same seed on every machine.
pub fn random_samples(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let mut noise = Noise::new(seed);
    let draw = |input: &mpcc_ir::nn::Input| {
        let shape = graph.program[input.value].ty.shape.clone();
        Tensor { data: noise.normal(shape.elements()), shape }
    };
    graph.inputs.iter().map(draw).collect()
}

type Ranges = Vec<Option<Range>>;

/// The range of every value but the parameters over all samples, on all cores.
///
/// The result does not depend on the number of cores: the smallest interval that holds all is one.
fn observe_all<'a>(graph: &Graph, samples: &'a [Vec<Tensor>]) -> Result<Ranges, CalibrateError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut ranges: Ranges = vec![None; graph.program.nodes.len()];
    let share = samples.len().div_ceil(cores).max(1);
    let observed: Vec<Result<Ranges, CalibrateError>> = std::thread::scope(|scope| {
        let start = |(part, samples): (usize, &'a [Vec<Tensor>])| {
            scope.spawn(move || observe(graph, part * share, samples))
        };
        let threads: Vec<_> = samples.chunks(share).enumerate().map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|e| resume_unwind(e)))
            .collect()
    });
    for part in observed {
        for (range, seen) in ranges.iter_mut().zip(part?) {
            *range = join(*range, seen);
        }
    }
    Ok(ranges)
}

fn join(a: Option<Range>, b: Option<Range>) -> Option<Range> {
    a.zip(b).map(|(a, b)| a.union(b)).or(a).or(b)
}

/// The ranges over some samples, of which the first has the number `first`.
fn observe(graph: &Graph, first: usize, samples: &[Vec<Tensor>]) -> Result<Ranges, CalibrateError> {
    let mut ranges: Ranges = vec![None; graph.program.nodes.len()];
    for (sample, inputs) in (first..).zip(samples) {
        for (input, tensor) in graph.inputs.iter().zip(inputs) {
            if range_of(&tensor.data).is_none() {
                return Err(CalibrateError::Input { sample, name: input.name.clone() });
            }
        }
        let mut broken = None;
        let mut visit = |id: Id, tensor: &Tensor| match range_of(&tensor.data) {
            Some(range) => ranges[id.index()] = join(ranges[id.index()], Some(range)),
            None => broken = broken.or(Some(id)),
        };
        evaluate_all(graph, inputs, &mut visit)
            .map_err(|source| CalibrateError::Evaluate { sample, source })?;
        if let Some(id) = broken {
            return Err(CalibrateError::NotFinite { sample, layer: layer(graph, id) });
        }
    }
    Ok(ranges)
}

/// The interval of a tensor's entries, `[0, 0]` if it has none; `None` if one is not finite.
fn range_of(data: &[f32]) -> Option<Range> {
    if !data.iter().all(|x| x.is_finite()) {
        return None;
    }
    let point = |x: &f32| Range { lo: f64::from(*x), hi: f64::from(*x) };
    Some(data.iter().map(point).reduce(Range::union).unwrap_or(Range { lo: 0.0, hi: 0.0 }))
}

fn layer(graph: &Graph, id: Id) -> String {
    let name = graph.program[id].origin.and_then(|at| graph.program.names.get(at as usize));
    name.cloned().unwrap_or_else(|| id.to_string())
}

/// A small generator of reproducible noise. Not for secrets.
///
/// Written out here because calibration must give the same plan whatever release of a library is
/// linked: splitmix64 for bits, Box and Muller's transform for normal values.
pub(crate) struct Noise(u64);

impl Noise {
    /// Starts the sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in the open interval (0, 1).
    fn uniform(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// `n` standard normal values.
    pub(crate) fn normal(&mut self, n: usize) -> Vec<f32> {
        let mut draw = || {
            let radius = (-2.0 * self.uniform().ln()).sqrt();
            (radius * (std::f64::consts::TAU * self.uniform()).cos()) as f32
        };
        (0..n).map(|_| draw()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::graph;
    use mpcc_ir::Shape;

    const TWO_LAYERS: &str = "nn {
      name \"first\"
      %0 = input port port0 : secret[4]
      %1 = param id w0 : weight[4]
      %2 = mul %0, %1 : secret[4] @0
      %3 = relu %2 : secret[4] @0
      return %3
    }";

    fn sample(data: [f32; 4]) -> Vec<Tensor> {
        vec![Tensor { shape: Shape::of(&[4]), data: data.to_vec() }]
    }

    #[test]
    fn ranges_are_those_of_all_samples() {
        let mut graph = graph(TWO_LAYERS);
        graph.params[0].data = vec![1.0, -2.0, 0.5, 1.0];
        let samples = [sample([1.0, 2.0, 3.0, -4.0]), sample([0.0, -5.0, 0.0, 0.0])];
        let report = calibrate(&mut graph, &samples).unwrap();
        assert_eq!(report, CalibrationReport { samples: 2, random: false });
        insta::assert_snapshot!(graph.program, @r#"
        nn {
          name "first"
          %0 = input port port0 : secret[4] in [-5, 3]
          %1 = param id w0 : weight[4] in [-2, 1]
          %2 = mul %0, %1 : secret[4] in [-4, 10] @0
          %3 = relu %2 : secret[4] in [0, 10] @0
          return %3
        }
        "#);
    }

    #[test]
    fn noise_stands_in_for_samples() {
        let (mut once, mut again) = (graph(TWO_LAYERS), graph(TWO_LAYERS));
        let report = calibrate(&mut once, &[]).unwrap();
        assert_eq!(report, CalibrationReport { samples: 2, random: true });
        calibrate(&mut again, &[]).unwrap();
        assert_eq!(once, again);
        let range = once.program.nodes[0].ty.range.unwrap();
        assert!(range.lo < 0.0 && range.hi > 0.0 && range.magnitude() < 6.0);
    }

    #[test]
    fn noise_is_standard_normal() {
        let values = Noise::new(7).normal(10_000);
        let mean = |f: &dyn Fn(f64) -> f64| {
            values.iter().map(|x| f(f64::from(*x))).sum::<f64>() / values.len() as f64
        };
        assert!(mean(&|x| x).abs() < 0.03 && (mean(&|x| x * x) - 1.0).abs() < 0.05);
    }

    #[test]
    fn entries_that_are_not_finite_are_named_by_place_alone() {
        let mut graph = graph(TWO_LAYERS);
        let error = calibrate(&mut graph, &[sample([0.0, f32::NAN, 0.0, 0.0])]).unwrap_err();
        insta::assert_snapshot!(error, @"calibration sample 0: input `port0` holds an entry that is not finite; remove it");
        graph.params[0].data = vec![f32::MAX; 4];
        let error = calibrate(&mut graph, &[sample([f32::MAX; 4])]).unwrap_err();
        insta::assert_snapshot!(error, @"calibration sample 0: layer `first` computes an entry that is not finite; check that the samples are scaled as the model expects");
        let error = calibrate(&mut graph, &[vec![]]).unwrap_err();
        insta::assert_snapshot!(error, @"calibration sample 0: the model has 1 inputs, but 0 were given; give one tensor per input");
    }
}
