//! Compiles ONNX models to mpcc plans.

pub mod calibrate;
pub mod clear;
pub mod compile;
pub mod cost;
pub mod import;
pub mod lower;
pub mod masked_passes;
pub mod passes;
pub mod protocols;
pub mod schedule;
