//! `mpcc-party fill`.

use super::{load, print_report};
use mpcc_runtime::serve::serve;
use std::path::PathBuf;

/// Fill the stores of all roles with runs, so that they can serve without the dealer
///
/// Start it at all roles, the client included; P0's number of runs counts.
#[derive(clap::Args)]
pub(super) struct Fill {
    /// Configuration file
    #[arg(long, value_name = "TOML")]
    config: PathBuf,
    /// Number of runs to store
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

impl Fill {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut options = load(&self.config)?.serve_options()?;
        (options.fill, options.stored) = (Some(self.runs), false);
        print_report(&serve(options)?, self.json)
    }
}
