//! Compiles and simulates one model folder.
use mpcc_compiler::compile::{CompileOptions, compile};
use mpcc_ir::nn::interp::Tensor;
use mpcc_runtime::sim::{SimOptions, run};
use std::time::Instant;
fn npy(path: &str) -> Option<Tensor> {
    let bytes = std::fs::read(path).ok()?;
    let file = npyz::NpyFile::new(&bytes[..]).ok()?;
    let shape: Vec<usize> = file.shape().iter().map(|d| *d as usize).collect();
    let data: Vec<f32> = file.into_vec::<f32>().ok()?;
    Some(Tensor { shape: shape.into(), data })
}
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let bytes = std::fs::read(format!("{dir}/model.onnx")).unwrap();
    let inputs: Vec<Tensor> = (0..).map_while(|i| npy(&format!("{dir}/input_{i}.npy"))).collect();
    let outputs: Vec<Tensor> = (0..).map_while(|i| npy(&format!("{dir}/output_{i}.npy"))).collect();
    let t = Instant::now();
    let ring = match std::env::args().nth(2).as_deref() { Some("32") => mpcc_compiler::lower::RingChoice::R32, Some("64") => mpcc_compiler::lower::RingChoice::R64, _ => mpcc_compiler::lower::RingChoice::Auto };
    let options = CompileOptions { samples: vec![inputs.clone()], ring, ..CompileOptions::default() };
    let c = match compile(&bytes, &options, &mut |s| println!("  {s} {:.2}", t.elapsed().as_secs_f32())) { Ok(c) => c, Err(e) => { println!("REFUSED {e}"); return; } };
    println!("compiled {:.2}s ring {} rounds {} steps {:?} programs {} msgs {} run bytes {:?} err {:?}", t.elapsed().as_secs_f32(), c.plan.word.bits(), c.plan.rounds(),
        c.plan.roles.iter().map(|r| r.online.len() + r.offline.len()).collect::<Vec<_>>(), c.plan.programs.len(), c.plan.messages.len(),
        c.plan.roles.iter().map(|r| (r.deploy_bytes/1000, r.run_bytes/1000)).collect::<Vec<_>>(), c.formats.output_error);
    for r in &c.plan.roles { let (mut spans, mut writes) = (0, 0); for st in r.offline.iter().chain(&r.online) { if let mpcc_ir::plan::StepOp::Map { spans: s, program, .. } = &st.op { spans += s.len(); writes += c.plan.programs[*program as usize].operands.iter().filter(|o| o.write).count(); } }
        println!("{} map spans {spans} writes {writes} after {}", r.role, r.offline.iter().chain(&r.online).map(|s| s.after.len()).sum::<usize>()); }
    let t = Instant::now(); c.plan.verify().unwrap(); println!("verify {:.2}", t.elapsed().as_secs_f32());
    let t = Instant::now(); let b = mpcc_ir::codec::encode(&c.plan); println!("encode {:.2} {} bytes", t.elapsed().as_secs_f32(), b.len());
    let t = Instant::now(); mpcc_ir::codec::decode(&b).unwrap(); println!("decode {:.2}", t.elapsed().as_secs_f32());
    let data: Vec<Vec<f32>> = inputs.iter().map(|t| t.data.clone()).collect();
    let t = Instant::now();
    let r = run(&c.plan, &c.weights, &data, SimOptions::default()).unwrap();
    println!("sim {:.2}s rounds {}", t.elapsed().as_secs_f32(), r.rounds);
    for (o, e) in r.outputs.iter().zip(&outputs) {
        let err = o.values.iter().zip(&e.data).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let max = e.data.iter().fold(0f32, |a, b| a.max(b.abs()));
        let am = |v: &[f32]| v.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|x| x.0);
        println!("output {} max err {err:.5} of {max:.3}; argmax {:?} {:?}", o.name, am(&o.values), am(&e.data));
    }
}
