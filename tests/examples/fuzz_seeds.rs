//! Writes a seed corpus for each target in `fuzz/`: real bytes, made from the models of the tree.
//!
//!     cargo run --release -p mpcc-tests --example fuzz_seeds -- fuzz/corpus

use mpcc_compiler::calibrate::calibrate;
use mpcc_compiler::compile::{CompileOptions, compile};
use mpcc_compiler::import::{ImportOptions, import};
use mpcc_compiler::lower::{LowerOptions, lower};
use mpcc_compiler::protocols::{ExpandOptions, expand};
use mpcc_compiler::{masked_passes, passes};
use mpcc_ir::codec;
use mpcc_ir::plan::{Phase, Role, WeightsMode};
use mpcc_runtime::net::frame::{Frame, Header, Kind};
use mpcc_runtime::net::handshake::{Hello, Mode, VERSION};
use mpcc_tests::conformance::cases;
use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

/// Bytes of a plan file before its payload: magic, version, digest.
const PLAN_HEADER: usize = 8 + 4 + 32;
/// Larger seeds slow a target down and show nothing new.
const LARGEST: usize = 16 << 10;

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let corpus = std::env::args().nth(1).ok_or("say where to write")?;
    let seeds = Seeds(PathBuf::from(corpus));
    seeds.frames()?;
    seeds.weights()?;
    let mut operators = BTreeSet::new();
    for case in cases()?.iter().filter(|case| case.model.len() <= LARGEST) {
        seeds.write("importer", &case.name, &case.model)?;
        // One text for each operator.
        if !operators.contains(&case.op) && seeds.programs(&case.name, &case.model).is_ok() {
            operators.insert(case.op.clone());
        }
    }
    for model in ["cancer-logistic", "cancer-mlp"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/real").join(model);
        let bytes = std::fs::read(path.join("model.onnx"))?;
        seeds.write("array", model, &std::fs::read(path.join("output_0.npy"))?)?;
        seeds.write("importer", model, &bytes)?;
        seeds.programs(model, &bytes)?;
        for weights in [WeightsMode::Party0, WeightsMode::Owner, WeightsMode::Public] {
            let options = CompileOptions { weights, chunks: Some(1), ..CompileOptions::default() };
            let plan = compile(&bytes, &options, &mut |_| ())?.plan;
            let name = format!("{model}-{weights}");
            seeds.write("plan_file", &name, &codec::encode(&plan)[PLAN_HEADER..])?;
            seeds.write("plan_text", &name, plan.to_string().as_bytes())?;
        }
    }
    Ok(())
}

/// The corpus's folder.
struct Seeds(PathBuf);

impl Seeds {
    fn write(&self, target: &str, name: &str, bytes: &[u8]) -> Done {
        if bytes.len() > LARGEST {
            return Ok(());
        }
        let folder = self.0.join(target);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join(name), bytes)?)
    }

    /// A hello between each pair of kinds of role, and a frame of each kind.
    fn frames(&self) -> Done {
        let (plan, party) = ([7; 32], Role::Party(1));
        for from in [party, Role::Dealer, Role::Owner, Role::Client] {
            let modes = [Mode::Live, Mode::Fill, Mode::Stored([3; 16])];
            for (mode, word) in modes.into_iter().zip(["live", "fill", "stored"]) {
                let to = (from != party).then_some(party);
                let hello = Hello { version: VERSION, plan, from, to, mode, next_run: 5 };
                let frame = Frame::control(Kind::Hello, 0, hello.encode());
                let bytes = [&frame.header.bytes()[..], &frame.payload].concat();
                self.write("frame", &format!("hello-{from}-{word}"), &bytes)?;
            }
        }
        let (kind, phase) = (Kind::Data, Phase::Online);
        let header = Header { len: 4, kind, phase, message: 9, depth: 2, run: 1 };
        self.write("frame", "data", &[&header.bytes()[..], &[1, 2, 3, 4]].concat())
    }

    /// The file that belongs to the plan in `fuzz_targets/weights_file.rs`, without its digest.
    fn weights(&self) -> Done {
        let mut bytes = b"mpccwght".to_vec();
        for word in [1_u32, 32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(3_u64.to_le_bytes());
        for length in [8_u64, 0, 12] {
            bytes.extend(length.to_le_bytes());
            bytes.extend((0..length).map(|at| at as u8));
        }
        self.write("weights_file", "three", &bytes)
    }

    /// A model at the nn, masked and views levels.
    fn programs(&self, name: &str, bytes: &[u8]) -> Done {
        let mut graph = import(bytes, &ImportOptions::default())?;
        let text = graph.program.to_string();
        self.write("program_text", &format!("{name}-imported"), text.as_bytes())?;
        passes::run_all(&mut graph);
        calibrate(&mut graph, &[])?;
        let text = graph.program.to_string();
        self.write("program_text", &format!("{name}-nn"), text.as_bytes())?;
        let mut masked = lower(&graph, &LowerOptions::default())?.program;
        masked_passes::run_all(&mut masked);
        self.write("program_text", &format!("{name}-masked"), masked.to_string().as_bytes())?;
        let views = expand(&masked, &ExpandOptions::default());
        self.write("program_text", &format!("{name}-views"), views.to_string().as_bytes())
    }
}
