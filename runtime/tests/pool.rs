//! Which steps compute threads take when several phases are open.

mod common;

use common::product_plan;
use mpcc_ir::plan::{Message, Phase, Role, Word};
use mpcc_runtime::RunError;
use mpcc_runtime::executor::{Executor, Outbox};
use mpcc_runtime::kernels::Scratch;
use mpcc_runtime::packet::Packet;
use mpcc_runtime::params::Params;
use mpcc_runtime::pool::Until;
use mpcc_runtime::role::RoleState;
use mpcc_runtime::sim::party_seed;
use std::sync::{Arc, Mutex};

/// Notes what is sent.
#[derive(Default)]
struct Sent(Mutex<Vec<(Phase, u64)>>);

impl Outbox for Sent {
    fn send(&self, packet: Packet) -> Result<(), RunError> {
        self.0.lock().expect("no thread panics").push((packet.phase, packet.run));
        Ok(())
    }
}

/// The phases that messages are sent in when `role` has all of `phases` to do and one thread.
fn order(role: Role, phases: &[(Phase, u64)]) -> Vec<(Phase, u64)> {
    let plan = Arc::new(product_plan(2, Word::W32, 700));
    let seeds = [0, 1].map(|party| (party, party_seed(1, party))).into();
    let state = RoleState::new(plan, role, Params::public(), seeds).expect("a plan to run");
    let sent = Sent::default();
    let started: Vec<_> = phases
        .iter()
        .map(|(phase, run)| {
            let executor = state.start(*phase, *run, &state.run_arena().expect("little memory"));
            state.pool().add(&executor);
            executor
        })
        .collect();
    state.pool().work(Until::Idle, 0, &mut Scratch::new(), &sent);
    for executor in started {
        assert_eq!(executor.failure(), None);
        state.pool().remove(&executor);
    }
    let mut sent = sent.0.into_inner().expect("no thread panics");
    sent.dedup();
    sent
}

#[test]
fn the_oldest_run_goes_first() {
    use Phase::{Offline, Online};
    let dealt = order(Role::Dealer, &[(Offline, 6), (Offline, 4), (Offline, 5)]);
    assert_eq!(dealt, [(Offline, 4), (Offline, 5), (Offline, 6)]);
    let shares = order(Role::Party(0), &[(Online, 9), (Offline, 3), (Online, 8)]);
    assert_eq!(shares, [(Online, 8), (Online, 9)]);
}

#[test]
fn a_run_waits_for_what_it_uses_of_the_setup() {
    let plan = Arc::new(product_plan(2, Word::W32, 700));
    let role = Role::Party(1);
    let seeds = vec![(1, party_seed(1, 1))];
    let state = RoleState::new(Arc::clone(&plan), role, Params::public(), seeds).expect("a plan");
    let arena = state.run_arena().expect("little memory");
    let [setup, offline] = [Phase::Setup, Phase::Offline].map(|phase| {
        let executor = state.start(phase, 7, &arena);
        state.pool().add(&executor);
        executor
    });
    let deliver = |to: &Arc<Executor>| {
        let (phase, run) = (to.phase(), to.run());
        let is_its = |m: &Message| m.to == role && m.phase == phase;
        let (message, info) =
            (0..).zip(&plan.messages).find(|(_, m)| is_its(m)).expect("one of each");
        let (from, payload) = (info.from, vec![0; info.bytes as usize]);
        let packet =
            Packet { from, to: role, phase, run, message, depth: 0, payload: payload.into() };
        to.deliver(packet).expect("a message of the plan");
        state.pool().work(Until::Idle, 0, &mut Scratch::new(), &Sent::default());
    };
    // All that it receives is here, but not the weights: it neither goes on nor calls that a fault.
    deliver(&offline);
    assert_eq!((offline.is_done(), offline.failure()), (false, None));
    deliver(&setup);
    assert!(setup.is_done() && offline.is_done());
    // A run that begins when the setup is over waits for nothing else than its message.
    let later = state.start(Phase::Offline, 8, &arena);
    state.pool().add(&later);
    deliver(&later);
    assert!(later.is_done());
}
