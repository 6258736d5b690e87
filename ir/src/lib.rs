//! The levels of an mpcc program: neural network, masked program, views, plan.

pub mod channels_last;
pub mod codec;
pub mod files;
pub mod fixed;
pub mod id;
pub mod masked;
pub mod nn;
pub mod plan;
pub mod shape;
pub mod ssa;
#[cfg(test)]
mod ssa_tests;
pub mod text;
pub mod views;
pub mod weights;
pub mod window;

pub use id::{Id, MaskId, ParamId, PortId};
pub use shape::Shape;
pub use window::Window;
