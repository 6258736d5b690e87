//! Compiles ONNX models into mpcc plans.

pub mod lower;
pub mod schedule;
