//! Timelines worked out by hand: sends cost microseconds by the kilobyte, receipts nothing but what is said.

use super::engine::{Engine, Part};
use super::simulate::{Setting, Steps};
use crate::cost::Machine;
use insta::assert_snapshot;
use mpcc_ir::plan::{Phase, Plan, Role, StepOp};
use mpcc_runtime::net::MAX_QUEUED;
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

/// A plan of messages and roles.
pub(super) fn parse(body: &str) -> Plan {
    let digest = "00".repeat(32);
    let text = format!(
        "plan {{
  name \"t\"
  model_digest \"{digest}\"
  weights_digest \"{digest}\"
  word 32 parties 2 weights public depth 1
{body}}}"
    );
    Plan::parse(&text).unwrap()
}

/// `P0` sends messages 0 and 1 to `P1`, which answers the first with message 2.
fn plan([second, answer]: [&str; 2]) -> Plan {
    parse(&format!(
        "  message 0: from P0 to P1 phase online kind open bytes 76 round 1 layer 0
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
"
    ))
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
    // All are sent at once, on one core. After 22.8 message 0 leaves, and has the core for 10; then so does message 2, which is
    // written as well; message 1 has 10 to go, and the core after both.
    (setting.threads, setting.cores) = (2, Some(1));
    assert_snapshot!(timeline_in(&plan(["", ""]), &setting, &LISTED), @"
    P0 sends 0: 0 to 22.8
    P0 sends 1: 0 to 52.8
    P0 receives 2: 182.8 to 182.8
    P1 receives 0: 172.8 to 172.8
    P1 receives 1: 372.8 to 372.8
    P1 sends 2: 0 to 32.8
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

/// `P0` sends 0 offline and 1 online, by itself; the first bytes of each are those of 0.
fn both_phases(bytes: u64) -> Plan {
    let mut plan = plan(["", ""]);
    plan.messages.truncate(2);
    for message in &mut plan.messages {
        message.bytes = bytes;
    }
    plan.messages[0].phase = Phase::Offline;
    for role in &mut plan.roles {
        role.online.truncate(2);
        role.offline = vec![role.online.remove(0)];
    }
    plan
}

/// A message of a run, with when its `Send` was done and when it was received, in microseconds.
type Trip = ((u32, u32), [u64; 2]);

/// Messages of some runs in the order of receipt, when all phases begin at once.
fn trips(plan: &Plan, setting: &Setting, runs: u32) -> Vec<Trip> {
    let [offline, online] =
        [Phase::Offline, Phase::Online].map(|phase| Steps::new(plan, phase, setting));
    // The youngest first, so that only their urgency can put them in order.
    let parts = (0..runs)
        .rev()
        .flat_map(|run| [&offline, &online].map(|steps| Part::new(steps, &[0, 1], run).timed()));
    let mut engine: Engine<'_, ()> = Engine::new(setting, parts.collect(), false);
    for part in 0..2 * runs as usize {
        engine.begin(part, 1);
        engine.begin(part, 0);
    }
    while engine.next().is_some() {}
    let trip = |(part, played): (u32, &Part<'_>)| {
        let [sent, received] = [0, 1].map(|step| played.times.as_ref().unwrap()[step].1 / 1_000);
        ((runs - 1 - part / 2, part % 2), [sent, received])
    };
    let mut trips: Vec<Trip> = (0..).zip(&engine.parts).map(trip).collect();
    trips.sort_by_key(|(_, [_, received])| *received);
    trips
}

#[test]
fn the_oldest_run_and_what_is_online_go_first() {
    let order = [(2, 0), (0, 1), (1, 1), (2, 1), (0, 0), (1, 0)];
    // All are sent at once, and the youngest run's first message has the wire before the others; each takes 100.
    let mut at_once = setting(6);
    at_once.machine.send_us_per_kb = 0.0;
    let expected = order.into_iter().zip(1..).map(|(which, at)| (which, [0, 50 + 100 * at]));
    assert_eq!(trips(&both_phases(76), &at_once, 3), expected.collect::<Vec<_>>());
    // One thread takes longer for each than the wire. It begins with the same message, and goes on with the most urgent ones.
    let mut one_by_one = setting(1);
    one_by_one.machine.send_us_per_kb = 10_000.0;
    let found = trips(&both_phases(76), &one_by_one, 3);
    assert_eq!(found.into_iter().map(|(which, _)| which).collect::<Vec<_>>(), order);
}

#[test]
fn a_sender_waits_for_room_in_the_queue_of_its_phase() {
    let mut setting = setting(1);
    setting.machine.send_us_per_kb = 0.0;
    let mut plan = both_phases(MAX_QUEUED + 1);
    plan.messages[1].bytes = 76;
    let trips = trips(&plan, &setting, 3);
    // Online messages do not wait; of the offline ones, which take `whole` on the wire, only one is queued at a time. The
    // short ones go between the first two.
    let (whole, short) = (MAX_QUEUED + 25, 100);
    let sent: Vec<_> = trips.iter().map(|(which, [sent, _])| (*which, *sent)).collect();
    let waits = whole - 1..=whole + 1;
    assert_eq!(sent[..4].iter().map(|(_, sent)| *sent).collect::<Vec<_>>(), [0; 4]);
    assert_eq!((sent[4].0, sent[5].0), ((0, 0), (1, 0)));
    assert!(waits.contains(&sent[4].1), "{trips:?}");
    assert!(waits.contains(&(sent[5].1 - 3 * short - whole)), "{trips:?}");
}
