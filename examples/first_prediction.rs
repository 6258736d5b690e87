//! Compile a trained digit classifier and classify a handwritten digit privately, with all roles in
//! this process.
//!
//!     cargo run --release --example first_prediction
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use mpcc_compiler::compile::{CompileOptions, compile};
use mpcc_ir::Shape;
use mpcc_ir::nn::interp::Tensor;
use mpcc_models::catalogue;
use mpcc_runtime::sim::{SimOptions, run};

fn main() -> anyhow::Result<()> {
    println!("the digit is a {}", predict()?);
    Ok(())
}

fn predict() -> anyhow::Result<usize> {
    let model = catalogue::find("mnist-minionn")?;
    let digit = model.stored_inputs()?.remove(0);

    // The owner of the model compiles it, with inputs that show the usual range of values.
    let sample = Tensor { shape: Shape::of(&model.inputs[0].dims), data: digit.clone() };
    let options = CompileOptions { samples: vec![vec![sample]], ..CompileOptions::default() };
    let compiled = compile(&model.onnx()?, &options, &mut |stage| println!("{stage}"))?;

    // The client masks the digit, two parties compute on masked values, the client unmasks scores.
    let outcome = run(&compiled.plan, &compiled.weights, &[digit], SimOptions::default())?;
    println!("{} rounds of messages", outcome.rounds);

    let scores = outcome.outputs[0].values.iter().enumerate();
    let best = scores.max_by(|a, b| a.1.total_cmp(b.1));
    best.map(|(class, _)| class).ok_or_else(|| anyhow::anyhow!("the model has no classes"))
}

#[test]
fn it_is_the_class_that_the_model_finds_in_the_clear() {
    let scores = catalogue::find("mnist-minionn").unwrap().stored_outputs().unwrap().remove(0);
    let class = predict().unwrap();
    assert!(scores.iter().all(|score| *score <= scores[class]));
}
