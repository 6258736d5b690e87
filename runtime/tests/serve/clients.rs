//! What clients do, and leave undone, costs them alone.

use crate::caller::{Caller, parties_alone};
use crate::town::{Town, all_are_well, check, input, join, run_numbers};
use mpcc_ir::plan::{MessageKind, Role};
use mpcc_runtime::net::frame::{Frame, Header, Kind};
use mpcc_runtime::serve::{ServeError, infer};
use std::io::Write as _;
use std::time::Duration;

/// What a client needs to send its input comes while the parties get ready.
#[test]
fn a_client_gets_a_run_when_it_begins() {
    let (town, threads, callers) = parties_alone();
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    // Nobody deals, so no run is ready, and none follows these two.
    for _ in 0..4 {
        client.send(&Frame::control(Kind::Request, 0, vec![]));
    }
    let given = [(); 2].map(|()| client.receive().header);
    assert_eq!(
        given.map(|header| (header.kind, header.run)),
        [(Kind::Accept, 1), (Kind::Accept, 2)]
    );
    drop(callers);
    assert_eq!(client.receive().header.kind, Kind::Bye);
    assert!(join(threads).into_values().all(|report| report.is_err()));
}

#[test]
fn a_client_is_told_when_its_run_is_ready() {
    let (mut town, p0) = (Town::with_depth(2, 2), Role::Party(0));
    let (threads, stop) = town.start_stoppable(&town.roles(), p0);
    let mut client = Caller::new(&town, Role::Client, p0);
    assert_eq!(client.ask(), 1);
    client.wait_for_ready(1);
    drop(client);
    stop.stop();
    all_are_well(threads);
}

/// Clients that give up runs which the others have not begun do not make `P_0` go on without them.
#[test]
fn runs_that_are_given_up_wait_for_all_to_begin_them() {
    let (town, threads, mut callers) = parties_alone();
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!([client.ask(), client.ask()], [1, 2]);
    drop(client);
    let dealer = &mut callers[0];
    // The dealer hears of both, that they are called off, and of a third in the place of the one that it has begun.
    let mut heard = [(); 5].map(|()| {
        let header = dealer.next_of(&[Kind::Ask, Kind::Abort]).header;
        (header.kind == Kind::Abort, header.run)
    });
    heard.sort_unstable();
    assert_eq!(heard, [(false, 1), (false, 2), (false, 3), (true, 1), (true, 2)]);
    // Had `P_0` gone on from the second, the dealer would hear of a fourth before this.
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!(client.ask(), 3);
    drop(client);
    let header = dealer.receive().header;
    assert_eq!((header.kind, header.run), (Kind::Abort, 3));
    dealer.send(&Frame::control(Kind::Began, 2, vec![]));
    let header = dealer.receive().header;
    assert_eq!((header.kind, header.run), (Kind::Ask, 4));
    drop(callers);
    assert!(join(threads).into_values().all(|report| report.is_err()));
}

/// A client that has a run and does nothing with it holds nobody up; when it hangs up, its run alone is lost.
#[test]
fn a_run_that_hangs_and_is_called_off_leaves_the_others_alone() {
    let mut town = Town::with_depth(2, 3);
    let threads = town.start(&town.roles(), |options| options.runs = Some(7));
    let mut idle = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!(idle.ask(), 1);
    let outcome = infer(&town.client(6), &[input()]).unwrap();
    check(&outcome, 6);
    assert!(run_numbers(&outcome).into_iter().eq(2..=7));
    drop(idle);
    let outcome = infer(&town.client(1), &[input()]).unwrap();
    check(&outcome, 1);
    assert_eq!(outcome.report.runs[0].run, 8);
    for (role, report) in join(threads) {
        let completed = report.unwrap().runs.len();
        assert_eq!(completed, if role == Role::Owner { 0 } else { 7 }, "{role}");
    }
}

#[test]
fn a_client_has_as_many_runs_as_the_plan_says() {
    let mut town = Town::with_depth(2, 2);
    let (threads, stop) = town.start_stoppable(&[Role::Party(0)], Role::Party(0));
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    // As many as are in flight may wait for a place.
    for _ in 0..5 {
        client.send(&Frame::control(Kind::Request, 0, vec![]));
    }
    assert_eq!(client.last_words(), "a client asks for 5 runs at a time");
    stop.stop();
    let stopped = join(threads).remove(&Role::Party(0)).unwrap();
    assert!(matches!(stopped, Err(ServeError::Stopped)), "{stopped:?}");
}

#[test]
fn a_client_that_breaks_off_costs_its_run_only() {
    let mut town = Town::new(2);
    let threads = town.start(&town.roles(), |options| options.runs = Some(1));
    let mut hasty = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!(hasty.ask(), 1);
    drop(hasty);
    let outcome = infer(&town.client(1), &[input()]).unwrap();
    check(&outcome, 1);
    assert_eq!(outcome.report.runs[0].run, 2);
    all_are_well(threads);
}

/// A client that is told to send its input and does not loses its run after the time that a message may be late.
#[test]
fn a_client_that_sends_no_input_keeps_nobody_waiting() {
    let mut town = Town::new(2);
    let threads = town.start(&town.roles(), |options| {
        options.runs = Some(1);
        if options.role == Role::Party(0) {
            options.stall = Some(Duration::from_secs(10));
        }
    });
    let mut silent = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!(silent.ask(), 1);
    let outcome = infer(&town.client(1), &[input()]).unwrap();
    check(&outcome, 1);
    assert_eq!(outcome.report.runs[0].run, 2);
    silent.wait_for_ready(1);
    // Shares of the result that do not depend on the input may come first.
    let mut header = silent.receive().header;
    while header.kind == Kind::Data {
        header = silent.receive().header;
    }
    assert_eq!((header.kind, header.run), (Kind::Abort, 1));
    drop(silent);
    all_are_well(threads);
}

/// It gets no more than a run that begins, and never hears that it is ready.
#[test]
fn a_client_that_leaves_in_order_before_its_run_is_ready_gives_it_back() {
    let (town, threads, mut callers) = parties_alone();
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    assert_eq!([client.ask(), client.ask()], [1, 2]);
    client.send(&Frame::control(Kind::Bye, 0, vec![]));
    let called_off = [(); 2].map(|()| callers[0].next_of(&[Kind::Abort]).header.run);
    assert_eq!(called_off, [1, 2]);
    drop((callers, client));
    assert!(join(threads).into_values().all(|report| report.is_err()));
}

/// A client that sends something without the mask of its input takes no slot of the dealer with it.
#[test]
fn a_run_that_nobody_claims_at_the_dealer_ends_there() {
    let mut town = Town::new(2);
    let threads = town.start(&town.roles(), |options| options.runs = Some(2));
    let parties = [Role::Party(0), Role::Party(1)];
    let mut links = parties.map(|to| Caller::new(&town, Role::Client, to));
    let (run, token) = links[0].ask_to_claim();
    links[1].claim(run, &token);
    links[0].wait_for_ready(run);
    for (id, message) in town.plan.messages.iter().enumerate() {
        let Some(at) = parties.iter().position(|to| *to == message.to) else { continue };
        if message.kind == MessageKind::Input {
            let (len, phase, message) = (message.bytes as u32, message.phase, id as u32);
            let header = Header { len, kind: Kind::Data, phase, message, depth: 0, run };
            links[at].send(&Frame { header, payload: vec![0; len as usize].into() });
        }
    }
    check(&infer(&town.client(1), &[input()]).unwrap(), 1);
    drop(links);
    all_are_well(threads);
}

#[test]
fn a_run_is_claimed_only_by_whom_it_was_given_to() {
    let (town, threads, callers) = parties_alone();
    let mut client = Caller::new(&town, Role::Client, Role::Party(0));
    let (run, token) = client.ask_to_claim();
    for (run, token) in [(run, &[0; 32][..]), (run, &[]), (run + 1, &token)] {
        let mut thief = Caller::new(&town, Role::Client, Role::Party(1));
        thief.claim(run, token);
        assert_eq!(thief.last_words(), format!("run {run} was not given to this client"));
    }
    let mut owner = Caller::new(&town, Role::Client, Role::Party(1));
    owner.claim(run, &token);
    owner.claim(run, &token);
    assert_eq!(owner.last_words(), format!("run {run} is not free"));
    drop((callers, client));
    assert!(join(threads).into_values().all(|report| report.is_err()));
}

/// Before it sends so much as a byte of it.
#[test]
fn a_client_may_not_announce_what_is_not_its_own() {
    let (town, threads, callers) = parties_alone();
    let refused = |kind: MessageKind| {
        let id = town.plan.messages.iter().position(|m| m.kind == kind && m.to == Role::Party(1));
        let (id, message) = (id.unwrap() as u32, &town.plan.messages[id.unwrap()]);
        let (len, phase) = (message.bytes as u32, message.phase);
        let header = Header { len, kind: Kind::Data, phase, message: id, depth: 0, run: 1 };
        let mut client = Caller::new(&town, Role::Client, Role::Party(1));
        client.0.write_all(&header.bytes()).unwrap();
        client.last_words()
    };
    let said = refused(MessageKind::Correction);
    assert!(said.contains("dealer"), "{said}");
    assert_eq!(refused(MessageKind::Input), "run 1 does not belong to this client");
    drop(callers);
    assert!(join(threads).into_values().all(|report| report.is_err()));
}
