//! compiler

pub mod protocols;
