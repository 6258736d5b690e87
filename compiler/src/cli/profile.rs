//! `mpcc profile`: what this host can do, for predictions.

use super::note;
use anyhow::{Context as _, ensure};
use mpcc_compiler::cost::{self, Link, measure};
use mpcc_ir::files::{cannot_write, check_writable, write_atomically};
use mpcc_ir::plan as ir;
use mpcc_runtime::net::probe::{self, AfterIdle, Measured};
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Measure this host or a link, for predicted times that fit them
#[derive(clap::Args)]
pub(crate) struct Profile {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Machine(Machine),
    Link(LinkTo),
    Plan(Plan),
}

/// Measure the kernels on one thread, in less than a minute
#[derive(clap::Args)]
struct Machine {
    /// Where the profile goes; stdout if absent
    #[arg(short, long, value_name = "MACHINE.toml")]
    output: Option<PathBuf>,
}

/// Measure the link to another host, where `mpcc-party echo` answers, in some seconds
#[derive(clap::Args)]
struct LinkTo {
    /// Address that `mpcc-party echo` prints, as this host reaches it
    #[arg(value_name = "HOST:PORT")]
    address: String,
    /// Where the profile goes, for --link of other commands; stdout if absent
    #[arg(short, long, value_name = "LINK.toml")]
    output: Option<PathBuf>,
    /// Print what was measured as one JSON object
    #[arg(long)]
    json: bool,
}

/// Time the steps of a plan one by one and compare with what a profile predicts
#[derive(clap::Args)]
struct Plan {
    /// Plan file
    plan: PathBuf,
    /// Profile of this host; the built-in one if absent
    #[arg(long, value_name = "MACHINE.toml")]
    machine: Option<PathBuf>,
}

impl Profile {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Machine(machine) => machine.run(),
            What::Link(link) => link.run(),
            What::Plan(plan) => plan.run(),
        }
    }
}

/// Refuses a place for a profile of `what` where it could not be written, or something else is, before the measurement.
fn check_output(path: &Path, may_replace: fn(&Path) -> bool, what: &str) -> anyhow::Result<()> {
    ensure!(
        path.is_dir() || may_replace(path),
        "`{}` is something else than a profile of a {what}; give -o a name that is free",
        path.display()
    );
    check_writable(path).with_context(|| cannot_write(path))
}

fn write(path: &Path, profile: &str) -> anyhow::Result<()> {
    write_atomically(path, |file| file.write_all(profile.as_bytes()))
        .with_context(|| cannot_write(path))
}

impl Plan {
    fn run(self) -> anyhow::Result<()> {
        let (plan, _) = super::read_plan(&self.plan)?;
        let machine = self
            .machine
            .as_deref()
            .map_or_else(|| Ok(cost::Machine::default()), cost::Machine::read)?;
        let plan = Arc::new(plan);
        let mut rows = vec![["role", "phase", "steps", "predicted", "measured"].map(String::from)];
        for role in plan.roles.iter().map(|role| role.role) {
            for phase in [ir::Phase::Offline, ir::Phase::Online] {
                let kinds = measure::compare(&plan, role, phase, &machine)?;
                rows.extend(kinds.into_iter().map(|(kind, [predicted, measured])| {
                    let ms = |us: f64| format!("{:.2} ms", us / 1e3);
                    let (predicted, measured) = (ms(predicted), ms(measured));
                    [role.to_string(), phase.to_string(), kind.to_owned(), predicted, measured]
                }));
            }
        }
        let mut out = String::new();
        super::table(&mut out, &rows);
        super::print(&out)
    }
}

impl LinkTo {
    fn run(self) -> anyhow::Result<()> {
        let Self { address, output, json } = self;
        if let Some(path) = &output {
            check_output(path, Link::may_replace, "link")?;
            let name = path.to_str().filter(|name| name.parse::<Link>().is_ok());
            ensure!(
                name.is_none(),
                "--link {} is not a file but a link of that name; choose another name",
                path.display()
            );
        }
        let progress = super::Progress::new();
        let measured = probe::measure(&address, |what| progress.stage(what));
        progress.finish();
        let measured = measured?;
        if measured.after_idle.iter().any(|after| matches!(after, AfterIdle::Window(_))) {
            note(
                "after a pause TCP starts slowly here; `sysctl net.ipv4.tcp_slow_start_after_idle=0` on both hosts avoids that",
            );
        }
        let link = Link::measured(&address, &measured);
        let text = link.to_toml()?;
        if let Some(path) = &output {
            write(path, &text)?;
        }
        match (json, output) {
            (true, _) => super::print_json(&describe(&link, &measured)),
            (false, None) => super::print(&text),
            (false, Some(_)) => super::print(&summary(&link, &measured)),
        }
    }
}

/// For scripts: the profile, and each direction as it was measured.
fn describe(link: &Link, measured: &Measured) -> serde_json::Value {
    let way = |at: usize| {
        let window = match measured.after_idle[at] {
            AfterIdle::Unknown | AfterIdle::Open => None,
            AfterIdle::Window(bytes) => Some(bytes),
        };
        let rate = payload_mbit_per_s(measured, at);
        json!({ "payload_mbit_per_s": rate, "after_idle_bytes": window })
    };
    let rtt_ms = measured.rtt_us / 1e3;
    json!({ "profile": link, "rtt_ms": rtt_ms, "to_peer": way(0), "from_peer": way(1) })
}

fn summary(link: &Link, measured: &Measured) -> String {
    let mut rows = vec![["", "payload", "after a pause"].map(String::from)];
    for (at, way) in ["to the peer", "from the peer"].into_iter().enumerate() {
        let rate = format!("{:.1} Mbit/s", payload_mbit_per_s(measured, at));
        let burst = match measured.after_idle[at] {
            AfterIdle::Unknown => "not measured: the round trip is too short to tell".to_owned(),
            AfterIdle::Open => "at full rate".to_owned(),
            AfterIdle::Window(bytes) => format!("{} at once", super::megabytes(bytes)),
        };
        rows.push([way.to_owned(), rate, burst]);
    }
    let mut out = format!("round trip {} ms\n", link.rtt_ms);
    super::table(&mut out, &rows);
    out
}

fn payload_mbit_per_s(measured: &Measured, at: usize) -> f64 {
    measured.bytes_per_s[at] * 8.0 / 1e6
}

impl Machine {
    fn run(self) -> anyhow::Result<()> {
        let Self { output } = self;
        if let Some(path) = &output {
            check_output(path, cost::Machine::may_replace, "machine")?;
        }
        note("measuring; other work on this host makes the profile worse");
        let text = measure::machine()?.to_toml()?;
        match output {
            Some(path) => write(&path, &text),
            None => super::print(&text),
        }
    }
}
