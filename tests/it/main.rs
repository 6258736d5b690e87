//! End-to-end tests, one binary.

mod conformance;
mod models;
mod private;
mod tidy;
mod transports;
