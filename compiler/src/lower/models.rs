//! A measurement on real models: formats, openings and error in both rings.

use super::*;
use crate::calibrate::calibrate;
use crate::import::{ImportOptions, import_path};
use crate::passes::run_all;
use mpcc_ir::masked::Kind;
use mpcc_ir::masked::interp::Truncation;
use mpcc_ir::nn::interp::{Tensor, evaluate_all};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

fn npy(path: &Path) -> Vec<f32> {
    let file = npyz::NpyFile::new(std::fs::File::open(path).unwrap()).unwrap();
    file.into_vec::<f32>().unwrap()
}

fn report(dir: &Path) -> String {
    let graph = import_path(&dir.join("model.onnx"), &ImportOptions::default());
    let Ok(mut graph) = graph else { return "refused".to_owned() };
    let input = |(at, input): (usize, &mpcc_ir::nn::Input)| {
        let shape = graph.program[input.value].ty.shape.clone();
        Tensor { shape, data: npy(&dir.join(format!("input_{at}.npy"))) }
    };
    let sample: Vec<Tensor> = graph.inputs.iter().enumerate().map(input).collect();
    run_all(&mut graph);
    calibrate(&mut graph, std::slice::from_ref(&sample)).unwrap();
    if std::env::var("MPCC_SHOW").is_ok() {
        return format!(
            "{}\n{}",
            graph.program,
            lower(&graph, &LowerOptions { ring: RingChoice::R64, ..LowerOptions::default() })
                .unwrap()
                .program
        );
    }
    let clear = evaluate_all(&graph, &sample, &mut |_, _| {}).unwrap();
    let mut text = String::new();
    for ring in [RingChoice::R32, RingChoice::R64] {
        let options = LowerOptions { ring, ..LowerOptions::default() };
        let lowered = match lower(&graph, &options) {
            Ok(lowered) => lowered,
            Err(error) => {
                let _ = writeln!(text, "  {ring:?}: {error}");
                continue;
            }
        };
        let start = Instant::now();
        let truncation = Truncation::Seeded { parties: 2, seed: 1 };
        let fixed = lowered.evaluate(&sample, truncation).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let (mut worst, mut size, mut argmax) = (0.0_f64, 0.0_f64, true);
        for (a, b) in clear.iter().zip(&fixed) {
            for (x, y) in a.data.iter().zip(&b.data) {
                worst = worst.max(f64::from((x - y).abs()));
                size = size.max(f64::from(x.abs()));
            }
            let top =
                |t: &Tensor| (0..t.data.len()).max_by(|i, j| t.data[*i].total_cmp(&t.data[*j]));
            argmax &= top(a) == top(b);
        }
        let predicted = lowered.report.output_error.iter().copied().fold(0.0, f64::max);
        let (mut opened, mut bits, mut least) = (0, 0, u8::MAX);
        for node in &lowered.program.nodes {
            if node.ty.kind == Kind::Masked
                && matches!(node.op, Op::Relu { .. } | Op::Rescale { .. } | Op::Lift { .. })
            {
                opened += 1;
                bits += usize::from(node.ty.ring) * node.ty.shape.elements();
            }
            if let Op::Relu { .. } = node.op {
                let x = &lowered.program[node.args[0]].ty;
                least = least.min(x.ring);
                let blocks = usize::from(x.ring - 1).div_ceil(4);
                bits += (2 * blocks) * node.ty.shape.elements();
            }
        }
        let _ = writeln!(
            text,
            "  {ring:?}: error {worst:.2e} of {size:.3}, predicted {predicted:.2e}, argmax {argmax}; {opened} openings, {:.2} MB each way, least relu {least}; {seconds:.1} s",
            bits as f64 / 8e6,
        );
    }
    text
}

#[test]
#[ignore = "a measurement: MPCC_MODELS=<folder of models> cargo test --release lower::models -- --ignored --nocapture"]
fn real_models() {
    let folder = std::env::var("MPCC_MODELS").expect("MPCC_MODELS names a folder");
    let mut models: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    models.sort();
    let mut all = String::new();
    for dir in models {
        let _ = write!(all, "{}\n{}", dir.display(), report(&dir));
    }
    panic!("{all}");
}
