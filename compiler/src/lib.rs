//! Compiles ONNX models to mpcc plans.

pub mod calibrate;
pub mod passes;
