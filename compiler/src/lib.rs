//! Compiles ONNX models to mpcc plans.

pub mod import;
