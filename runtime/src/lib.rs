//! Runs compiled mpcc plans: ring kernels, masks by address, roles as state machines, transport.
//!
//! A role is a plan's steps ([`mpcc_ir::plan`]) over an [`arena`], run by an [`executor`] that is fed with
//! messages and never touches a socket; a [`pool`] has the threads for all runs in flight. [`sim`] runs all roles in one process.

pub mod arena;
pub mod check;
pub mod clear;
pub mod client;
pub mod config;
pub mod cpu_time;
pub mod error;
pub mod executor;
pub mod kernels;
pub mod ledger;
pub mod mailbox;
pub mod mask;
pub mod measure;
pub mod net;
pub mod owner;
pub mod packet;
pub mod packing;
pub mod params;
pub mod payload;
pub mod pool;
mod priority;
pub mod role;
pub mod schedule;
pub mod serve;
pub mod share;
pub mod sim;
pub mod store;
pub mod tensors;
pub mod trace;

pub use client::Output;
pub use error::{PeerError, PlanError, RunError};
