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
mod tail;
#[cfg(test)]
mod tests;
mod walk;

pub use error::{ImportError, OpenShape, Refusal};
pub use limits::Limits;

use mpcc_ir::nn::Graph;
use prost::Message;
use std::path::Path;
use tract_onnx::pb::ModelProto;

/// What the model file leaves open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Extents of inputs by name, for inputs whose extents are open in the file.
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
    let fail = |source| ImportError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(fail)?.len();
    let limit = options.limits.file_bytes;
    if size > limit {
        let what = "the size of the file in bytes".to_owned();
        return Err(ImportError::Limit { what, found: size, limit });
    }
    // The bytes are freed before the walk, which holds each weight once more.
    let proto = decode(&std::fs::read(path).map_err(fail)?)?;
    import_proto(proto, options)
}

fn decode(bytes: &[u8]) -> Result<ModelProto, ImportError> {
    ModelProto::decode(bytes).map_err(|source| ImportError::Protobuf { source })
}

fn import_proto(proto: ModelProto, options: &ImportOptions) -> Result<Graph, ImportError> {
    walk::walk(model::Model::new(proto, options)?, options)
}
