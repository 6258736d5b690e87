//! Steps of a role over buffers in its arenas.

use super::Role;
use crate::text::ops;
use crate::window::Window;
use serde::{Deserialize, Serialize};

/// Which arena a buffer lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Region {
    /// Kept from setup on, read by every run.
    Deploy,
    /// One per run in flight.
    Run,
}

/// A range of bytes in an arena. Buffers start at multiples of 64; spans of words at multiples of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Which arena.
    pub region: Region,
    /// First byte.
    pub at: u64,
    /// Number of bytes.
    pub len: u64,
}

/// What one role does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolePlan {
    /// Who.
    pub role: Role,
    /// Size of the arena that lasts as long as the deployment, in bytes.
    pub deploy_bytes: u64,
    /// Size of one run's arena, in bytes.
    pub run_bytes: u64,
    /// Steps once per deployment.
    pub setup: Vec<Step>,
    /// Steps of a run that need no input.
    pub offline: Vec<Step>,
    /// Steps of a run from the input on.
    pub online: Vec<Step>,
}

impl RolePlan {
    /// The steps of `phase`.
    pub fn steps(&self, phase: super::Phase) -> &[Step] {
        match phase {
            super::Phase::Setup => &self.setup,
            super::Phase::Offline => &self.offline,
            super::Phase::Online => &self.online,
        }
    }
}

/// One unit of work. Steps of a phase are listed in an order that can be executed one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What to do.
    pub op: StepOp,
    /// Earlier steps of the same phase that must be done before: those that write what this one
    /// reads, and those that use what this one overwrites.
    pub after: Vec<u32>,
    /// Ready steps run in order of priority, lowest first.
    pub priority: u32,
    /// Index into the plan's layers.
    pub layer: u32,
    /// Start and end in microseconds from the start of the phase, as the cost model predicts.
    pub predicted_us: (f64, f64),
}

impl Step {
    /// A step that waits for nothing, of the first layer, without predicted times.
    pub fn new(op: StepOp) -> Self {
        Self { op, after: Vec::new(), priority: 0, layer: 0, predicted_us: (0.0, 0.0) }
    }
}

ops! {
    /// What a step does. Words are the plan's ring words; buffers are row-major.
    pub enum StepOp {
        /// Runs an element-wise program over `count` elements.
        Map = "map" {
            /// Index into the plan's programs.
            program: u32,
            /// Address of the first element, for masks and for operands that repeat.
            first: u64,
            /// Number of elements.
            count: u64,
            /// Addresses of the mask values that the program's slots stand for.
            values: Vec<u32>,
            /// One span per operand of the program, each starting at element `first`
            /// (at the start of the table for [`super::OperandKind::Table`]).
            spans: Vec<Span>,
        },
        /// `out = conv(x, w)`: `x[n, h, w, c]`, `w[kh, kw, c/groups, o]`, `out[n, oh, ow, o]`.
        Conv = "conv" {
            /// Geometry.
            window: Window,
            /// Number of groups.
            groups: usize,
            /// Extents of `x`.
            x_shape: [usize; 4],
            /// Output channels.
            out_channels: usize,
            /// Image.
            x: Span,
            /// Weight.
            w: Span,
            /// Result.
            out: Span,
        },
        /// `out = a b` for each of `batch` matrices: `a[m, k]`, `b[k, n]`.
        MatMul = "matmul" {
            /// Number of products.
            batch: usize,
            /// Rows of `a`, columns of `a`, columns of `b`.
            mkn: [usize; 3],
            /// Whether one `b` serves all products.
            shared_b: bool,
            /// Left.
            a: Span,
            /// Right.
            b: Span,
            /// Result.
            out: Span,
        },
        /// Copies words between strided views of two buffers.
        Strided = "strided" {
            /// Extents of the copied block.
            shape: Vec<usize>,
            /// Source buffer.
            src: Span,
            /// First source word.
            src_offset: usize,
            /// Source strides in words; zero repeats, negative runs backwards.
            src_strides: Vec<i64>,
            /// Destination buffer.
            dst: Span,
            /// First destination word.
            dst_offset: usize,
            /// Destination strides in words, positive.
            dst_strides: Vec<i64>,
        },
        /// Sets every word.
        Fill = "fill" {
            /// Destination.
            dst: Span,
            /// The word.
            value: u64,
        },
        /// `dst[o, i, j] = src[o, indices[i], j]`.
        Gather = "gather" {
            /// Number of outer blocks.
            outer: usize,
            /// Extent of the source axis.
            extent: usize,
            /// Words per entry.
            inner: usize,
            /// Source index of each result index.
            indices: Vec<u32>,
            /// Source.
            src: Span,
            /// Destination.
            dst: Span,
        },
        /// `dst[o, j] = sum over i of src[o, i, j]`.
        Sum = "sum" {
            /// Number of outer blocks.
            outer: usize,
            /// Terms of each sum.
            terms: usize,
            /// Words per term.
            inner: usize,
            /// Source.
            src: Span,
            /// Destination.
            dst: Span,
        },
        /// Copies a parameter that this role knows into its arena.
        Load = "load" {
            /// Index into the plan's params.
            param: u32,
            /// Destination.
            dst: Span,
        },
        /// Hands a message to the transport.
        Send = "send" {
            /// Message id.
            message: u32,
            /// Payload.
            src: Span,
        },
        /// Done when the message has arrived and its payload is in place.
        Receive = "receive" {
            /// Message id.
            message: u32,
            /// Where the payload goes.
            dst: Span,
        },
    }
}
