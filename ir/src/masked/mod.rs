//! Level 2: the masked program. Number formats are decided, and every opening names its mask.

pub mod interp;
mod op;
mod ty;
pub mod verify;

pub use op::Op;
pub use ty::{Kind, Ty};

use crate::ssa::{Level, Program};

/// Marker of the masked level.
#[derive(Clone, Debug, PartialEq)]
pub struct Masked;

impl Level for Masked {
    type Op = Op;
    type Ty = Ty;
    const KEYWORD: &'static str = "program";

    fn check(op: &Op, args: &[&Ty], result: &Ty) -> Result<(), String> {
        op.check(args, result)
    }
}

/// A masked program; `origin` of a node is an index into `names`, the layers of the model.
pub type MaskedProgram = Program<Masked>;
