//! What roles record while they serve.

use crate::town::{Town, input, join};
use mpcc_ir::plan::{Phase, Plan, Role};
use mpcc_runtime::serve::{InferOptions, infer};
use mpcc_runtime::trace::{Clock, Trace};
use std::collections::BTreeMap;

/// In the setup and the last runs, as many as may be in flight: every step once, after those before it; every
/// message received after it was sent.
#[test]
fn a_trace_has_every_step_and_message_once() {
    for depth in [1, 3] {
        let mut town = Town::with_depth(2, depth);
        let clock = Clock::new();
        let roles = town.start(&town.roles(), |options| {
            options.trace = Some(clock);
            options.threads = 2;
            options.runs = Some(5);
        });
        let client = InferOptions { trace: Some(clock), ..town.client(5) };
        let outcome = infer(&client, &[input()]).unwrap();
        let reports = join(roles).into_values().map(Result::unwrap);
        let traces = reports.chain([outcome.report]).filter_map(|report| report.trace);
        let traces: Vec<Trace> = traces.collect();
        assert_eq!(traces.len(), 4, "P0, P1, the dealer and the client");
        let kept: Vec<u64> = (1..=5).filter(|run| run + 2 * u64::from(depth) > 5).collect();
        check_traces(&town.plan, &traces, &kept);
    }
}

fn check_traces(plan: &Plan, traces: &[Trace], runs: &[u64]) {
    let mut sent = BTreeMap::new();
    let mut received = BTreeMap::new();
    for trace in traces {
        assert_eq!(trace.runs(), runs, "{}", trace.role);
        for phase in &trace.phases {
            let steps = plan.role(trace.role).map_or(&[][..], |own| own.steps(phase.phase));
            let order: Vec<u32> = phase.steps.iter().map(|step| step.step).collect();
            assert_eq!(order, (0..steps.len() as u32).collect::<Vec<_>>());
            for (step, time) in steps.iter().zip(&phase.steps) {
                assert!(time.start_ns <= time.end_ns && time.thread < trace.threads);
                for &before in &step.after {
                    assert!(phase.steps[before as usize].end_ns <= time.start_ns);
                }
            }
            for time in &phase.sent {
                assert_eq!(plan.messages[time.message as usize].from, trace.role);
                assert!(sent.insert((phase.run, time.message), time.at_ns).is_none());
            }
            for time in &phase.received {
                assert_eq!(plan.messages[time.message as usize].to, trace.role);
                assert!(received.insert((phase.run, time.message), time.at_ns).is_none());
            }
        }
    }
    for (id, message) in plan.messages.iter().enumerate() {
        let of_phase = if message.phase == Phase::Setup { &[0][..] } else { runs };
        for run in of_phase {
            let key = (*run, id as u32);
            let (sent, received) = (sent.get(&key), received.get(&key));
            // An outside owner of the weights has no steps, and keeps no trace.
            assert_eq!(sent.is_none(), message.from == Role::Owner, "message {id}");
            assert_eq!(received.is_none(), message.to == Role::Owner, "message {id}");
            if let (Some(sent), Some(received)) = (sent, received) {
                assert!(sent <= received, "message {id}: {sent} {received}");
            }
        }
    }
}

#[test]
fn no_trace_unless_asked_for() {
    let mut town = Town::new(2);
    let roles = town.start(&town.roles(), |options| options.runs = Some(1));
    let outcome = infer(&town.client(1), &[input()]).unwrap();
    let reports = join(roles).into_values().map(Result::unwrap);
    assert!(reports.chain([outcome.report]).all(|report| report.trace.is_none()));
}
