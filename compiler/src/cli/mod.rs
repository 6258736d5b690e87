//! The command line: arguments in, text out. One file per verb.

mod bench;
mod compile;
mod explain;
mod inspect;
mod model_args;
mod profile;
mod replaced;
mod run;
mod tensors;
mod timeline;

use anyhow::Context as _;
use clap::builder::RangedI64ValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use mpcc_ir::codec;
use mpcc_ir::plan::Plan;
use mpcc_runtime::config::MAX_THREADS;
use mpcc_runtime::error::in_one_line;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Private inference: compiles ONNX models to plans that several parties execute together without
/// showing each other the model or the data.
#[derive(clap::Parser)]
#[command(name = "mpcc", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Inspect(inspect::Inspect),
    Compile(compile::Compile),
    Explain(explain::Explain),
    Run(run::Run),
    Bench(bench::Bench),
    Profile(profile::Profile),
    /// Be one role of a run on this host; `mpcc run` starts these
    #[command(hide = true)]
    Role(run::role::RoleProcess),
}

impl Cli {
    /// Executes the command and says how it went: 0 done, 1 refused. (Bad usage is 2, by clap.)
    pub(crate) fn execute(self) -> ExitCode {
        let done = match self.verb {
            Verb::Inspect(verb) => verb.run(),
            Verb::Compile(verb) => verb.run(),
            Verb::Explain(verb) => verb.run(),
            Verb::Run(verb) => verb.run(),
            Verb::Bench(verb) => verb.run(),
            Verb::Profile(verb) => verb.run(),
            Verb::Role(verb) => verb.run(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // A closed pipe behind stdout is the reader's choice, not an error to report.
                let broken = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
                if broken != Some(std::io::ErrorKind::BrokenPipe) {
                    note(&format!("error: {}", in_one_line(error.chain())));
                }
                ExitCode::FAILURE
            }
        }
    }
}

/// Reads a number of compute threads: as many as `mpcc-party` takes.
fn threads() -> RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=MAX_THREADS as i64)
}

/// Reads a plan and its digest.
fn read_plan(path: &Path) -> anyhow::Result<(Plan, [u8; 32])> {
    codec::read_file(path).with_context(|| format!("cannot use `{}`", path.display()))
}

/// Writes text to stdout.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// Writes one JSON object to stdout.
fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value).context("cannot write JSON")?)
}

/// Writes a line to stderr; there is nobody to tell if that fails.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What is going on, on stderr: a spinner on a terminal, a line per stage elsewhere.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    fn stage(&self, what: &str) {
        if self.bar.is_hidden() {
            note(what);
        }
        self.bar.set_message(what.to_owned());
    }

    /// Removes the spinner; later lines start on a clean line.
    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Appends rows under aligned columns; the first row is the heading.
fn table<const N: usize>(out: &mut String, rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let number = cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains('q');
            let _ = if number {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// So many of something.
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Bytes in words for people.
fn megabytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
