//! Compiles ONNX models to mpcc plans.

pub mod calibrate;
pub mod compile;
pub mod import;
pub mod lower;
pub mod passes;
pub mod protocols;
pub mod schedule;
