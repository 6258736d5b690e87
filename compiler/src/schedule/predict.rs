//! Gives steps their priorities and predicted times, and plans their forecast.

use super::Overlap;
use super::rounds::offline_hops;
use super::simulate::{Nanos, Setting, Steps, Timeline};
use super::stream::{SteadyState, steady_state};
use mpcc_ir::plan::{Forecast, MessageKind, Phase, Plan, Role, StepOp};
use std::collections::BTreeMap;

/// Fills in priorities and predicted times of the offline and the online phase, and the forecast.
pub(super) fn predict(plan: &mut Plan, setting: &Setting, overlap: Overlap) {
    let mut forecast = Forecast {
        schedule: overlap.name().to_owned(),
        link: setting.link.name.clone(),
        bytes_per_us: setting.link.bytes_per_us(),
        kernels: setting.machine.kernels.clone(),
        threads: setting.threads as u32,
        cores: setting.cores.map(|cores| cores as u32),
        ..Forecast::default()
    };
    let phases = [Phase::Offline, Phase::Online];
    let steps = phases.map(|phase| Steps::new(plan, phase, setting));
    let found = steps.each_ref().map(|steps| best(plan, steps));
    let [(_, offline), (_, online)] = &found;
    forecast.offline_us = micros(offline.end());
    forecast.online_us = micros(online.end());
    forecast.compute_us = compute_us(&[online], setting);
    forecast.wire_us = wire_us(&[online]);
    forecast.run_compute_us = compute_us(&[offline, online], setting);
    forecast.run_wire_us = wire_us(&[offline, online]);
    // The input travels before the first opening, and the output after the last.
    let hops = plan.rounds() + 2;
    let before = offline_hops(&plan.messages, &plan.roles);
    let latency_us = |hops: u32| f64::from(hops) * setting.link.one_way_us();
    forecast.latency_us = latency_us(hops);
    forecast.run_latency_us = latency_us(hops + before);
    let played = [0, 1].map(|at| (&steps[at], &found[at].0[..]));
    let steady = steady_state(setting, usize::from(plan.depth), played);
    debug_assert!(steady.is_some(), "the verifier refuses plans in which somebody waits for ever");
    let steady = steady.unwrap_or(SteadyState {
        run_us: forecast.offline_us + forecast.online_us,
        online_us: forecast.online_us,
    });
    (forecast.run_us, forecast.run_online_us) = (steady.run_us, steady.online_us);
    for (phase, (priorities, timeline)) in phases.into_iter().zip(&found) {
        write(plan, phase, priorities, timeline);
    }
    plan.forecast = Some(forecast);
}

/// Microseconds that the compute threads of the busiest role work in phases, evenly, or all cores that roles share.
fn compute_us(phases: &[&Timeline], setting: &Setting) -> f64 {
    let busy = phases.iter().flat_map(|phase| phase.busy.iter());
    let alone = most(busy.map(|(role, busy)| (*role, micros(*busy))));
    let alone = alone / setting.threads.max(1) as f64;
    alone.max(phases.iter().map(|phase| shared_core_us(phase, setting)).sum())
}

/// Microseconds that the busiest role's uplink is in use in phases.
fn wire_us(phases: &[&Timeline]) -> f64 {
    most(phases.iter().flat_map(|phase| phase.wire_us.iter().map(|(role, us)| (*role, *us))))
}

/// Microseconds that the cores of a host that all roles share work, evenly; 0 where they do not share one.
fn shared_core_us(timeline: &Timeline, setting: &Setting) -> f64 {
    let work = timeline.busy.values().sum::<Nanos>() + timeline.reading;
    setting.cores.map_or(0.0, |cores| micros(work) / cores as f64)
}

/// The sum of a role for which it is largest.
fn most(terms: impl Iterator<Item = (Role, f64)>) -> f64 {
    let mut sums: BTreeMap<Role, f64> = BTreeMap::new();
    for (role, us) in terms {
        *sums.entry(role).or_default() += us;
    }
    sums.into_values().fold(0.0, f64::max)
}

/// Microseconds of both phases under the priorities that `predict` would choose.
pub(super) fn times_us(plan: &Plan, setting: &Setting) -> [f64; 2] {
    let phases = [Phase::Offline, Phase::Online];
    phases.map(|phase| micros(best(plan, &Steps::new(plan, phase, setting)).1.end()))
}

fn micros(time: Nanos) -> f64 {
    time as f64 / 1e3
}

/// The better of two orders: longest way to the end first, or as the steps are listed.
fn best(plan: &Plan, steps: &Steps<'_>) -> (Vec<u32>, Timeline) {
    let all_steps = plan.roles.iter().flat_map(|role| role.steps(steps.phase()));
    let ops: Vec<&StepOp> = all_steps.map(|step| &step.op).collect();
    let tails = steps.tails();
    let number = |mut order: Vec<usize>, key: &dyn Fn(usize) -> (u8, Nanos)| {
        order.sort_by_key(|at| (key(*at), *at));
        let mut priorities = vec![0; order.len()];
        for (priority, at) in (0..).zip(order) {
            priorities[at] = priority;
        }
        priorities
    };
    let work = |at: usize| match ops[at] {
        // The input comes when its mask is there, and is wanted when the offline phase is over.
        StepOp::Send { message, .. }
            if plan.messages[*message as usize].kind == MessageKind::Mask =>
        {
            3
        }
        // What goes into a message or comes out of one is short, and others wait for it.
        StepOp::Send { .. } | StepOp::Receive { .. } => 0,
        // So that what a part of a product gives is on the wire while the next part is computed.
        StepOp::Conv { .. } | StepOp::MatMul { .. } => 2,
        _ => 1,
    };
    let all = || (0..ops.len()).collect::<Vec<usize>>();
    let critical = number(all(), &|at| (work(at), Nanos::MAX - tails[at]));
    let listed = number(all(), &|at| (work(at), 0));
    let [critical, listed] = [critical, listed].map(|priorities| {
        let timeline = steps.play(&priorities);
        (priorities, timeline)
    });
    if listed.1.end() <= critical.1.end() { listed } else { critical }
}

fn write(plan: &mut Plan, phase: Phase, priorities: &[u32], timeline: &Timeline) {
    let mut priorities = priorities.iter();
    for (role, times) in plan.roles.iter_mut().zip(&timeline.steps) {
        let steps = match phase {
            Phase::Setup => &mut role.setup,
            Phase::Offline => &mut role.offline,
            Phase::Online => &mut role.online,
        };
        for ((step, priority), (start, end)) in steps.iter_mut().zip(&mut priorities).zip(times) {
            step.priority = *priority;
            step.predicted_us = (micros(*start), micros(*end));
        }
    }
}
