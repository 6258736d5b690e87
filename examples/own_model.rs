//! Write a network of your own as ONNX, compile it, and compare a private run with the clear one.
//!
//!     cargo run --release --example own_model
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use mpcc_compiler::clear;
use mpcc_compiler::compile::{CompileOptions, compile};
use mpcc_ir::Shape;
use mpcc_ir::nn::interp::Tensor;
use mpcc_models::Model;
use mpcc_models::net::{Conv, Net};
use mpcc_runtime::sim::{SimOptions, run};

fn main() -> anyhow::Result<()> {
    println!("largest difference from the clear run: {:.1e}", difference()?);
    Ok(())
}

/// A residual network of two convolutions; the weights are noise from seed 1.
fn network() -> Model {
    let (mut net, x) = Net::new("own", 1, &[1, 3, 16, 16]);
    let x = net.conv(&x, 8, Conv::same(3));
    let x = net.relu(&x);
    let y = net.conv(&x, 8, Conv::same(3).no_bias());
    let y = net.batch_norm(&y, 1.0);
    let x = net.add(&x, &y);
    let x = net.relu(&x);
    let x = net.global_average_pool(&x);
    let x = net.flatten(&x);
    let y = net.dense(&x, 4);
    net.finish(y)
}

fn difference() -> anyhow::Result<f32> {
    let model = network();
    let tensor = |seed| Tensor { shape: Shape::of(&model.input), data: model.sample(seed) };
    let samples = (0..8).map(|seed| vec![tensor(seed)]).collect();
    let options = CompileOptions { samples, ..CompileOptions::default() };
    let compiled = compile(&model.onnx, &options, &mut |_| ())?;

    let input = tensor(100);
    let clear = clear::run(&model.onnx, std::slice::from_ref(&input))?;
    let private = run(&compiled.plan, &compiled.weights, &[input.data], SimOptions::default())?;
    println!("in the clear: {:?}", clear[0].data);
    println!("privately:    {:?}", private.outputs[0].values);

    let pairs = clear[0].data.iter().zip(&private.outputs[0].values);
    Ok(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
}

#[test]
fn both_runs_agree() {
    assert!(difference().unwrap() < 0.01);
}
