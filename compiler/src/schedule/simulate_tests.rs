//! Timelines worked out by hand: steps cost microseconds of whole kilobytes copied.

use super::simulate::{Setting, Steps};
use crate::cost::Machine;
use insta::assert_snapshot;
use mpcc_ir::plan::{Phase, Plan, Role, StepOp};
use std::fmt::Write as _;

/// A hundred bytes take 100 us on the wire, 10 us to copy; it takes 50 us to the other host.
fn setting(threads: usize) -> Setting {
    let machine =
        Machine { step_us: 0.0, wake_us: 0.0, copy_us_per_kb: 100.0, ..Machine::default() };
    // 1 byte per microsecond after the headers of packets; frames have headers of 24 bytes.
    let link = "8.290155440414508mbit,0.1ms".parse().unwrap();
    Setting { machine, link, threads, cores: None }
}

/// `P0` sends messages 0 and 1 to `P1`, which answers the first with message 2.
fn plan(after: [&str; 2]) -> Plan {
    let digest = "00".repeat(32);
    let [second, answer] = after;
    let text = format!(
        "plan {{
  name \"t\"
  model_digest \"{digest}\"
  weights_digest \"{digest}\"
  word 32 parties 2 weights public depth 1
  message 0: from P0 to P1 phase online kind open bytes 76 round 1 layer 0
  message 1: from P0 to P1 phase online kind open bytes 176 round 1 layer 0
  message 2: from P1 to P0 phase online kind open bytes 76 round 2 layer 0
  role P0 deploy_bytes 0 run_bytes 0 {{
    online
      0: send message 0 src run@0+76
      1: send message 1 src run@64+176{second}
      2: receive message 2 dst run@128+76
  }}
  role P1 deploy_bytes 0 run_bytes 0 {{
    online
      0: receive message 0 dst run@0+76
      1: receive message 1 dst run@64+176
      2: send message 2 src run@128+76{answer}
  }}
}}"
    );
    Plan::parse(&text).unwrap()
}

fn timeline(plan: &Plan, threads: usize, priorities: &[u32]) -> String {
    timeline_in(plan, &setting(threads), priorities)
}

fn timeline_in(plan: &Plan, setting: &Setting, priorities: &[u32]) -> String {
    let steps = Steps::new(plan, Phase::Online, setting);
    let found = steps.play(priorities);
    let mut text = String::new();
    for (role, times) in plan.roles.iter().zip(&found.steps) {
        for (step, (start, end)) in role.online.iter().zip(times) {
            let (what, id) = match step.op {
                StepOp::Send { message, .. } => ("sends", message),
                StepOp::Receive { message, .. } => ("receives", message),
                _ => unreachable!("the plan has no others"),
            };
            let (start, end) = (*start as f64 / 1e3, *end as f64 / 1e3);
            let _ = writeln!(text, "{} {what} {id}: {start} to {end}", role.role);
        }
    }
    let _ = writeln!(text, "wire {:.0} us of P0", found.wire_us[&Role::Party(0)]);
    text
}

const LISTED: [u32; 6] = [0, 1, 2, 3, 4, 5];

#[test]
fn messages_queue_at_the_uplink_and_travel() {
    // Message 0 leaves from 7.6 to 107.6, message 1 right behind it until 307.6; each travels 50.
    assert_snapshot!(timeline(&plan(["", " after [0]"]), 1, &LISTED), @r"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 7.6 to 25.2
    P0 receives 2: 322.8 to 330.4
    P1 receives 0: 157.6 to 165.2
    P1 receives 1: 357.6 to 375.2
    P1 sends 2: 165.2 to 172.8
    wire 300 us of P0
    ");
}

#[test]
fn priorities_decide_and_threads_work_at_once() {
    assert_snapshot!(timeline(&plan(["", " after [0]"]), 1, &[1, 0, 2, 3, 4, 5]), @r"
    P0 sends 0: 17.6 to 25.2
    P0 sends 1: 0 to 17.6
    P0 receives 2: 532.8 to 540.4
    P1 receives 0: 367.6 to 375.2
    P1 receives 1: 267.6 to 285.2
    P1 sends 2: 375.2 to 382.8
    wire 300 us of P0
    ");
    assert_snapshot!(timeline(&plan(["", " after [0, 1]"]), 2, &LISTED), @r"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 0 to 17.6
    P0 receives 2: 532.8 to 540.4
    P1 receives 0: 157.6 to 165.2
    P1 receives 1: 357.6 to 375.2
    P1 sends 2: 375.2 to 382.8
    wire 300 us of P0
    ");
}

#[test]
fn roles_on_one_host_share_its_cores_with_the_transport() {
    let mut shared = Setting { cores: Some(1), ..setting(1) };
    shared.machine.transport_us_per_kb = 100.0;
    // While message 0 is handed to the network until 22.8, message 1 is copied at half speed. The first leaves for
    // 100 and travels 50; the second for 200 from 122.8 on.
    assert_snapshot!(timeline_in(&plan(["", " after [0]"]), &shared, &LISTED), @"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 7.6 to 32.8
    P0 receives 2: 360.8 to 368.4
    P1 receives 0: 180.4 to 188
    P1 receives 1: 390.4 to 408
    P1 sends 2: 188 to 195.6
    wire 300 us of P0
    ");
    // Two cores are enough for two threads, one that computes and one that moves messages.
    shared.cores = Some(2);
    assert_snapshot!(timeline_in(&plan(["", " after [0]"]), &shared, &LISTED), @"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 7.6 to 25.2
    P0 receives 2: 353.2 to 360.8
    P1 receives 0: 172.8 to 180.4
    P1 receives 1: 382.8 to 400.4
    P1 sends 2: 180.4 to 188
    wire 300 us of P0
    ");
}

#[test]
fn a_tail_is_the_longest_way_to_the_end() {
    let (plan, setting) = (plan(["", " after [0]"]), setting(1));
    let tails = Steps::new(&plan, Phase::Online, &setting).tails();
    // Back from the end: 7.6 to receive, 150 under way, 7.6 to send, ...
    assert_eq!(
        tails.iter().map(|t| t / 100).collect::<Vec<_>>(),
        [3304, 2852, 76, 1728, 176, 1652]
    );
}
