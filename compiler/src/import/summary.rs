//! What is in a model file, for `mpcc inspect`: also for models that cannot be run privately.

use super::{ImportError, decode};
use std::collections::BTreeMap;

/// The contents of a model file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSummary {
    /// The program that wrote the file.
    pub producer: String,
    /// Operator set of the standard domain, if the file says one.
    pub opset: Option<i64>,
    /// Names of the inputs.
    pub inputs: Vec<String>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Number of nodes by operator.
    pub operators: BTreeMap<String, usize>,
    /// Number of stored parameters.
    pub parameters: u64,
}

/// Reads what is in a model, without checking that it can be run.
///
/// # Errors
/// The bytes are not an ONNX file, or hold no graph.
pub fn summarise(bytes: &[u8]) -> Result<ModelSummary, ImportError> {
    let proto = decode(bytes)?;
    let standard = proto.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
    let opset = standard.map(|o| o.version);
    let producer = format!("{} {}", proto.producer_name, proto.producer_version).trim().to_owned();
    let graph = proto.graph.ok_or(ImportError::NoGraph)?;
    let mut operators = BTreeMap::new();
    for node in &graph.node {
        *operators.entry(node.op_type.clone()).or_insert(0) += 1;
    }
    let elements =
        |dims: &[i64]| dims.iter().map(|d| (*d).max(0) as u64).fold(1, u64::saturating_mul);
    let stored = |name: &str| graph.initializer.iter().any(|t| t.name == name);
    Ok(ModelSummary {
        producer: if producer.is_empty() { "unknown".to_owned() } else { producer },
        opset,
        inputs: graph.input.iter().map(|i| i.name.clone()).filter(|n| !stored(n)).collect(),
        outputs: graph.output.iter().map(|o| o.name.clone()).collect(),
        operators,
        parameters: graph
            .initializer
            .iter()
            .map(|t| elements(&t.dims))
            .fold(0, u64::saturating_add),
    })
}
