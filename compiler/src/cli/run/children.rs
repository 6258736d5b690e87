//! The processes of a local run.

use anyhow::{Context as _, bail};
use mpcc_ir::plan::{Plan, Role, WeightsMode};
use mpcc_runtime::serve::Report;
use mpcc_runtime::trace::Trace;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// What a role says first: the address it listens at, empty if nobody calls it; or why it cannot start.
pub(crate) type Ready = Result<String, String>;

/// Where a run's files are and how its roles are to work.
pub(crate) struct Local<'a> {
    pub(crate) plan: &'a Path,
    pub(crate) weights: &'a Path,
    /// A folder for the state of all roles.
    pub(crate) state: &'a Path,
    pub(crate) runs: u64,
    pub(crate) threads: usize,
    /// Have the roles record when they execute each step.
    pub(crate) trace: bool,
}

/// A role process that is ready.
struct Started {
    role: Role,
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Where it leaves its trace, if it keeps one.
    trace: Option<PathBuf>,
}

/// Role processes; killed when dropped before they have ended by themselves.
pub(crate) struct Children {
    children: Vec<Started>,
    /// Addresses of those that listen.
    pub(crate) addresses: Vec<(Role, String)>,
}

impl Children {
    /// Starts every role but the client.
    pub(crate) fn start(plan: &Plan, local: &Local<'_>) -> anyhow::Result<Self> {
        let mut started = Self { children: Vec::new(), addresses: Vec::new() };
        let owner = (plan.weights == WeightsMode::Owner).then_some(Role::Owner);
        for role in plan.compute_parties().chain([Role::Dealer]).chain(owner) {
            let address = started
                .start_role(plan, role, local)
                .with_context(|| format!("cannot start {role}"))?;
            if !address.is_empty() {
                started.addresses.push((role, address));
            }
        }
        Ok(started)
    }

    fn start_role(&mut self, plan: &Plan, role: Role, local: &Local<'_>) -> anyhow::Result<String> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["role", "--role", &role.to_string()]);
        command.arg("--plan").arg(local.plan);
        let state = local.state.join(role.to_string());
        // An outside owner of the weights has no steps.
        let trace = (local.trace && role != Role::Owner).then(|| state.join("trace.json"));
        command.arg("--state").arg(state);
        command.args(["--runs", &local.runs.to_string()]);
        command.args(["--threads", &local.threads.to_string()]);
        let knows_weights = match plan.weights {
            WeightsMode::Party0 => role == Role::Party(0),
            WeightsMode::Owner => role == Role::Owner,
            WeightsMode::Public => matches!(role, Role::Party(_)),
        };
        if knows_weights {
            command.arg("--weights").arg(local.weights);
        }
        if let Some(trace) = &trace {
            command.arg("--trace").arg(trace);
        }
        for (peer, address) in &self.addresses {
            command.arg("--peer").arg(format!("{peer}={address}"));
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let read = stdout.read_line(&mut line);
        self.children.push(Started { role, child, stdout, trace });
        read?;
        let ready: Ready = serde_json::from_str(&line).context("it ended before it was ready")?;
        ready.map_err(anyhow::Error::msg)
    }

    /// Waits for all roles to end and collects their reports.
    pub(crate) fn finish(
        mut self,
        plan: &Plan,
        plan_digest: [u8; 32],
    ) -> anyhow::Result<Vec<(Role, Report)>> {
        let mut reports = Vec::new();
        for Started { role, child, stdout, trace } in &mut self.children {
            let mut line = String::new();
            stdout.read_line(&mut line)?;
            let status = child.wait()?;
            if !status.success() {
                bail!("{role} failed");
            }
            let report: Result<Report, _> = serde_json::from_str(&line);
            let mut report = report.with_context(|| format!("{role} gave no report"))?;
            if let Some(path) = trace {
                let trace = Trace::read(path, plan, plan_digest);
                report.trace = Some(trace.with_context(|| format!("the trace of {role}"))?);
            }
            reports.push((*role, report));
        }
        Ok(reports)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for Started { child, .. } in &mut self.children {
            // One that has ended cannot be killed, which is as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
