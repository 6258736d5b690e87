//! End-to-end tests, one binary.

mod conformance;
mod private;
mod tidy;
