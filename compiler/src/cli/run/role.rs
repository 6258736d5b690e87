//! One role of `mpcc run` as a process of its own.
//!
//! It prints that it is [`Ready`], serves, and prints its report: two lines of JSON on stdout.

use super::children::Ready;
use crate::cli::{print, read_plan};
use anyhow::Context as _;
use mpcc_ir::plan::Role;
use mpcc_ir::weights::Weights;
use mpcc_runtime::error::in_one_line;
use mpcc_runtime::serve::{ServeOptions, StopHandle, serve};
use mpcc_runtime::trace::Clock;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One role of a local run
#[derive(clap::Args)]
pub(crate) struct RoleProcess {
    /// P0, P1, ..., dealer or owner
    #[arg(long)]
    role: Role,
    #[arg(long)]
    plan: PathBuf,
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Addresses of the roles before this one
    #[arg(long = "peer", value_name = "ROLE=HOST:PORT", value_parser = parse_peer)]
    peers: Vec<(Role, String)>,
    #[arg(long)]
    state: PathBuf,
    #[arg(long)]
    runs: u64,
    #[arg(long)]
    threads: usize,
    /// Record when each step is executed, and leave it in this file
    #[arg(long)]
    trace: Option<PathBuf>,
}

impl RoleProcess {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let trace = self.trace.clone();
        let (options, ready): (_, Ready) = match self.prepare() {
            Ok((options, address)) => (Some(options), Ok(address)),
            Err(error) => (None, Err(in_one_line(error.chain()))),
        };
        print(&serde_json::to_string(&ready)?)?;
        // Whoever started this process reports why it is not ready.
        let Some(options) = options else { return Ok(()) };
        let report = serve(options)?;
        // Not part of the report's line: it has a record for every step.
        if let Some((path, trace)) = trace.zip(report.trace.as_ref()) {
            trace.write(&path)?;
        }
        print(&serde_json::to_string(&report)?)
    }

    /// Reads the files and opens the port; with the options, the port's address.
    fn prepare(self) -> anyhow::Result<(ServeOptions, String)> {
        let (plan, plan_digest) = read_plan(&self.plan)?;
        let weights = match &self.weights {
            Some(path) => Some(Arc::new(Weights::read(path, &plan)?)),
            None => None,
        };
        let listener = match self.role {
            Role::Party(_) | Role::Dealer => {
                Some(TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?)
            }
            Role::Owner | Role::Client => None,
        };
        let address = match &listener {
            Some(listener) => listener.local_addr()?.to_string(),
            None => String::new(),
        };
        let options = ServeOptions {
            role: self.role,
            plan: Arc::new(plan),
            plan_digest,
            weights,
            listener,
            peers: self.peers.into_iter().collect(),
            state_dir: self.state,
            threads: self.threads,
            runs: Some(self.runs),
            stored: false,
            fill: None,
            connect_within: Duration::from_secs(60),
            stall: Some(Duration::from_secs(600)),
            trace: self.trace.is_some().then(Clock::new),
            log: Arc::new(|_| ()),
            stop: StopHandle::default(),
        };
        Ok((options, address))
    }
}

fn parse_peer(text: &str) -> Result<(Role, String), String> {
    let (role, address) = text.split_once('=').ok_or("write it as ROLE=HOST:PORT")?;
    Ok((role.parse()?, address.to_owned()))
}
