//! Runs, what they cost, and what is left of them after a restart.

use crate::caller::Caller;
use crate::town::{Town, all_are_well, check, input, join, run_numbers};
use mpcc_ir::plan::{Phase, Role};
use mpcc_runtime::serve::{InferOptions, infer};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

#[test]
fn runs_over_tcp_cost_what_the_plan_says() {
    for (parties, depth, threads) in [(2, 1, 1), (2, 2, 1), (2, 4, 2), (3, 1, 2), (3, 3, 1)] {
        let mut town = Town::with_depth(parties, depth);
        let threads = town.start(&town.roles(), |options| {
            (options.runs, options.threads) = (Some(7), threads);
        });
        let outcome = infer(&town.client(7), &[input()]).unwrap();
        check(&outcome, 7);
        let numbers = run_numbers(&outcome);
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7], "in order, whichever is ready first");
        assert_eq!(
            outcome.s_per_run().is_some(),
            7 >= 3 * depth - 1,
            "a group between the first and the last"
        );
        assert_eq!(outcome.report.rounds, town.plan.rounds());
        for (role, report) in join(threads) {
            let report = report.unwrap();
            let planned = |phase| town.plan.sent_bytes(role, phase);
            assert_eq!(report.sent_bytes.setup, planned(Phase::Setup), "{role}");
            if role != Role::Owner {
                assert_eq!(report.runs.len(), 7, "{role}");
                assert_eq!(report.sent_bytes.offline, planned(Phase::Offline), "{role}");
                assert_eq!(report.sent_bytes.online, planned(Phase::Online), "{role}");
            }
            assert!(report.wire_bytes > report.sent_bytes.setup, "{role}");
        }
    }
}

#[test]
fn clients_come_and_go_and_a_stop_is_orderly() {
    for depth in [1, 3] {
        clients_come_and_go(Town::with_depth(2, depth));
    }
}

fn clients_come_and_go(mut town: Town) {
    let (threads, stop) = town.start_stoppable(&town.roles(), Role::Party(1));
    check(&infer(&town.client(1), &[input()]).unwrap(), 1);
    let both: Vec<_> = (0..2)
        .map(|_| {
            let options = town.client(2);
            std::thread::spawn(move || infer(&options, &[input()]).unwrap())
        })
        .collect();
    let mut numbers = vec![];
    for client in both {
        let outcome = client.join().unwrap();
        check(&outcome, 2);
        numbers.extend(run_numbers(&outcome));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4, 5], "no run number is given out twice");
    stop.stop();
    for (role, report) in join(threads) {
        assert!(report.is_ok(), "{role}: {report:?}");
    }
}

#[test]
fn run_numbers_go_on_after_a_restart() {
    let mut town = Town::new(2);
    let mut last = 0;
    for _ in 0..2 {
        let threads = town.start(&town.roles(), |options| options.runs = Some(2));
        let outcome = infer(&town.client(2), &[input()]).unwrap();
        let numbers = run_numbers(&outcome);
        assert!(numbers[0] > last && numbers[1] > numbers[0], "{numbers:?} after {last}");
        last = numbers[1];
        all_are_well(threads);
        town.listen();
    }
}

/// Stops everything in the middle of runs, as a crash would, but for what was on the disk.
#[test]
fn a_crash_with_runs_in_flight_repeats_no_number() {
    let mut town = Town::with_depth(2, 3);
    let (threads, stop) = town.start_stoppable(&town.roles(), Role::Party(0));
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!([client.ask(), client.ask(), client.ask()], [1, 2, 3]);
    client.wait_for_ready(3);
    let mut after = Town::with_depth(2, 3);
    for role in [Role::Party(0), Role::Party(1), Role::Dealer] {
        let to = after.state_dir(role);
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(town.state_dir(role).join("next_run"), to.join("next_run")).unwrap();
    }
    drop(client);
    stop.stop();
    all_are_well(threads);
    let threads = after.start(&after.roles(), |options| options.runs = Some(4));
    let outcome = infer(&after.client(4), &[input()]).unwrap();
    check(&outcome, 4);
    // Sixteen numbers were recorded at once.
    let runs = run_numbers(&outcome);
    assert_eq!(runs, [17, 18, 19, 20]);
    all_are_well(threads);
}

#[test]
fn a_dealer_that_stops_in_order_ends_the_session_in_order() {
    let mut town = Town::with_depth(2, 2);
    let (threads, stop) = town.start_stoppable(&town.roles(), Role::Dealer);
    check(&infer(&town.client(3), &[input()]).unwrap(), 3);
    stop.stop();
    all_are_well(threads);
}

#[test]
fn stored_runs_need_no_dealer_and_are_used_once() {
    for depth in [1, 2, 4] {
        stored_runs(Town::with_depth(2, depth));
    }
}

fn stored_runs(mut town: Town) {
    let mut roles = town.roles();
    roles.push(Role::Client);
    let threads = town.start(&roles, |options| options.fill = Some(2));
    all_are_well(threads);
    assert!(town.state_dir(Role::Client).join("store/run-2").exists());

    town.listen();
    let parties: Vec<Role> = town.plan.compute_parties().collect();
    let recorded = Arc::new(Mutex::new(BTreeSet::new()));
    let threads = town.start(&parties, |options| {
        options.stored = true;
        let (file, recorded) = (options.state_dir.join("next_run"), Arc::clone(&recorded));
        options.log = Arc::new(move |_| {
            let number = std::fs::read_to_string(&file).ok().and_then(|n| n.trim().parse().ok());
            recorded.lock().unwrap().extend::<Option<u64>>(number);
        });
    });
    let mut client = town.client(3);
    client.stored = true;
    // The third run is not in the store: the parties end in order, and the client says so.
    let error = infer(&client, &[input()]).unwrap_err();
    assert_eq!(error.to_string(), "P0 ended: it serves no more runs");
    for (role, report) in join(threads) {
        let report = report.unwrap();
        assert_eq!(report.runs.len(), 2, "{role}");
        assert_eq!(
            report.sent_bytes.setup, 0,
            "{role}: the setup was sent when the store was filled"
        );
    }
    for role in parties {
        assert!(!Path::new(&town.state_dir(role)).join("store/run-1").exists());
    }
    // No number more than is used: a crash must not take runs from the store.
    let recorded = recorded.lock().unwrap();
    assert!(recorded.last().is_some_and(|last| *last <= 3), "{recorded:?}");
}

#[test]
fn a_client_keeps_as_many_outputs_as_it_is_told() {
    let mut town = Town::new(2);
    let threads = town.start(&town.roles(), |options| options.runs = Some(3));
    let outcome = infer(&InferOptions { keep: Some(1), ..town.client(3) }, &[input()]).unwrap();
    check(&outcome, 1);
    assert_eq!(outcome.report.runs.len(), 3);
    all_are_well(threads);
}

#[test]
fn a_bad_input_calls_nobody() {
    let town = Town::new(2);
    let mut x = input();
    x[3] = f32::NAN;
    let error = infer(&town.client(1), &[x]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input `x`, element 3: not a finite number; clean the data first"
    );
}
