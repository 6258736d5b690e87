//! The command line: arguments in, exit code out; one file per verb.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the part that talks")]

mod echo;
mod fill;
mod infer;
mod serve;

use anyhow::Context as _;
use mpcc_ir::codec;
use mpcc_ir::files::{cannot_write, check_writable};
use mpcc_ir::plan::Plan;
use mpcc_ir::weights::Weights;
use mpcc_runtime::config::Config;
use mpcc_runtime::error::in_one_line;
use mpcc_runtime::serve::{Log, Report, ServeOptions, StopHandle};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// One role of a private inference: a compute party, the dealer, the owner of the weights or a client
#[derive(clap::Parser)]
#[command(name = "mpcc-party", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Serve(serve::Serve),
    Infer(infer::Infer),
    Fill(fill::Fill),
    Echo(echo::Echo),
}

impl Cli {
    /// Runs the command; 0 is done, 1 refused.
    pub(crate) fn execute(self) -> ExitCode {
        let done = match self.verb {
            Verb::Serve(serve) => serve.run(),
            Verb::Infer(infer) => infer.run(),
            Verb::Fill(fill) => fill.run(),
            Verb::Echo(echo) => echo.run(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}", in_one_line(error.chain()));
                ExitCode::FAILURE
            }
        }
    }
}

/// A configuration with the plan that it names.
struct Loaded {
    config: Config,
    plan: Arc<Plan>,
    digest: [u8; 32],
    weights: Option<Arc<Weights>>,
}

fn load(path: &Path) -> anyhow::Result<Loaded> {
    let config = Config::read(path)?;
    let (plan, digest) = codec::read_file(&config.plan)
        .with_context(|| format!("plan `{}`", config.plan.display()))?;
    config.check_role(&plan, path)?;
    let weights = match config.weights_file(&plan, path)? {
        Some(file) => Some(Arc::new(Weights::read(file, &plan)?)),
        None => None,
    };
    Ok(Loaded { config, plan: Arc::new(plan), digest, weights })
}

impl Loaded {
    /// Hands over the weights: the session drops them when they are in its memory.
    fn serve_options(&mut self) -> anyhow::Result<ServeOptions> {
        let config = &self.config;
        Ok(ServeOptions {
            role: config.role,
            plan: Arc::clone(&self.plan),
            plan_digest: self.digest,
            weights: self.weights.take(),
            listener: config.listener()?,
            peers: config.peers.clone(),
            state_dir: config.state_dir.clone(),
            threads: config.threads,
            runs: None,
            stored: config.store,
            fill: None,
            connect_within: self.connect_within(),
            stall: self.stall(),
            trace: None,
            log: log(),
            stop: stop_on_signals()?,
        })
    }

    fn connect_within(&self) -> Duration {
        Duration::from_secs(self.config.connect_s)
    }

    fn stall(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.config.stall_s)).filter(|limit| !limit.is_zero())
    }
}

/// Refuses, before the runs, a file that cannot be written after them.
fn check_trace_file(path: Option<&Path>) -> anyhow::Result<()> {
    path.map_or(Ok(()), |path| check_writable(path).with_context(|| cannot_write(path)))
}

/// Writes what a role recorded, where that is wanted.
fn write_trace(path: Option<&Path>, report: &Report) -> anyhow::Result<()> {
    let Some((path, trace)) = path.zip(report.trace.as_ref()) else { return Ok(()) };
    trace.write(path).with_context(|| cannot_write(path))
}

fn log() -> Log {
    Arc::new(|line| eprintln!("{line}"))
}

/// The first ctrl-c or SIGTERM ends the session in order, the second at once.
fn stop_on_signals() -> anyhow::Result<StopHandle> {
    let stop = StopHandle::default();
    let (handle, mut asked) = (stop.clone(), false);
    on_signals(move || {
        if asked {
            std::process::exit(1);
        }
        asked = true;
        eprintln!("stopping; once more to stop at once");
        handle.stop();
    })?;
    Ok(stop)
}

/// Calls `act` at every ctrl-c and SIGTERM from now on.
fn on_signals(mut act: impl FnMut() + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watch = |kind| {
        let _inside = runtime.enter();
        signal(kind)
    };
    let mut terminate = watch(SignalKind::terminate())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    std::thread::Builder::new().name("mpcc-signals".into()).spawn(move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                act();
            }
        });
    })?;
    Ok(())
}

fn print_report(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    let (role, runs) = (&report.role, report.runs.len());
    println!("{role}: {runs} runs, {:.2} s of setup", report.setup_s);
    if runs > 0 {
        let (offline, online) = (report.offline_s, report.online_s);
        println!("{role}: per run {online:.3} s online after {offline:.3} s offline");
    }
    Ok(())
}
