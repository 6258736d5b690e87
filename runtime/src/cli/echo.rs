//! `mpcc-party echo`.

use super::on_signals;
use anyhow::Context as _;
use mpcc_runtime::net::probe;
use std::io::Write as _;
use std::net::TcpListener;

/// Answer `mpcc profile link`, which measures the link to this host
///
/// Prints where it listens and answers one probe at a time, anyone's, until stopped: stop it when the links are known.
#[derive(clap::Args)]
pub(super) struct Echo {
    /// Where to listen, such as 0.0.0.0:7009; port 0 takes any
    #[arg(long, value_name = "ADDRESS")]
    listen: String,
}

impl Echo {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self { listen } = self;
        let listener = TcpListener::bind(&listen).with_context(|| {
            format!("cannot listen at {listen}; give HOST:PORT of this host with a free port")
        })?;
        on_signals(|| std::process::exit(0))?;
        println!("listening at {}", listener.local_addr()?);
        std::io::stdout().flush()?;
        probe::serve(&listener, |line| eprintln!("{line}"))
    }
}
