//! What a role reports when it ends.

use crate::cpu_time;
use crate::executor::Executor;
use crate::packet::Counts;
use crate::trace::Trace;
use mpcc_ir::plan::{Phase, Role};
use serde::{Deserialize, Serialize};

/// Payload bytes by phase, to all other roles together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentBytes {
    /// Once per deployment.
    pub setup: u64,
    /// Per run, before the input.
    pub offline: u64,
    /// Per run, from the input on.
    pub online: u64,
}

/// One run at one role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Its number.
    pub run: u64,
    /// Seconds of the offline phase; at a client, of the wait for its masks.
    pub offline_s: f64,
    /// Seconds from the first message to the last step; at a client, from sending the input to the output.
    pub online_s: f64,
    /// Payload bytes sent in the offline phase.
    pub sent_offline: u64,
    /// Payload bytes sent in the online phase.
    pub sent_online: u64,
    /// Openings on the longest causal chain that this role saw.
    pub rounds: u32,
    /// Seconds that compute threads worked on steps of the run.
    pub busy_s: f64,
    /// Seconds that compute threads waited in the run, the wait for a client included.
    pub wait_s: f64,
    /// Processor seconds of the whole process up to the end of the run.
    pub cpu_s: f64,
}

/// A role's whole session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which role.
    pub role: String,
    /// Seconds of the setup phase.
    pub setup_s: f64,
    /// Every completed run.
    pub runs: Vec<RunReport>,
    /// How many runs can be in flight.
    pub depth: usize,
    /// Median over the runs of the steady state; over all where there is none.
    pub offline_s: f64,
    /// As `offline_s`.
    pub online_s: f64,
    /// Processor seconds of the whole process.
    pub cpu_s: f64,
    /// Largest resident memory of the process.
    pub peak_rss_bytes: u64,
    /// Payload bytes sent: of the setup, and of the last run.
    pub sent_bytes: SentBytes,
    /// Bytes sent on all links with headers and handshakes, over the whole session.
    pub wire_bytes: u64,
    /// Openings on the longest causal chain, over all runs.
    pub rounds: u32,
    /// When each step of the setup and of the last runs was executed, where that was asked for. Not part of
    /// the serialised report: it may be long.
    #[serde(skip)]
    pub trace: Option<Trace>,
}

impl Report {
    /// An empty report of a role that can have `depth` runs in flight.
    pub(super) fn new(role: Role, depth: u8) -> Self {
        Self {
            role: role.to_string(),
            setup_s: 0.0,
            runs: vec![],
            depth: usize::from(depth),
            offline_s: 0.0,
            online_s: 0.0,
            cpu_s: 0.0,
            peak_rss_bytes: 0,
            sent_bytes: SentBytes::default(),
            wire_bytes: 0,
            rounds: 0,
            trace: None,
        }
    }

    /// Adds the setup phase.
    pub(super) fn setup(&mut self, seconds: f64, counts: &Counts) {
        self.setup_s = seconds;
        self.sent_bytes.setup = counts.sent_bytes(Phase::Setup);
    }

    /// The runs of the steady state: not the first ones, as many as can be in flight, which begin during the setup, and
    /// not the last ones, beside which there are fewer and fewer others.
    pub fn steady_runs(&self) -> &[RunReport] {
        let end = (self.runs.len() + 1).saturating_sub(self.depth);
        self.runs.get(self.depth..end).unwrap_or_default()
    }

    /// Median of a figure over the runs of the steady state; over all where there is none.
    pub fn median(&self, of: impl Fn(&RunReport) -> f64) -> f64 {
        let steady = self.steady_runs();
        median(if steady.is_empty() { &self.runs } else { steady }.iter().map(of).collect())
    }

    /// Processor seconds of a run in the steady state, with both phases of as many runs as end.
    pub fn cpu_s_per_run(&self) -> Option<f64> {
        let last = self.steady_runs().last()?;
        let before = self.runs.get(self.depth.checked_sub(1)?)?;
        Some((last.cpu_s - before.cpu_s) / self.steady_runs().len() as f64)
    }

    /// Fills in what is known only at the end.
    pub(super) fn finish(mut self, wire_bytes: u64) -> Self {
        self.offline_s = self.median(|run| run.offline_s);
        self.online_s = self.median(|run| run.online_s);
        self.rounds = self.runs.iter().map(|run| run.rounds).max().unwrap_or(0);
        if let Some(last) = self.runs.last() {
            self.sent_bytes.offline = last.sent_offline;
            self.sent_bytes.online = last.sent_online;
        }
        self.wire_bytes = wire_bytes;
        self.cpu_s = cpu_time::of_process().as_secs_f64();
        self.peak_rss_bytes = peak_rss_bytes();
        self
    }
}

impl RunReport {
    /// The run is over.
    pub(super) fn ended(mut self) -> Self {
        self.cpu_s = cpu_time::of_process().as_secs_f64();
        self
    }

    /// Adds a phase that has ended.
    pub(super) fn add(&mut self, executor: &Executor) {
        let (seconds, counts) = (executor.elapsed().as_secs_f64(), executor.counts());
        match executor.phase() {
            Phase::Setup => {}
            Phase::Offline => {
                self.offline_s = seconds;
                self.sent_offline = counts.sent_bytes(Phase::Offline);
            }
            Phase::Online => {
                self.online_s = seconds;
                self.sent_online = counts.sent_bytes(Phase::Online);
            }
        }
        self.rounds = self.rounds.max(counts.rounds);
        self.busy_s += counts.busy_ns as f64 * 1e-9;
        self.wait_s += counts.wait_ns as f64 * 1e-9;
    }
}

/// The middle of some figures; halfway between two of an even number, 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Seconds from one output to the next in the steady state, of the times at which outputs came. As many as were in
/// flight, `depth`, may come all at once, so whole groups of that many are taken, the last ones that end before fewer
/// are in flight. The first group is that of the setup. `None` where there are too few.
pub fn seconds_per_run(outputs: &[f64], depth: usize) -> Option<f64> {
    let last = outputs.len().checked_sub(depth)?;
    let after_first = (last + 1).checked_sub(depth)?;
    let runs = after_first - after_first.checked_rem(depth)?;
    (runs > 0).then(|| (outputs[last] - outputs[last - runs]) / runs as f64)
}

/// The process's largest resident memory, from `/proc`; 0 where there is none.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        let median = |values: &[f64]| median(values.to_vec()).to_string();
        let said = [median(&[]), median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])];
        assert_eq!(said, ["0", "2", "2.5"]);
    }

    #[test]
    fn runs_that_come_in_groups_are_counted_as_such() {
        let alone = [5.0, 6.0, 7.0, 9.0];
        assert_eq!(seconds_per_run(&alone, 1), Some(4.0 / 3.0));
        // The last two come without a third beside them.
        let groups = [5.0, 5.0, 5.0, 8.0, 8.0, 8.0, 9.0, 9.5];
        assert_eq!(seconds_per_run(&groups, 3), Some(1.0));
        assert_eq!(seconds_per_run(&groups[..7], 3), None);
        assert_eq!(seconds_per_run(&[], 1), None);
    }

    #[test]
    fn the_steady_state_begins_after_the_setup_and_ends_with_the_last_new_run() {
        let report = |depth, runs: u64| {
            let run =
                |run| RunReport { run, cpu_s: run as f64 * 2.0 + 7.0, ..RunReport::default() };
            Report { runs: (1..=runs).map(run).collect(), ..Report::new(Role::Dealer, depth) }
        };
        let steady = |depth, runs| {
            let report = report(depth, runs);
            let steady: Vec<u64> = report.steady_runs().iter().map(|run| run.run).collect();
            (steady, report.cpu_s_per_run())
        };
        assert_eq!(steady(1, 3), (vec![2, 3], Some(2.0)));
        assert_eq!(steady(3, 7), (vec![4, 5], Some(2.0)));
        for (depth, runs) in [(1, 0), (1, 1), (3, 5)] {
            assert_eq!(steady(depth, runs), (vec![], None));
        }
        assert_eq!(report(3, 5).median(|run| run.run as f64).to_string(), "3");
        assert_eq!(report(1, 3).median(|run| run.run as f64).to_string(), "2.5");
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(peak_rss_bytes() > 1 << 20);
    }
}
