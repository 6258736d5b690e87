//! `mpcc inspect`: what is in a model, and whether it can be run privately.

use anyhow::Context as _;
use mpcc_compiler::import::{
    ImportError, ImportOptions, Limits, ModelSummary, import, read_path, summarise,
};
use mpcc_ir::nn::Graph;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Show what is in an ONNX model and whether it can be run privately
#[derive(clap::Args)]
pub(crate) struct Inspect {
    /// ONNX file
    model: PathBuf,
    /// Shape of an input whose dimensions the file leaves open
    #[arg(long = "shape", value_name = "NAME=1,3,224,224", value_parser = super::model_args::parse_shape)]
    shapes: Vec<(String, Vec<usize>)>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bytes = read_path(&self.model, &Limits::default())?;
        let fail = || format!("cannot inspect `{}`", self.model.display());
        let summary = summarise(&bytes).with_context(fail)?;
        let options = ImportOptions { shapes: self.shapes, ..ImportOptions::default() };
        let imported = import(&bytes, &options);
        // These are about the command line, not about the model.
        if let Err(ImportError::NoSuchInput { .. } | ImportError::ShapeConflict { .. }) = imported {
            imported.with_context(fail)?;
            return Ok(());
        }
        if self.json {
            super::print_json(&as_json(&summary, imported.as_ref()))
        } else {
            super::print(&as_text(&summary, imported.as_ref()))
        }
    }
}

/// Names and shapes of the inputs and outputs of an imported graph.
fn ports(graph: &Graph) -> [Vec<(String, String)>; 2] {
    let shape = |value| graph.program[value].ty.shape.to_string();
    let inputs = graph.inputs.iter().map(|i| (i.name.clone(), shape(i.value))).collect();
    [inputs, graph.outputs.iter().map(|o| (o.name.clone(), shape(o.value))).collect()]
}

fn as_json(summary: &ModelSummary, imported: Result<&Graph, &ImportError>) -> Value {
    let mut object = json!({
        "producer": summary.producer,
        "opset": summary.opset,
        "operators": summary.operators,
        "parameters": summary.parameters,
        "runs_privately": imported.is_ok(),
    });
    match imported {
        Ok(graph) => {
            let named = |ports: &[(String, String)]| -> Value {
                ports.iter().map(|(name, shape)| json!({ "name": name, "shape": shape })).collect()
            };
            let [inputs, outputs] = ports(graph);
            object["inputs"] = named(&inputs);
            object["outputs"] = named(&outputs);
        }
        Err(error) => {
            object["inputs"] = json!(summary.inputs);
            object["outputs"] = json!(summary.outputs);
            object["reason"] = json!(error.to_string());
        }
    }
    object
}

fn as_text(summary: &ModelSummary, imported: Result<&Graph, &ImportError>) -> String {
    let mut out = String::new();
    let opset = summary.opset.map_or("unknown".to_owned(), |v| v.to_string());
    let _ = writeln!(out, "producer    {}", summary.producer);
    let _ = writeln!(out, "opset       {opset}");
    let _ = writeln!(out, "parameters  {}", summary.parameters);
    let counts = summary.operators.iter().map(|(op, count)| format!("{op} {count}"));
    let _ = writeln!(out, "operators   {}", counts.collect::<Vec<_>>().join(", "));
    match imported {
        Ok(graph) => {
            let [inputs, outputs] = ports(graph);
            for (what, ports) in [("input ", inputs), ("output", outputs)] {
                for (name, shape) in ports {
                    let _ = writeln!(out, "{what}      {name} {shape}");
                }
            }
            let _ = writeln!(out, "runs privately: yes");
        }
        Err(error) => {
            let _ = writeln!(out, "runs privately: no\n{error}");
        }
    }
    out
}
