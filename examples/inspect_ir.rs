//! Print a small model at the three levels of the IR: network, masked program, plan.
//!
//!     cargo run --release --example inspect_ir
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use mpcc_compiler::calibrate::calibrate;
use mpcc_compiler::compile::{CompileOptions, compile};
use mpcc_compiler::import::{ImportOptions, import};
use mpcc_compiler::lower::{LowerOptions, lower};
use mpcc_compiler::{masked_passes, passes};
use mpcc_models::net::Net;

/// Lines of each level: a plan is long.
const SHOWN: usize = 60;

fn main() -> anyhow::Result<()> {
    for (level, text) in ["network", "masked program", "plan"].iter().zip(levels()?) {
        println!("--- {level}");
        text.lines().take(SHOWN).for_each(|line| println!("{line}"));
        println!(".. {} more lines\n", text.lines().count().saturating_sub(SHOWN));
    }
    Ok(())
}

/// Two dense layers with a ReLU between them.
fn levels() -> anyhow::Result<[String; 3]> {
    let (mut net, x) = Net::new("tiny", 1, &[1, 4]);
    let x = net.dense(&x, 3);
    let x = net.relu(&x);
    let y = net.dense(&x, 2);
    let model = net.finish(y);

    // What `compile` does inside: ONNX to a network, simplified, with the ranges of its values ..
    let mut graph = import(&model.onnx, &ImportOptions::default())?;
    passes::run_all(&mut graph);
    calibrate(&mut graph, &[])?;
    // .. then number formats, and where values are opened under a mask.
    let mut lowered = lower(&graph, &LowerOptions::default())?;
    masked_passes::run_all(&mut lowered.program);

    // The plan says for each role which steps it runs, and who sends what to whom.
    let options = CompileOptions { chunks: Some(1), ..CompileOptions::default() };
    let plan = compile(&model.onnx, &options, &mut |_| ())?.plan;
    Ok([graph.program.to_string(), lowered.program.to_string(), plan.to_string()])
}

#[test]
fn every_level_reads_back_from_its_text() {
    let [network, masked, plan] = levels().unwrap();
    let read = mpcc_ir::ssa::Program::<mpcc_ir::nn::Nn>::parse(&network).unwrap();
    assert_eq!((read.verify(), read.to_string()), (Ok(()), network));
    let read = mpcc_ir::masked::MaskedProgram::parse(&masked).unwrap();
    assert_eq!((mpcc_ir::masked::verify::verify(&read), read.to_string()), (Ok(()), masked));
    let read = mpcc_ir::plan::Plan::parse(&plan).unwrap();
    assert_eq!((read.verify(), read.to_string()), (Ok(()), plan));
}
