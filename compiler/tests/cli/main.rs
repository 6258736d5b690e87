//! `mpcc` as people run it: what it says, its exit codes, and what it leaves in the folder.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod browser;
mod data;
mod help;
mod links;
mod models;
mod outputs;
mod plans;
mod site;
mod timeline;
mod verbs;
