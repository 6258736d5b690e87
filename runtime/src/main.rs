//! `mpcc-party`: one role of a deployment.

mod cli;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::Cli::parse().execute()
}
