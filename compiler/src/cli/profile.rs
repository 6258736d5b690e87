//! `mpcc profile`: what this host can do, for predictions.

use super::note;
use anyhow::Context as _;
use mpcc_compiler::cost::{self, measure};
use mpcc_ir::plan as ir;
use std::path::PathBuf;
use std::sync::Arc;

/// Measure this host, for predicted times that fit it
#[derive(clap::Args)]
pub(crate) struct Profile {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Machine(Machine),
    Plan(Plan),
}

/// Measure the kernels on one thread, in a few seconds
#[derive(clap::Args)]
struct Machine {
    /// Where the profile goes; stdout if absent
    #[arg(short, long, value_name = "MACHINE.toml")]
    output: Option<PathBuf>,
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
            What::Plan(plan) => plan.run(),
        }
    }
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

impl Machine {
    fn run(self) -> anyhow::Result<()> {
        let Self { output } = self;
        note("measuring; other work on this host makes the profile worse");
        let text = measure::machine()?.to_toml()?;
        match output {
            Some(path) => std::fs::write(&path, text)
                .with_context(|| format!("cannot write `{}`", path.display())),
            None => super::print(&text),
        }
    }
}
