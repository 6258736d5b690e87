//! `mpcc-party serve`.

use super::{check_trace_file, load, print_report, write_trace};
use anyhow::ensure;
use mpcc_ir::plan::Role;
use mpcc_runtime::serve::{ServeError, serve};
use mpcc_runtime::trace::Clock;
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
    /// Also write, at the end, when each step of the last runs was executed; `mpcc explain --measured` shows it
    #[arg(long, value_name = "ROLE.json")]
    trace: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut options = load(&self.config)?.serve_options()?;
        options.runs = self.runs;
        ensure!(
            self.trace.is_none() || options.role != Role::Owner,
            "--trace records steps, and the owner has none; ask the other roles"
        );
        check_trace_file(self.trace.as_deref())?;
        options.trace = self.trace.is_some().then(Clock::new);
        match serve(options) {
            Ok(report) => {
                write_trace(self.trace.as_deref(), &report)?;
                print_report(&report, self.json)
            }
            Err(ServeError::Stopped) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
