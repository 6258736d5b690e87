//! Bounds on what a model file may ask for, so that a hostile file is refused and not obeyed.

use super::error::ImportError;

/// Bounds on what a model file may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the file, in bytes.
    pub file_bytes: u64,
    /// Nodes of the ONNX graph.
    pub nodes: u64,
    /// Elements of one tensor.
    pub tensor_elements: u64,
    /// Elements of all tensors of the graph together.
    pub total_elements: u64,
    /// Elements that are held in memory: of all parameters, and of all constants that nodes compute.
    pub stored_elements: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 1 << 31,
            nodes: 1 << 16,
            tensor_elements: 1 << 28,
            total_elements: 1 << 33,
            stored_elements: 1 << 29,
        }
    }
}

impl Limits {
    pub(super) fn check(&self, what: &str, found: usize, limit: u64) -> Result<(), ImportError> {
        let found = found as u64;
        if found > limit {
            return Err(ImportError::Limit { what: what.to_owned(), found, limit });
        }
        Ok(())
    }
}

/// Most axes that a tensor may have.
pub(super) const MAX_RANK: usize = 12;
/// Largest kernel extent, stride or dilation: products of two stay far from overflow.
pub(super) const MAX_TAP: i64 = 1 << 16;
/// Largest padding and extent.
pub(super) const MAX_EXTENT: i64 = 1 << 28;
