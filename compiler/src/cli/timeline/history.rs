//! When what happened, measured or predicted, in one form.
//!
//! All times are microseconds; the online phase of the last run that has one begins at 0, when the client sends its input.
//! Runs that were in flight with it are there too, and phases are those of the last one. A prediction is that of one run
//! alone, whose offline phase ends at 0. A link carries its messages in order, so a message is on the wire from when it was
//! handed over, or the one before it had arrived, to its own arrival.

use super::queued;
use mpcc_ir::plan::{Phase, Plan, Role, StepOp};
use mpcc_runtime::config::MAX_THREADS;
use mpcc_runtime::trace::{PhaseTrace, Trace};
use std::collections::BTreeMap;

/// A step at its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bar {
    /// The run, 0 for the setup and for predictions.
    pub(super) run: u64,
    pub(super) phase: Phase,
    /// Index in the role's phase.
    pub(super) step: u32,
    pub(super) thread: u16,
    pub(super) start: f64,
    pub(super) end: f64,
    /// How long of that, from its start on, its thread waited for room in the queue of a link.
    pub(super) queued: f64,
}

impl Bar {
    /// When its thread was at work.
    fn busy(&self) -> (f64, f64) {
        (self.start + self.queued, self.end)
    }
}

/// A message at its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wire {
    /// As in a bar.
    pub(super) run: u64,
    pub(super) message: u32,
    /// When it was handed to the transport, where that is known.
    pub(super) handed: Option<f64>,
    /// When it had the link for itself.
    pub(super) start: f64,
    /// When it had arrived.
    pub(super) end: f64,
}

/// The steps of a role.
#[derive(Clone, Debug)]
pub(super) struct RoleHistory {
    pub(super) role: Role,
    pub(super) threads: u16,
    /// In order of time.
    pub(super) bars: Vec<Bar>,
}

/// From the beginning of a phase at the first role to its end at the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) phase: Phase,
    pub(super) start: f64,
    pub(super) end: f64,
}

/// What all roles did.
pub(super) struct History {
    /// Compute parties, the dealer, then roles without steps.
    pub(super) roles: Vec<RoleHistory>,
    /// In order of time for each pair of roles.
    pub(super) wires: Vec<Wire>,
    /// Phases of the last run.
    pub(super) windows: Vec<Window>,
    /// The last run, 0 for predictions.
    pub(super) run: u64,
}

/// What a role did in a phase: busy threads, threads that waited, its links in use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) busy: f64,
    pub(super) wait: f64,
    pub(super) wire_out: f64,
    pub(super) wire_in: f64,
    pub(super) bytes_out: u64,
    pub(super) bytes_in: u64,
}

impl History {
    /// What the roles recorded; `None` where nothing was.
    pub(super) fn measured(plan: &Plan, traces: &[Trace]) -> Option<Self> {
        let all = || traces.iter().flat_map(|trace| &trace.phases);
        let online =
            all().filter(|phase| phase.phase == Phase::Online).map(|phase| phase.run).max();
        let last = online.or_else(|| all().map(|phase| phase.run).max())?;
        let in_flight = |run: u64| run == 0 || (run <= last && run + u64::from(plan.depth) > last);
        let phases = || all().filter(|phase| in_flight(phase.run));
        let origin =
            origin_ns(plan, &phases().filter(|p| p.run == last || p.run == 0).collect::<Vec<_>>())?;
        let us = |ns: u64| (i128::from(ns) - i128::from(origin)) as f64 / 1e3;
        let (mut handed, mut arrived) = (BTreeMap::new(), BTreeMap::new());
        for phase in phases() {
            handed.extend(phase.sent.iter().map(|m| ((phase.run, m.message), us(m.at_ns))));
            arrived.extend(phase.received.iter().map(|m| ((phase.run, m.message), us(m.at_ns))));
        }
        let role = |trace: &Trace| {
            let mut bars = Vec::new();
            for phase in trace.phases.iter().filter(|phase| in_flight(phase.run)) {
                bars.extend(phase.steps.iter().map(|s| Bar {
                    run: phase.run,
                    phase: phase.phase,
                    step: s.step,
                    thread: s.thread,
                    start: us(s.start_ns),
                    end: us(s.end_ns),
                    queued: 0.0,
                }));
            }
            in_order(&mut bars);
            RoleHistory { role: trace.role, threads: trace.threads, bars }
        };
        let mut roles: Vec<RoleHistory> = traces.iter().map(role).collect();
        roles.sort_by_key(|history| history.role);
        Some(Self::new(plan, roles, wires(plan, &handed, &arrived), last))
    }

    /// What the plan predicts; `None` where it predicts nothing. Phases follow each other, the online one from 0 on; one
    /// of which no step takes time is not predicted, and left out.
    pub(super) fn predicted(plan: &Plan) -> Option<Self> {
        let lengths = Phase::ALL.map(|phase| length(plan, phase));
        let [setup, offline, online] = lengths;
        let begins = [-offline - setup, -offline, 0.0];
        if setup + offline + online <= 0.0 {
            return None;
        }
        let (mut handed, mut arrived) = (BTreeMap::new(), BTreeMap::new());
        let mut roles = Vec::new();
        for role in &plan.roles {
            let mut bars = Vec::new();
            for ((phase, begin), length) in Phase::ALL.into_iter().zip(begins).zip(lengths) {
                let steps = if length > 0.0 { role.steps(phase) } else { &[] };
                for (step, at) in steps.iter().zip(0..) {
                    let (start, end) = (begin + step.predicted_us.0, begin + step.predicted_us.1);
                    bars.push(Bar { run: 0, phase, step: at, thread: 0, start, end, queued: 0.0 });
                    if let StepOp::Send { message, .. } = step.op {
                        handed.insert((0, message), end);
                    }
                    if let StepOp::Receive { message, .. } = step.op {
                        arrived.insert((0, message), start);
                    }
                }
            }
            in_order(&mut bars);
            let planned = plan.forecast.as_ref().map_or(0, |forecast| forecast.threads);
            let threads = spread(&mut bars).max(planned.min(MAX_THREADS as u32) as u16);
            roles.push(RoleHistory { role: role.role, threads, bars });
        }
        let mut predicted = Self::new(plan, roles, wires(plan, &handed, &arrived), 0);
        for window in &mut predicted.windows {
            // Until everything is at the client, which has no steps.
            window.start = begins[window.phase as usize];
            window.end = window.start + lengths[window.phase as usize];
        }
        Some(predicted)
    }

    fn new(plan: &Plan, mut roles: Vec<RoleHistory>, wires: Vec<Wire>, last: u64) -> Self {
        queued::find(plan, &mut roles, &wires);
        let is_shown = |run: u64| run == last || run == 0;
        let windows = Phase::ALL.into_iter().filter_map(|phase| {
            let bars = roles
                .iter()
                .flat_map(|role| &role.bars)
                .filter(|bar| bar.phase == phase && is_shown(bar.run));
            let of_phase = |wire: &&Wire| {
                plan.messages[wire.message as usize].phase == phase && is_shown(wire.run)
            };
            let wires = wires.iter().filter(of_phase);
            let spans = bars.map(|bar| (bar.start, bar.end));
            let spans = spans.chain(wires.map(|wire| (wire.handed.unwrap_or(wire.end), wire.end)));
            let (start, end) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
            // Steps that need no input may come before it; they do not make the phase longer.
            let start = if phase == Phase::Online { start.max(0.0) } else { start };
            Some(Window { phase, start, end })
        });
        let windows = windows.collect();
        Self { roles, wires, windows, run: last }
    }

    /// Whether something belongs to the last run or to the setup.
    fn is_shown(&self, run: u64) -> bool {
        run == self.run || run == 0
    }

    /// What `role` did in the phase of `window`. A thread that is busy with another run does not wait.
    pub(super) fn totals(&self, plan: &Plan, role: &RoleHistory, window: &Window) -> Totals {
        let mut totals = Totals::default();
        let own = |bar: &&Bar| bar.phase == window.phase && self.is_shown(bar.run);
        totals.busy = role.bars.iter().filter(own).map(|bar| bar.busy().1 - bar.busy().0).sum();
        for thread in 0..role.threads {
            let own = role.bars.iter().filter(|bar| bar.thread == thread);
            totals.wait += window.end - window.start - covered(own.map(Bar::busy), window);
        }
        let wires = |own: fn(&mpcc_ir::plan::Message) -> Role| {
            let of_role = move |wire: &&Wire| {
                let message = &plan.messages[wire.message as usize];
                let is_its = message.phase == window.phase && own(message) == role.role;
                is_its && self.is_shown(wire.run)
            };
            self.wires.iter().filter(of_role).copied().collect::<Vec<Wire>>()
        };
        let bytes = |wires: &[Wire]| {
            wires.iter().map(|wire| plan.messages[wire.message as usize].bytes).sum::<u64>()
        };
        let (out, into) = (wires(|m| m.from), wires(|m| m.to));
        let used = |wires: &[Wire]| covered(wires.iter().map(|w| (w.start, w.end)), window);
        (totals.wire_out, totals.wire_in) = (used(&out), used(&into));
        (totals.bytes_out, totals.bytes_in) = (bytes(&out), bytes(&into));
        totals
    }
}

/// Microseconds from the beginning of a phase to its end at the last role, the client too; 0 where it is not predicted.
fn length(plan: &Plan, phase: Phase) -> f64 {
    let steps = plan.roles.iter().flat_map(|role| role.steps(phase));
    let steps = steps.map(|step| step.predicted_us.1).fold(0.0, f64::max);
    let whole = plan.forecast.as_ref().map_or(0.0, |forecast| match phase {
        Phase::Setup => 0.0,
        Phase::Offline => forecast.offline_us,
        Phase::Online => forecast.online_us,
    });
    if steps > 0.0 { steps.max(whole) } else { 0.0 }
}

/// How much of `window` the spans cover together.
fn covered(spans: impl Iterator<Item = (f64, f64)>, window: &Window) -> f64 {
    let mut spans: Vec<(f64, f64)> = spans.collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut until) = (0.0, window.start);
    for (start, end) in spans {
        let (start, end) = (start.max(until), end.min(window.end));
        if end > start {
            sum += end - start;
            until = end;
        }
    }
    sum
}

/// When the client sent its input; otherwise when the online phase, or anything, began.
fn origin_ns(plan: &Plan, phases: &[&PhaseTrace]) -> Option<u64> {
    let online = || phases.iter().filter(|p| p.phase == Phase::Online);
    let inputs: Vec<u32> = plan.inputs.iter().flat_map(|port| port.masked.clone()).collect();
    let sent = online().flat_map(|p| &p.sent).filter(|m| inputs.contains(&m.message));
    let steps = |phase: &&PhaseTrace| phase.steps.iter().map(|step| step.start_ns).min();
    let first = sent.map(|m| m.at_ns).min();
    first
        .or_else(|| online().flat_map(|p| &p.received).map(|m| m.at_ns).min())
        .or_else(|| online().filter_map(steps).min())
        .or_else(|| phases.iter().filter_map(steps).min())
}

/// Messages that have arrived, one after the other on each link.
fn wires(
    plan: &Plan,
    handed: &BTreeMap<(u64, u32), f64>,
    arrived: &BTreeMap<(u64, u32), f64>,
) -> Vec<Wire> {
    let mut wires: Vec<Wire> = arrived
        .iter()
        .map(|(&(run, message), &end)| {
            let handed = handed.get(&(run, message)).map(|at| at.min(end));
            Wire { run, message, handed, start: handed.unwrap_or(end), end }
        })
        .collect();
    wires.sort_by(|a, b| a.end.total_cmp(&b.end));
    let mut last: BTreeMap<(Role, Role), f64> = BTreeMap::new();
    for wire in &mut wires {
        let message = &plan.messages[wire.message as usize];
        let last = last.entry((message.from, message.to)).or_insert(f64::NEG_INFINITY);
        wire.start = wire.start.max(*last);
        *last = wire.end;
    }
    wires
}

fn in_order(bars: &mut [Bar]) {
    bars.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.end.total_cmp(&b.end)));
}

/// Gives each bar the first thread that is free; a plan does not say which. Returns the number of threads.
fn spread(bars: &mut [Bar]) -> u16 {
    let mut free_from: Vec<f64> = Vec::new();
    for bar in bars {
        // Times are sums of rounded numbers, so that one may end a little after the next begins.
        let free = free_from.iter().position(|&at| at <= bar.start + 1e-6);
        let thread = free.unwrap_or_else(|| {
            free_from.push(0.0);
            free_from.len() - 1
        });
        free_from[thread] = bar.end;
        bar.thread = thread as u16;
    }
    free_from.len() as u16
}
