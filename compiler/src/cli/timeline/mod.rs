//! See a run: when each role computed, sent and waited, measured by the roles or predicted by the plan.
//!
//! [`history`] has the common form of both, [`queued`] tells waits of sends from work, [`chrome`] writes it as trace
//! events, [`page`] as a page of its own.

mod chrome;
mod describe;
mod history;
mod page;
mod queued;

use super::replaced::Named;
use anyhow::{Context as _, bail};
use history::History;
use mpcc_ir::files::{cannot_write, check_writable, write_atomically};
use mpcc_ir::plan::Plan;
use mpcc_runtime::trace::Trace;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Files that show when a run did what
#[derive(clap::Args)]
pub(crate) struct TraceFiles {
    /// When each step of the last run, and of those in flight with it, was executed, as trace events for Perfetto or `chrome://tracing`
    #[arg(long, value_name = "OUT.json")]
    trace: Option<PathBuf>,
    /// The same as a page: compute lanes, wire and waits of each role, beside what the plan predicts
    #[arg(long, value_name = "OUT.html")]
    timeline: Option<PathBuf>,
}

impl TraceFiles {
    /// Whether times are wanted at all.
    pub(crate) fn wanted(&self) -> bool {
        self.trace.is_some() || self.timeline.is_some()
    }

    /// The files, with the options that name them.
    pub(crate) fn named(&self) -> Vec<Named<'_>> {
        let trace = self.trace.iter().map(|path| ("--trace", path.as_path()));
        trace.chain(self.timeline.iter().map(|path| ("--timeline", path.as_path()))).collect()
    }

    /// Refuses, before the run, files that cannot be written after it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.trace.iter().chain(&self.timeline).try_for_each(|path| check_file(path))
    }

    /// Writes what is wanted.
    pub(crate) fn write(&self, plan: &Plan, traces: &[Trace]) -> anyhow::Result<()> {
        if !self.wanted() {
            return Ok(());
        }
        let measured = History::measured(plan, traces).context("no role kept a trace")?;
        if let Some(path) = &self.trace {
            write_file(path, &serde_json::to_string(&chrome::events(plan, &measured))?)?;
        }
        if let Some(path) = &self.timeline {
            let predicted = History::predicted(plan);
            write_file(path, &page::html(plan, Some(&measured), predicted.as_ref())?)?;
        }
        Ok(())
    }
}

/// Writes the page of what a plan predicts, beside what roles have recorded; refuses it where there is neither.
pub(crate) fn write_page(
    file: &Path,
    plan: &Plan,
    traces: &[Trace],
    path: &Path,
) -> anyhow::Result<()> {
    check_file(path)?;
    let measured = History::measured(plan, traces);
    if measured.is_none() && !traces.is_empty() {
        bail!("the traces have no run; record one with `mpcc-party serve --trace`");
    }
    let predicted = History::predicted(plan);
    if measured.is_none() && predicted.is_none() {
        let file = file.display();
        bail!(
            "`{file}` has no predicted times; measure them: mpcc run {file} --timeline {}",
            path.display()
        );
    }
    write_file(path, &page::html(plan, measured.as_ref(), predicted.as_ref())?)
}

fn check_file(path: &Path) -> anyhow::Result<()> {
    check_writable(path).with_context(|| cannot_write(path))
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    write_atomically(path, |file| file.write_all(text.as_bytes()))
        .with_context(|| cannot_write(path))
}
