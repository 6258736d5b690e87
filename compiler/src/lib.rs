//! Compiles ONNX models into mpcc plans.

pub mod calibrate;
pub mod lower;
pub mod passes;
pub mod schedule;
