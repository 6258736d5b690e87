//! ONNX to the nn level.
//!
//! Each node is translated by itself, in order; every ONNX value is either a constant, known now, or
//! a tensor of the nn graph with a static shape. Nodes that only see constants vanish. Softmax,
//! Sigmoid and `ArgMax` at the very end go to [`mpcc_ir::nn::Output::clear`]. What cannot be
//! done right is refused, all offending nodes at once.
//!
//! Initializers, and what is computed from them, are parameters of the weights' owner. A single
//! number from a `Constant` node is part of the graph, which is public.

mod constant;
mod cx;
mod error;
mod fold;
mod limits;
mod model;
mod ops;
mod summary;
mod tail;
#[cfg(test)]
mod tests;
mod walk;

pub use error::{ImportError, OpenShape, Refusal};
pub use limits::Limits;
pub use summary::{ModelSummary, summarise};

use mpcc_ir::nn::Graph;
use prost::Message;
use std::path::Path;
use tract_onnx::pb::ModelProto;

/// What the model file leaves open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Extents of inputs by name, for inputs whose extents are open in the file, or whose batch, 1 in the
    /// file, is to be another.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Bounds on what a file may ask for.
    pub limits: Limits,
}

/// Reads an ONNX model from memory.
///
/// # Errors
/// [`ImportError::Unsupported`] lists every node that cannot be run privately; the other variants
/// are about the file. Nothing is computed before the whole model is accepted.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Graph, ImportError> {
    options.limits.check(
        "the size of the file in bytes",
        bytes.len(),
        options.limits.file_bytes,
    )?;
    import_proto(decode(bytes)?, options)
}

/// Reads an ONNX model from a file.
///
/// # Errors
/// As [`import`], and where the file cannot be read.
pub fn import_path(path: &Path, options: &ImportOptions) -> Result<Graph, ImportError> {
    // The bytes are freed before the walk, which holds each weight once more.
    let proto = decode(&read_path(path, &options.limits)?)?;
    import_proto(proto, options)
}

/// The bytes of a model file.
///
/// # Errors
/// The file cannot be read, or is over the limit.
pub fn read_path(path: &Path, limits: &Limits) -> Result<Vec<u8>, ImportError> {
    let fail = |reason| ImportError::Read { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(fail)?.len();
    let limit = limits.file_bytes;
    if size > limit {
        let what = "the size of the file in bytes".to_owned();
        return Err(ImportError::Limit { what, found: size, limit });
    }
    std::fs::read(path).map_err(fail)
}

/// Checks that a model has the inputs of `options.shapes`, in these shapes, and no others. Looks at nothing else, so
/// the model need not be one that can be run privately.
///
/// # Errors
/// Names the input that is missing, too much or of another shape.
pub fn check_inputs(bytes: &[u8], options: &ImportOptions) -> Result<(), ImportError> {
    let graph = decode(bytes)?.graph.ok_or(ImportError::NoGraph)?;
    model::check_inputs(&graph, options)
}

fn decode(bytes: &[u8]) -> Result<ModelProto, ImportError> {
    if bytes.is_empty() {
        return Err(ImportError::Empty);
    }
    ModelProto::decode(bytes).map_err(|reason| ImportError::Protobuf { reason })
}

fn import_proto(proto: ModelProto, options: &ImportOptions) -> Result<Graph, ImportError> {
    walk::walk(model::Model::new(proto, options)?, options)
}
