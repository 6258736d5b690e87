//! Whole runs of small plans through the simulator: results, costs, schedules, faults.

mod common;

use common::{product_data, product_plan};
use mpcc_ir::plan::{MessageKind, Phase, Plan, Role, Word};
use mpcc_ir::weights::Weights;
use mpcc_runtime::sim::{self, Sim, SimOptions};
use mpcc_runtime::{PeerError, RunError};

const N: usize = 1300;

fn run(plan: &Plan, options: SimOptions) -> Result<sim::SimOutcome, RunError> {
    let (x, s, _) = product_data(plan.word, N);
    sim::run(plan, &s, &[x], options)
}

#[test]
fn a_product_with_an_owners_weights_is_exact() {
    let (_, _, y) = product_data(Word::W32, N);
    for (parties, word) in [(2, Word::W32), (2, Word::W64), (3, Word::W32), (3, Word::W64)] {
        let plan = product_plan(parties, word, N as u64);
        let outcome = run(&plan, SimOptions::default()).unwrap();
        assert_eq!(outcome.outputs[0].raw, y, "{parties} parties, {word:?}");
        let reals: Vec<f32> = y.iter().map(|&y| y as f32 / 16.0).collect();
        assert_eq!(outcome.outputs[0].values, reals);
    }
}

#[test]
fn what_is_counted_is_what_the_plan_says() {
    for parties in [2, 3] {
        let plan = product_plan(parties, Word::W32, N as u64);
        let outcome = run(&plan, SimOptions::default()).unwrap();
        assert_eq!(outcome.rounds, plan.rounds());
        assert_eq!(outcome.rounds, 1);
        let roles = plan.compute_parties().chain([Role::Dealer, Role::Client, Role::Owner]);
        for role in roles {
            for phase in Phase::ALL {
                let counted = outcome.counts[&role].sent_bytes(phase);
                assert_eq!(counted, plan.sent_bytes(role, phase), "{role} {phase}");
            }
        }
        let opened = outcome.counts[&Role::Party(0)].sent[&(Phase::Online, MessageKind::Open)];
        // 20 bits per element to each of the others.
        assert_eq!(opened, (N as u64 * 20).div_ceil(8) * u64::from(parties - 1));
    }
}

#[test]
fn order_and_threads_change_nothing() {
    let (x, s, y) = product_data(Word::W64, N);
    let plan = product_plan(3, Word::W64, N as u64);
    for seed in 0..8 {
        for threads in [1, 2, 3] {
            let options = SimOptions { seed, threads, reorder: true, ..SimOptions::default() };
            let outcome = sim::run(&plan, &s, std::slice::from_ref(&x), options).unwrap();
            assert_eq!(outcome.outputs[0].raw, y, "seed {seed}, {threads} threads");
        }
    }
}

#[test]
fn runs_follow_each_other_in_one_deployment() {
    let (x, s, y) = product_data(Word::W32, N);
    let plan = product_plan(2, Word::W32, N as u64);
    let options = SimOptions { reorder: true, ..SimOptions::default() };
    let mut sim = Sim::new(&plan, s, options).unwrap();
    for q in [3, 4, 9] {
        let outcome = sim.run(q, std::slice::from_ref(&x)).unwrap();
        assert_eq!(outcome.outputs[0].raw, y, "run {q}");
        let setup = outcome.counts[&Role::Dealer].sent_bytes(Phase::Setup);
        assert_eq!(setup > 0, q == 3, "setup is counted once");
    }
}

#[test]
fn runs_in_flight_are_those_one_by_one() {
    let (x, s, _) = product_data(Word::W64, N);
    let runs: Vec<(u64, Vec<Vec<f32>>)> = [2, 3, 5, 6, 7, 11, 12]
        .map(|run| (run, vec![x.iter().map(|x| x / run as f32).collect()]))
        .into();
    let mut seen = Vec::new();
    for (depth, threads, reorder) in [(1, 1, false), (2, 1, true), (4, 3, true), (16, 2, true)] {
        let plan = Plan { depth, ..product_plan(3, Word::W64, N as u64) };
        let options = SimOptions { threads, reorder, ..SimOptions::default() };
        let mut sim = Sim::new(&plan, s.clone(), options).unwrap();
        let outcomes = sim.run_all(&runs).unwrap();
        for outcome in &outcomes {
            assert_eq!(outcome.rounds, plan.rounds());
            let online = outcome.counts[&Role::Party(0)].sent_bytes(Phase::Online);
            assert_eq!(online, plan.sent_bytes(Role::Party(0), Phase::Online));
        }
        let bits = |outcome: sim::SimOutcome| outcome.outputs[0].raw.clone();
        seen.push(outcomes.into_iter().map(bits).collect::<Vec<Vec<i64>>>());
    }
    assert!(seen.iter().all(|bits| *bits == seen[0]));
    assert_eq!(seen[0].len(), runs.len());
}

#[test]
fn faults_end_a_simulation_of_many_runs() {
    let plan = Plan { depth: 3, ..product_plan(2, Word::W32, N as u64) };
    let (x, s, _) = product_data(Word::W32, N);
    let runs: Vec<(u64, Vec<Vec<f32>>)> = (1..6).map(|run| (run, vec![x.clone()])).collect();
    for lose in (4..40).step_by(5) {
        let options = SimOptions { lose: Some(lose), reorder: true, ..SimOptions::default() };
        let done = Sim::new(&plan, s.clone(), options).and_then(|mut sim| sim.run_all(&runs));
        assert!(matches!(done, Err(RunError::Stalled { .. })), "message {lose} lost");
    }
}

#[test]
fn a_lost_message_is_named() {
    let plan = product_plan(2, Word::W32, N as u64);
    let mut stalled = 0;
    for lose in 0..plan.messages.len() {
        match run(&plan, SimOptions { lose: Some(lose), ..SimOptions::default() }) {
            Err(RunError::Stalled { message, from, .. }) => {
                assert_eq!(plan.messages[message as usize].from, from);
                stalled += 1;
            }
            other => panic!("message {lose} lost: {:?}", other.map(|o| o.rounds)),
        }
    }
    assert_eq!(stalled, plan.messages.len());
}

#[test]
fn a_peer_that_hangs_up_is_named() {
    let plan = product_plan(2, Word::W32, N as u64);
    let gone = Role::Party(1);
    for after in 0..plan.messages.len() - 1 {
        let options = SimOptions { hang_up: Some((gone, after)), ..SimOptions::default() };
        let error = run(&plan, options).unwrap_err();
        assert!(
            matches!(error, RunError::Peer { source: PeerError::HungUp { role }, .. } if role == gone),
            "{after}: {error}"
        );
    }
    insta::assert_snapshot!(
        run(&plan, SimOptions { hang_up: Some((gone, 2)), ..SimOptions::default() }).unwrap_err(),
        @"dealer: P1 hung up; see its log for the cause"
    );
}

#[test]
fn bad_inputs_are_named_by_place() {
    let plan = product_plan(2, Word::W32, N as u64);
    let (x, s, _) = product_data(Word::W32, N);
    let with = |at: usize, value: f32| {
        let mut bad = x.clone();
        bad[at] = value;
        sim::run(&plan, &s, &[bad], SimOptions::default()).unwrap_err().to_string()
    };
    insta::assert_snapshot!(with(7, f32::NAN), @"input `x`, element 7: not a finite number; clean the data first");
    insta::assert_snapshot!(with(9, 1234.5), @"input `x`, element 9: outside -100..100, the range that the plan was compiled for; calibrate with such data and compile again");
    assert!(!with(9, 1234.5).contains("1234"));
    let short = sim::run(&plan, &s, &[x[1..].to_vec()], SimOptions::default());
    insta::assert_snapshot!(short.unwrap_err(), @"input `x` has 1299 elements, but the model wants 1300 ([1300])");
    let none = sim::run(&plan, &s, &[], SimOptions::default());
    insta::assert_snapshot!(none.unwrap_err(), @"0 inputs given, but the plan has 1");
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let plan = product_plan(2, Word::W32, N as u64);
    let (x, s, _) = product_data(Word::W32, N);
    let cut = Weights { word: s.word, salt: s.salt, params: vec![s.params[0][4..].to_vec()] };
    let short = sim::run(&plan, &cut, &[x], SimOptions::default());
    insta::assert_snapshot!(short.unwrap_err(), @"parameter `s` has 1299 elements in the weights file instead of 1300");
}
