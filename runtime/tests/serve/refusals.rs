//! Who does not fit, is missing or lies is named.

use crate::caller::{Caller, false_dealer};
use crate::town::{Town, all_are_well, check, input, join};
use mpcc_ir::plan::{Message, MessageKind, Phase, Role};
use mpcc_runtime::net::frame::{Frame, Header, Kind};
use mpcc_runtime::serve::{StopHandle, infer};
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[test]
fn a_setup_that_fails_ends_the_session() {
    let mut town = Town::with_depth(2, 2);
    let mut roles = town.roles();
    roles.push(Role::Client);
    all_are_well(town.start(&roles, |options| options.fill = Some(2)));
    town.listen();
    // Whole, and no messages of the setup.
    let store = town.state_dir(Role::Party(1)).join("store");
    std::fs::copy(store.join("run-1"), store.join("setup")).unwrap();
    let parties: Vec<Role> = town.plan.compute_parties().collect();
    let threads = town.start(&parties, |options| options.stored = true);
    let start = Instant::now();
    while !threads.values().all(JoinHandle::is_finished) {
        assert!(start.elapsed() < Duration::from_secs(30), "a role waits for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut said = join(threads).into_values().map(|report| report.unwrap_err().to_string());
    insta::assert_snapshot!(said.next().unwrap(), @"P1 ended: P1: message 4 belongs to the offline phase and came in the setup phase");
    insta::assert_snapshot!(said.next().unwrap(), @"P1: message 4 belongs to the offline phase and came in the setup phase");
}

#[test]
fn another_plan_is_refused_at_both_ends() {
    let mut town = Town::new(2);
    let threads = town.start(&[Role::Party(0), Role::Party(1)], |options| {
        if options.role == Role::Party(1) {
            options.plan_digest = [0; 32];
        }
    });
    for (role, report) in join(threads) {
        let error = report.unwrap_err().to_string();
        assert!(error.contains("has another plan"), "{role}: {error}");
    }
}

#[test]
fn a_role_at_a_wrong_address_is_refused_at_both_ends() {
    let mut town = Town::new(2);
    let swapped = town.peers[&Role::Dealer].clone();
    let (lines, stop) = (Arc::new(Mutex::new(Vec::new())), StopHandle::default());
    let mut threads = town.start(&[Role::Dealer, Role::Party(1)], |options| {
        if options.role == Role::Party(1) {
            options.peers.insert(Role::Party(0), swapped.clone());
        } else {
            let lines = Arc::clone(&lines);
            options.log = Arc::new(move |line| lines.lock().unwrap().push(line.to_owned()));
            options.stop = stop.clone();
        }
    });
    let p1 = threads.remove(&Role::Party(1)).unwrap().join().unwrap().unwrap_err().to_string();
    assert_eq!(p1, "the address of P0 belongs to dealer; check `peers` in this configuration");
    stop.stop();
    // Stopped, or told by P1 of its end.
    assert!(join(threads).into_values().all(|report| report.is_err()));
    let said = "P1 looks for P0 here, but this is dealer; check `peers` in its configuration";
    let said = format!("dealer: refused a connection: {said}");
    assert!(lines.lock().unwrap().contains(&said), "{lines:?}");
}

#[test]
fn a_missing_role_is_named() {
    let mut town = Town::new(2);
    drop(town.listeners.remove(&Role::Dealer));
    let threads = town.start(&[Role::Party(0), Role::Party(1), Role::Owner], |options| {
        options.connect_within = Duration::from_secs(3);
    });
    let errors: Vec<String> =
        join(threads).into_values().map(|report| report.unwrap_err().to_string()).collect();
    assert!(errors.iter().all(|error| error.contains("dealer")), "{errors:?}");
}

#[test]
fn messages_of_runs_far_ahead_are_refused() {
    for depth in [1, 3] {
        let mut town = Town::with_depth(2, depth);
        let last = Role::Party(1);
        let threads = town.start(&[Role::Party(0), last], |_| ());
        let mut dealer = Caller::new(&town, Role::Dealer, last);
        let is_correction = |m: &Message| m.kind == MessageKind::Correction;
        let message = town.plan.messages.iter().position(is_correction).unwrap() as u32;
        let payload = vec![0; town.plan.messages[message as usize].bytes as usize];
        let (kind, phase, len, depth) = (Kind::Data, Phase::Offline, payload.len() as u32, 0);
        // Before the session starts no run has begun: those that may be in reach wait, and the next one does not.
        for run in 1..=2 * u64::from(town.plan.depth) + 3 {
            let header = Header { len, kind, phase, message, depth, run };
            dealer.send(&Frame { header, payload: payload.clone().into() });
        }
        let error = join(threads).remove(&last).unwrap().unwrap_err();
        let run = 2 * town.plan.depth + 3;
        let said = format!(
            "P1: dealer sent a message of run {run}, which is over or too far ahead of run 0"
        );
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn a_dealer_that_hangs_up_or_lies_is_named() {
    let header = |len, kind| {
        let (message, depth, run) = (9999, 0, 0);
        Header { len, kind, phase: Phase::Setup, message, depth, run }.bytes()
    };
    let truncated = [&header(100, Kind::Seed)[..], &[1; 50]].concat();
    let cases = [
        (vec![], "dealer ended: it closed the connection"),
        (truncated, "dealer ended: the connection broke: early eof"),
        (
            header(u32::MAX, Kind::Data).to_vec(),
            "dealer ended: a frame of 4294967295 bytes where at most 2800 are allowed",
        ),
        (
            header(0, Kind::Data).to_vec(),
            "dealer ended: message 9999 does not exist in this plan; check that both run the same plan",
        ),
        (
            header(0, Kind::Accept).to_vec(),
            "dealer ended: dealer may not send a Accept frame to P0",
        ),
    ];
    for (sent, said) in cases {
        let mut town = Town::new(2);
        let threads = town.start(&[Role::Party(0)], |_| ());
        false_dealer(&town, &sent);
        let error = join(threads).remove(&Role::Party(0)).unwrap().unwrap_err();
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn garbage_on_the_port_is_ignored() {
    let mut town = Town::new(2);
    let addresses: Vec<String> = town.peers.values().cloned().collect();
    let threads = town.start(&town.roles(), |options| options.runs = Some(1));
    for address in addresses {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: nobody\r\nAccept: */*\r\n\r\n").unwrap();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(&[0xff; 3]).unwrap();
    }
    check(&infer(&town.client(1), &[input()]).unwrap(), 1);
    all_are_well(threads);
}
