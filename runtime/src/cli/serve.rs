//! `mpcc-party serve`.

use super::{load, print_report};
use mpcc_runtime::serve::{ServeError, serve};
use std::path::PathBuf;

/// Serve runs until stopped
#[derive(clap::Args)]
pub(super) struct Serve {
    /// Configuration file
    #[arg(long, value_name = "TOML")]
    config: PathBuf,
    /// End after that many runs
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut options = load(&self.config)?.serve_options()?;
        options.runs = self.runs;
        match serve(options) {
            Ok(report) => print_report(&report, self.json),
            Err(ServeError::Stopped) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
