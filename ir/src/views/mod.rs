//! Between the masked program and the plan: the same program split by who knows what.
//!
//! A masked value becomes a `delta` that all compute parties know and a `mask` whose shares they hold
//! and whose total the dealer knows. Protocols are written at this level, once for all roles; the
//! scheduler then keeps for each role what that role computes.

pub mod cost;
mod eval;
pub mod interp;
mod op;
mod ty;
pub mod verify;

pub use op::Op;
pub use ty::{Elem, Ty, View};

use crate::ssa::{Level, Program};

/// Marker of the views level.
#[derive(Clone, Debug, PartialEq)]
pub struct Views;

impl Level for Views {
    type Op = Op;
    type Ty = Ty;
    const KEYWORD: &'static str = "views";

    fn check(op: &Op, args: &[&Ty], result: &Ty) -> Result<(), String> {
        op.check(args, result)
    }
}

/// A views program; `origin` of a node is the masked node that it implements.
pub type ViewsProgram = Program<Views>;
