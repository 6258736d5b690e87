//! runtime

pub mod kernels;
pub mod mask;
pub mod share;
