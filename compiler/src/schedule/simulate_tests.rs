//! Timelines worked out by hand: sends cost microseconds by the kilobyte, receipts nothing but what is said.

use super::simulate::{Setting, Steps};
use crate::cost::Machine;
use insta::assert_snapshot;
use mpcc_ir::plan::{Phase, Plan, Role, StepOp};
use std::fmt::Write as _;

/// A hundred bytes take 100 us on the wire, 10 us to send; it takes 50 us to the other host.
pub(super) fn setting(threads: usize) -> Setting {
    let machine = Machine {
        step_us: 0.0,
        wake_us: 0.0,
        send_us: 0.0,
        send_us_per_kb: 100.0,
        receive_us: 0.0,
        receive_us_per_kb: 0.0,
        ..Machine::default()
    };
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
    assert_snapshot!(timeline(&plan(["", " after [0]"]), 1, &LISTED), @"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 7.6 to 25.2
    P0 receives 2: 315.2 to 315.2
    P1 receives 0: 157.6 to 157.6
    P1 receives 1: 357.6 to 357.6
    P1 sends 2: 157.6 to 165.2
    wire 300 us of P0
    ");
}

#[test]
fn priorities_decide_and_threads_work_at_once() {
    assert_snapshot!(timeline(&plan(["", " after [0]"]), 1, &[1, 0, 2, 3, 4, 5]), @"
    P0 sends 0: 17.6 to 25.2
    P0 sends 1: 0 to 17.6
    P0 receives 2: 525.2 to 525.2
    P1 receives 0: 367.6 to 367.6
    P1 receives 1: 267.6 to 267.6
    P1 sends 2: 367.6 to 375.2
    wire 300 us of P0
    ");
    assert_snapshot!(timeline(&plan(["", " after [0, 1]"]), 2, &LISTED), @"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 0 to 17.6
    P0 receives 2: 515.2 to 515.2
    P1 receives 0: 157.6 to 157.6
    P1 receives 1: 357.6 to 357.6
    P1 sends 2: 357.6 to 365.2
    wire 300 us of P0
    ");
}

#[test]
fn messages_are_read_before_their_receipt() {
    let mut setting = setting(1);
    (setting.machine.receive_us, setting.machine.wake_us) = (5.0, 2.0);
    // Message 0 is there at 157.6; a thread wakes up for 2 and reads it in 5, and the thread that computes wakes up for 2.
    assert_snapshot!(timeline_in(&plan(["", " after [0]"]), &setting, &LISTED), @"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 7.6 to 25.2
    P0 receives 2: 333.2 to 333.2
    P1 receives 0: 166.6 to 166.6
    P1 receives 1: 366.6 to 366.6
    P1 sends 2: 166.6 to 174.2
    wire 300 us of P0
    ");
}

#[test]
fn roles_on_one_host_share_its_cores_with_the_threads_that_read() {
    let mut shared = Setting { cores: Some(1), ..setting(1) };
    (shared.machine.receive_us, shared.machine.receive_us_per_kb) = (5.0, 100.0);
    // Message 0 is read from 145 on, beside its arrival at 157.6, and message 1 from 335 to 357.6.
    assert_snapshot!(timeline_in(&plan(["", " after [0]"]), &shared, &LISTED), @"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 7.6 to 25.2
    P0 receives 2: 315.2 to 315.2
    P1 receives 0: 157.6 to 157.6
    P1 receives 1: 357.6 to 357.6
    P1 sends 2: 157.6 to 165.2
    wire 300 us of P0
    ");
    // On one core nothing is computed while messages are read: the answer waits until message 1 has been.
    shared.machine.receive_us = 250.0;
    assert_snapshot!(timeline_in(&plan(["", " after [0]"]), &shared, &LISTED), @"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 7.6 to 548
    P0 receives 2: 548 to 815.6
    P1 receives 0: 265.2 to 265.2
    P1 receives 1: 815.6 to 815.6
    P1 sends 2: 265.2 to 280.4
    wire 300 us of P0
    ");
    shared.cores = Some(2);
    assert_snapshot!(timeline_in(&plan(["", " after [0]"]), &shared, &LISTED), @"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 7.6 to 25.2
    P0 receives 2: 530.4 to 530.4
    P1 receives 0: 265.2 to 265.2
    P1 receives 1: 532.8 to 532.8
    P1 sends 2: 265.2 to 272.8
    wire 300 us of P0
    ");
}

#[test]
fn messages_that_have_left_may_keep_the_core_of_their_sender() {
    let mut setting = setting(1);
    (setting.machine.carry_us, setting.machine.carry_us_per_kb) = (2.4, 100.0);
    // Message 0 leaves at 7.6 as ever; the next one is begun 10 later.
    assert_snapshot!(timeline_in(&plan(["", " after [0]"]), &setting, &LISTED), @"
    P0 sends 0: 0 to 7.6
    P0 sends 1: 17.6 to 35.2
    P0 receives 2: 315.2 to 315.2
    P1 receives 0: 157.6 to 157.6
    P1 receives 1: 357.6 to 357.6
    P1 sends 2: 157.6 to 165.2
    wire 300 us of P0
    ");
}

#[test]
fn a_tail_is_the_longest_way_to_the_end() {
    let (plan, setting) = (plan(["", " after [0]"]), setting(1));
    let tails = Steps::new(&plan, Phase::Online, &setting).tails();
    // Back from the end: 150 under way, 7.6 to send, ...
    assert_eq!(tails.iter().map(|t| t / 100).collect::<Vec<_>>(), [3152, 2676, 0, 1576, 0, 1576]);
}
