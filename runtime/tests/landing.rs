//! Messages that are read from the network into their place, piece by piece.

mod common;

use common::product_plan;
use mpcc_ir::plan::{MessageKind, Phase, Plan, Role, Word};
use mpcc_runtime::arena::Arena;
use mpcc_runtime::executor::{Executor, Outbox, Unwanted};
use mpcc_runtime::kernels::Scratch;
use mpcc_runtime::packet::{Envelope, Packet};
use mpcc_runtime::params::Params;
use mpcc_runtime::pool::Until;
use mpcc_runtime::role::RoleState;
use mpcc_runtime::sim::party_seed;
use mpcc_runtime::{PeerError, RunError};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

const ROLE: Role = Role::Party(1);

#[derive(Default)]
struct Sent(Mutex<Vec<Packet>>);

impl Outbox for Sent {
    fn send(&self, packet: Packet) -> Result<(), RunError> {
        self.0.lock().expect("no thread panics").push(packet);
        Ok(())
    }
}

/// The last party of a plan, with the memory of a run.
struct Party {
    state: Arc<RoleState>,
    arena: Arc<Arena>,
    sent: Sent,
}

impl Party {
    fn new() -> Self {
        let plan = Arc::new(product_plan(2, Word::W32, 700));
        let seeds = vec![(1, party_seed(1, 1))];
        let state = RoleState::new(plan, ROLE, Params::public(), seeds).expect("a plan to run");
        let arena = state.run_arena().expect("little memory");
        Self { state, arena, sent: Sent::default() }
    }

    fn start(&self, phase: Phase) -> Arc<Executor> {
        let executor = self.state.start(phase, 1, &self.arena);
        self.state.pool().add(&executor);
        executor
    }

    fn work(&self) {
        self.state.pool().work(Until::Idle, 0, &mut Scratch::new(), &self.sent);
    }
}

/// The first message of a kind for the party.
fn envelope(plan: &Plan, kind: MessageKind) -> Envelope {
    let found = plan.messages.iter().position(|m| m.kind == kind && m.to == ROLE);
    let at = found.expect("the party receives all kinds");
    let info = &plan.messages[at];
    let (from, phase, message, bytes) = (info.from, info.phase, at as u32, info.bytes);
    Envelope { from, to: ROLE, phase, run: 1, message, depth: 0, bytes }
}

fn packet(envelope: Envelope, payload: &[u8]) -> Packet {
    let Envelope { from, to, phase, run, message, depth, .. } = envelope;
    Packet { from, to, phase, run, message, depth, payload: payload.to_vec().into() }
}

fn bytes(envelope: Envelope) -> Vec<u8> {
    (0..envelope.bytes).map(|i| (i * 7 % 251) as u8).collect()
}

/// Hands over a message: whole, or in pieces of a length that divides no word, while threads look for work.
fn hand_over(party: &Party, executor: &Arc<Executor>, kind: MessageKind, piece: Option<usize>) {
    let envelope = envelope(party.state.plan(), kind);
    let bytes = bytes(envelope);
    let Some(piece) = piece else {
        return executor.deliver(packet(envelope, &bytes)).expect("it belongs to the plan");
    };
    let mut landing = executor.landing(envelope).expect("its step waits for nothing else");
    let mut rest = &bytes[..];
    while landing.left() > 0 {
        let read = |room: &mut [u8]| {
            assert_eq!(room.len(), rest.len(), "no more room than what is announced");
            let (now, later) = rest.split_at(piece.min(rest.len()));
            room[..now.len()].copy_from_slice(now);
            rest = later;
            Ok::<_, Infallible>(now.len())
        };
        assert!(matches!(landing.put(read), Ok(Ok(1..))));
        party.work();
        assert!(!executor.is_done() && executor.failure().is_none());
    }
    landing.finish();
}

#[test]
fn what_lands_in_pieces_is_as_good_as_what_is_delivered() {
    let sent = [None, Some(13), Some(1 << 20)].map(|piece| {
        let party = Party::new();
        let offline = party.start(Phase::Offline);
        party.work();
        hand_over(&party, &offline, MessageKind::Correction, piece);
        party.work();
        assert!(offline.is_done());
        let online = party.start(Phase::Online);
        hand_over(&party, &online, MessageKind::Input, piece);
        party.work();
        party.sent.0.into_inner().unwrap()
    });
    assert!(sent[0].iter().any(|packet| packet.to == Role::Party(0)));
    assert!(sent[0] == sent[1] && sent[0] == sent[2]);
}

#[test]
fn a_phase_that_is_called_off_does_not_wait_for_the_rest() {
    let party = Party::new();
    let executor = party.start(Phase::Offline);
    let envelope = envelope(party.state.plan(), MessageKind::Correction);
    let mut landing = executor.landing(envelope).unwrap();
    let read = |_: &mut [u8]| Ok::<_, Infallible>(5);
    assert_eq!(landing.put(read), Ok(Ok(5)));
    let off = RunError::Aborted { role: ROLE };
    executor.fail(off.clone());
    assert_eq!(executor.wait(), Err(off));
    assert_eq!(landing.put(read), Err(Unwanted));
    assert_eq!(landing.left(), envelope.bytes - 5);
    landing.finish();
    assert!(executor.landing(envelope).is_none());
}

#[test]
fn only_what_the_plan_announces_lands_and_only_once() {
    let party = Party::new();
    let executor = party.start(Phase::Offline);
    let plan = party.state.plan();
    let envelope = envelope(plan, MessageKind::Correction);
    let message = plan.messages.len() as u32;
    for wrong in [
        Envelope { bytes: envelope.bytes - 1, ..envelope },
        Envelope { bytes: envelope.bytes + 1, ..envelope },
        Envelope { from: Role::Party(0), ..envelope },
        Envelope { to: Role::Party(0), ..envelope },
        Envelope { phase: Phase::Online, ..envelope },
        Envelope { message, ..envelope },
        self::envelope(plan, MessageKind::Input),
    ] {
        assert!(executor.landing(wrong).is_none(), "{wrong:?}");
    }
    let mut landing = executor.landing(envelope).unwrap();
    let twice = || {
        assert!(executor.landing(envelope).is_none());
        let again = executor.deliver(packet(envelope, &bytes(envelope)));
        let source = PeerError::Twice { message: envelope.message };
        assert_eq!(again, Err(RunError::Peer { role: ROLE, source }));
    };
    twice();
    assert_eq!(
        landing.put(|room| Ok::<_, Infallible>(room.len())),
        Ok(Ok(envelope.bytes as usize))
    );
    landing.finish();
    twice();
}
