//! Writes a reference model as an ONNX file, and a sample input beside it.
//!
//!     cargo run --release --bin reference-model -- resnet50 resnet50.onnx resnet50.npy

use mpcc_models::{Model, full, small};
use npyz::WriterBuilder as _;
use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

/// Seed of weights and samples.
const SEED: u64 = 1;

/// A name and what builds the model.
type Entry = (&'static str, fn() -> Model);

const MODELS: [Entry; 7] = [
    ("lenet", || small::lenet(SEED)),
    ("small-resnet", || small::small_resnet(SEED)),
    ("small-mobilenet", || small::small_mobilenet(SEED)),
    ("small-vgg", || small::small_vgg(SEED)),
    ("resnet50", || full::resnet50(SEED)),
    ("vgg16", || full::vgg16(SEED)),
    ("relu-1m", || full::relu(1_000_000)),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, onnx, npy] = &arguments[..] else {
        return Err("give a name, an .onnx file and an .npy file".into());
    };
    let Some((_, build)) = MODELS.iter().find(|(known, _)| known == name) else {
        let names: Vec<&str> = MODELS.iter().map(|(known, _)| *known).collect();
        return Err(format!("no model is called `{name}`; there are {}", names.join(", ")).into());
    };
    let model = build();
    std::fs::write(onnx, &model.onnx)?;
    let shape: Vec<u64> = model.input.iter().map(|&extent| extent as u64).collect();
    let file = BufWriter::new(File::create(npy)?);
    let mut writer =
        npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
    writer.extend(model.sample(SEED))?;
    writer.finish()?;
    Ok(())
}
