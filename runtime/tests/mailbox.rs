//! What a role keeps of what comes early: bounded, whatever a peer sends.

mod common;

use common::product_plan;
use mpcc_ir::plan::{MessageKind, Phase, Plan, Role, Word};
use mpcc_runtime::mailbox::Mailbox;
use mpcc_runtime::packet::Packet;
use mpcc_runtime::{PeerError, RunError};

/// The correction of `run`, for the last party.
fn correction(plan: &Plan, run: u64) -> Packet {
    let found = plan.messages.iter().position(|m| m.kind == MessageKind::Correction);
    let message = found.expect("the plan deals something") as u32;
    let payload = vec![0; plan.messages[message as usize].bytes as usize].into();
    let (from, to, phase, depth) = (Role::Dealer, Role::Party(1), Phase::Offline, 0);
    Packet { from, to, phase, run, message, depth, payload }
}

#[test]
fn messages_wait_for_runs_in_reach_once_each() {
    for depth in [1, 4] {
        let plan = Plan { depth, ..product_plan(2, Word::W32, 700) };
        let mailbox = Mailbox::new(Role::Party(1));
        mailbox.start_after(6);
        mailbox.begin(7);
        let last = 7 + 2 * u64::from(depth) + 1;
        for run in 7..=last {
            assert_eq!(mailbox.deliver(&plan, correction(&plan, run)), Ok(()));
            let again = mailbox.deliver(&plan, correction(&plan, run)).unwrap_err();
            assert!(matches!(again, RunError::Peer { source: PeerError::Twice { .. }, .. }));
        }
        let far = |run| {
            let (role, newest) = (Role::Dealer, 7);
            let source = PeerError::WrongRun { role, run, newest };
            Err(RunError::Peer { role: Role::Party(1), source })
        };
        for run in [last + 1, last + 1000, u64::MAX] {
            assert_eq!(mailbox.deliver(&plan, correction(&plan, run)), far(run));
        }
        mailbox.begin(8);
        assert_eq!(mailbox.deliver(&plan, correction(&plan, last + 1)), Ok(()));
        assert!(mailbox.deliver(&plan, correction(&plan, last + 2)).is_err());
    }
}

#[test]
fn messages_of_runs_that_are_over_are_dropped() {
    let plan = Plan { depth: 3, ..product_plan(2, Word::W32, 700) };
    let mailbox = Mailbox::new(Role::Party(1));
    for run in [1, 2, 3] {
        mailbox.begin(run);
    }
    assert_eq!(mailbox.deliver(&plan, correction(&plan, 2)), Ok(()));
    mailbox.end(2);
    // Not a second copy: the first went with the run.
    for _ in 0..3 {
        assert_eq!(mailbox.deliver(&plan, correction(&plan, 2)), Ok(()));
    }
    assert_eq!(mailbox.deliver(&plan, correction(&plan, 1)), Ok(()));
    assert!(mailbox.deliver(&plan, correction(&plan, 1)).is_err(), "run 1 is still in flight");
}
