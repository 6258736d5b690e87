//! Why a model has no number formats.

use mpcc_ir::Id;
use mpcc_ir::nn::{Graph, Range};

/// A tensor whose values fit no format. Every message names the tensor and what the user can do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FormatError {
    /// A secret value was never calibrated.
    #[error("{tensor}: no range is known; run calibration before lowering")]
    NoRange {
        /// The layer that computes it.
        tensor: String,
    },
    /// A calibrated range is not a pair of finite numbers in order.
    #[error(
        "{tensor}: the calibrated range [{lo}, {hi}] is not finite; \
         check the calibration samples for NaN and infinity"
    )]
    BadRange {
        /// The layer that computes it.
        tensor: String,
        /// Least value seen.
        lo: f64,
        /// Greatest value seen.
        hi: f64,
    },
    /// The ring is too small for a value.
    #[error(
        "{tensor}: values in [{lo}, {hi}] need {wanted} bits ({what}), and the ring has {ring}; \
         use --ring 64, fewer margin bits, or calibrate with samples of the usual range"
    )]
    NoRoom {
        /// The layer that computes it.
        tensor: String,
        /// Calibrated least value.
        lo: f64,
        /// Calibrated greatest value.
        hi: f64,
        /// What takes the bits.
        what: &'static str,
        /// Bits that a usable format takes.
        wanted: i32,
        /// Bits there are.
        ring: u8,
    },
    /// A parameter is not a finite number.
    #[error("parameter `{name}` holds a value that is not finite; repair the model")]
    BadParam {
        /// The initializer's name.
        name: String,
    },
    /// The graph is not in the core that can be lowered.
    #[error("{tensor}: `{op}` cannot be lowered: {reason}")]
    Unsupported {
        /// The layer that computes it.
        tensor: String,
        /// The operation's mnemonic.
        op: &'static str,
        /// What is missing and what to do.
        reason: &'static str,
    },
    /// Lowering made a program that breaks the rules of the masked level.
    #[error("lowering produced a broken program (please report this): {0}")]
    Broken(#[from] mpcc_ir::ssa::VerifyError),
    /// A clear run to measure the error failed.
    #[error("cannot measure the error of the number formats: {0}")]
    Measure(String),
}

/// The name that people know a value by: its layer's, else its index.
pub(super) fn tensor_name(graph: &Graph, id: Id) -> String {
    let origin = graph.program[id].origin;
    let name = origin.and_then(|o| graph.program.names.get(o as usize));
    name.map_or_else(|| id.to_string(), |name| format!("`{name}`"))
}

/// The error that a value does not fit.
pub(super) fn no_room(
    graph: &Graph,
    id: Id,
    what: &'static str,
    wanted: i32,
    ring: u8,
) -> FormatError {
    let Range { lo, hi } = graph.program[id].ty.range.unwrap_or(Range { lo: 0.0, hi: 0.0 });
    FormatError::NoRoom { tensor: tensor_name(graph, id), lo, hi, what, wanted, ring }
}
