//! When each step of a run was executed and when each message came and went: times, never data.
//!
//! An [`crate::executor::Executor`] that is told to record writes into one slot per step, made before the phase
//! begins. Times are nanoseconds since the UNIX epoch, so that the roles of one host line up.

mod file;

pub use file::TraceError;

use mpcc_ir::plan::{Phase, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

/// Turns instants into nanoseconds since the UNIX epoch; never jumps, whatever happens to the system's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    origin_ns: u64,
}

impl Clock {
    /// A clock that agrees with the system's now.
    pub fn new() -> Self {
        // The two clocks cannot be read at once; of several attempts, the one that took least is kept.
        let read = || {
            let before = Instant::now();
            let system = SystemTime::now();
            (before.elapsed(), before, system)
        };
        let attempts = (0..16).map(|_| read());
        let (took, before, system) = attempts.min_by_key(|(took, ..)| *took).unwrap_or_else(read);
        let since = system.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { origin: before + took / 2, origin_ns: since.as_nanos() as u64 }
    }

    /// Nanoseconds from the UNIX epoch to `at`.
    pub fn ns(&self, at: Instant) -> u64 {
        match at.checked_duration_since(self.origin) {
            Some(later) => self.origin_ns + later.as_nanos() as u64,
            None => self.origin_ns - self.origin.duration_since(at).as_nanos() as u64,
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// A step that was executed. All times are nanoseconds since the UNIX epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTime {
    /// Index of the step in its phase.
    pub step: u32,
    /// Which compute thread of the role, from 0.
    pub thread: u16,
    /// When it began.
    pub start_ns: u64,
    /// When it was done.
    pub end_ns: u64,
}

/// A message that was handed to the transport, or that has arrived as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageTime {
    /// Its id in the plan.
    pub message: u32,
    /// When, in nanoseconds since the UNIX epoch.
    pub at_ns: u64,
}

/// One phase at one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTrace {
    /// Its run, 0 for the setup.
    pub run: u64,
    /// Which phase.
    pub phase: Phase,
    /// The steps, in the plan's order.
    pub steps: Vec<StepTime>,
    /// Messages to others, in the plan's order; at the moment before the transport took them.
    pub sent: Vec<MessageTime>,
    /// Messages from others; at the moment when the last byte was here, be it before the phase began.
    pub received: Vec<MessageTime>,
}

/// What a role did in its setup and in the last runs of its session. A client has no
/// steps, only messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Which role.
    pub role: Role,
    /// Number of compute threads.
    pub threads: u16,
    /// How many runs may be in flight. Twice as many are kept: the last ones may have been called off.
    pub depth: usize,
    /// What identifies the plan.
    pub plan_digest: [u8; 32],
    /// In the order in which they ended.
    pub phases: Vec<PhaseTrace>,
}

impl Trace {
    /// Nothing yet.
    pub(crate) fn new(role: Role, threads: usize, depth: usize, plan_digest: [u8; 32]) -> Self {
        Self { role, threads: threads as u16, depth, plan_digest, phases: Vec::new() }
    }

    /// Adds a phase; a new run takes the place of the oldest.
    pub(crate) fn add(&mut self, phase: PhaseTrace) {
        self.phases.push(phase);
        let runs = self.runs();
        if let Some(at) = runs.len().checked_sub(2 * self.depth) {
            self.phases.retain(|phase| phase.run == 0 || runs[at..].contains(&phase.run));
        }
    }

    /// The runs that are kept, in order.
    pub fn runs(&self) -> Vec<u64> {
        let runs: BTreeSet<u64> = self.phases.iter().map(|phase| phase.run).collect();
        runs.into_iter().filter(|run| *run > 0).collect()
    }

    /// Adds a message of a role that has no steps.
    pub(crate) fn message(&mut self, run: u64, phase: Phase, received: bool, time: MessageTime) {
        let is_its = |known: &PhaseTrace| (known.run, known.phase) == (run, phase);
        if !self.phases.iter().any(is_its) {
            let (steps, sent, received) = (vec![], vec![], vec![]);
            self.add(PhaseTrace { run, phase, steps, sent, received });
        }
        let Some(known) = self.phases.iter_mut().find(|known| is_its(known)) else { return };
        let times = if received { &mut known.received } else { &mut known.sent };
        times.push(time);
    }
}

/// What an executor writes while it works.
pub(crate) struct Recorder {
    clock: Clock,
    steps: Vec<Slot>,
}

/// One step: zeros until it is executed.
#[derive(Clone, Copy, Default)]
struct Slot {
    thread: u16,
    start_ns: u64,
    end_ns: u64,
    message_ns: u64,
}

impl Recorder {
    pub(crate) fn new(clock: Clock, steps: usize) -> Self {
        Self { clock, steps: vec![Slot::default(); steps] }
    }

    /// The message that `step` sends was handed over, or the one that it receives is here.
    pub(crate) fn message(&mut self, step: usize, at: Instant) {
        self.steps[step].message_ns = self.clock.ns(at);
    }

    /// `step` is done.
    pub(crate) fn step(&mut self, step: usize, thread: u16, start: Instant, took: Duration) {
        let start_ns = self.clock.ns(start);
        let slot = &mut self.steps[step];
        (slot.thread, slot.start_ns) = (thread, start_ns);
        slot.end_ns = start_ns + took.as_nanos() as u64;
    }

    /// What was recorded; `messages` tells a step's message, and whether it was received.
    pub(crate) fn finish(
        &self,
        (run, phase): (u64, Phase),
        messages: impl Fn(usize) -> Option<(u32, bool)>,
    ) -> PhaseTrace {
        let mut trace = PhaseTrace { run, phase, steps: vec![], sent: vec![], received: vec![] };
        for (step, slot) in self.steps.iter().enumerate() {
            let Slot { thread, start_ns, end_ns, message_ns: at_ns } = *slot;
            if end_ns > 0 {
                trace.steps.push(StepTime { step: step as u32, thread, start_ns, end_ns });
            }
            match messages(step).filter(|_| at_ns > 0) {
                Some((message, true)) => trace.received.push(MessageTime { message, at_ns }),
                Some((message, false)) => trace.sent.push(MessageTime { message, at_ns }),
                None => {}
            }
        }
        trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_agrees_with_the_system() {
        let clock = Clock::new();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let ns = clock.ns(Instant::now());
        assert!(ns.abs_diff(now.as_nanos() as u64) < 1_000_000_000, "{ns}");
        let earlier = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        assert!(clock.ns(earlier) < ns);
    }

    #[test]
    fn the_last_runs_are_kept() {
        for (depth, kept, phases) in [(1, vec![4, 5], 5), (2, vec![2, 3, 4, 5], 8)] {
            let mut trace = Trace::new(Role::Dealer, 1, depth, [0; 32]);
            let mut add = |run, phase| {
                let (steps, sent, received) = (vec![], vec![], vec![]);
                trace.add(PhaseTrace { run, phase, steps, sent, received });
            };
            add(0, Phase::Setup);
            for run in [3, 4, 5] {
                add(run, Phase::Offline);
            }
            // What an old run does late is not wanted.
            for run in [5, 2, 4, 3] {
                add(run, Phase::Online);
            }
            assert_eq!(trace.runs(), kept);
            assert_eq!(trace.phases.len(), phases);
        }
    }

    #[test]
    fn only_what_happened_is_reported() {
        let mut recorder = Recorder::new(Clock::new(), 3);
        let now = Instant::now();
        recorder.message(2, now);
        recorder.step(1, 7, now, Duration::from_nanos(5));
        let trace = recorder.finish((1, Phase::Online), |step| Some((step as u32 + 10, step == 2)));
        assert_eq!(trace.steps.len(), 1);
        let StepTime { step, thread, start_ns, end_ns } = trace.steps[0];
        assert_eq!((step, thread, end_ns - start_ns), (1, 7, 5));
        assert_eq!(trace.received, [MessageTime { message: 12, at_ns: start_ns }]);
        assert!(trace.sent.is_empty());
    }
}
