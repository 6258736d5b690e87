//! Compiles ONNX models to mpcc plans.

pub mod schedule;
//! Compiles ONNX models into mpcc plans.

pub mod lower;
