//! Finds the nodes at the very end of a model that the receiver can compute in the clear.
//!
//! A node is in the tail if it is one of the operators below and everything that reads it is in the
//! tail too. Revealing what they read tells the receiver no more than a softmax of it would, up to
//! one number per row, and saves their private evaluation.

use std::collections::{BTreeMap, BTreeSet};
use tract_onnx::pb::NodeProto;

/// Operators that may follow a clear operation; those that compute are in `ops::clear`.
const TAIL: [&str; 9] = [
    "Softmax",
    "Sigmoid",
    "ArgMax",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Identity",
    "Cast",
];

/// Indices of the nodes in the tail.
pub(super) fn tail(nodes: &[NodeProto]) -> BTreeSet<usize> {
    let mut readers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut as_parameter = BTreeSet::new();
    for (at, node) in nodes.iter().enumerate() {
        for (slot, input) in node.input.iter().enumerate() {
            readers.entry(input).or_default().push(at);
            if slot > 0 {
                as_parameter.insert(input.as_str());
            }
        }
    }
    let mut tail = BTreeSet::new();
    for (at, node) in nodes.iter().enumerate().rev() {
        let mut outputs = node.output.iter().filter(|o| !o.is_empty()).map(String::as_str);
        let only_tail = |o: &str| {
            let all = readers.get(o).is_none_or(|r| r.iter().all(|n| tail.contains(n)));
            all && !as_parameter.contains(o)
        };
        if TAIL.contains(&node.op_type.as_str()) && outputs.all(only_tail) {
            tail.insert(at);
        }
    }
    tail
}
