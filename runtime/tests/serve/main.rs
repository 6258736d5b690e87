//! Roles as they run in production, over TCP on this machine, one thread per role.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod caller;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod refusals;
mod runs;
mod town;
mod traces;
