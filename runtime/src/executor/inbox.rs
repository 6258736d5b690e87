//! Messages as they come: each once, and those that are early wait for their step.

use super::{Executor, State};
use crate::error::{PeerError, RunError};
use crate::packet::Packet;
use mpcc_ir::plan::{Phase, Role};
use std::time::Instant;

impl Executor {
    /// Bytes of messages from `sender` that no step has taken yet.
    pub(crate) fn backlog(&self, sender: Role) -> u64 {
        self.lock().backlog.get(&sender).copied().unwrap_or(0)
    }

    /// Accepts a message. One that comes before its step's turn waits here: at most once per message of
    /// the plan and of exactly its length, so a peer cannot fill the memory.
    ///
    /// # Errors
    /// [`RunError::Peer`] for a message that the plan does not have for this role and phase, or a second copy.
    pub fn deliver(&self, packet: Packet) -> Result<(), RunError> {
        self.deliver_late(packet, None)
    }

    /// As [`Executor::deliver`], for a message that has been here since `arrived`.
    pub(crate) fn deliver_late(
        &self,
        packet: Packet,
        arrived: Option<Instant>,
    ) -> Result<(), RunError> {
        let name = self.role.role();
        let peer = |source| RunError::Peer { role: name, source };
        packet.check(self.role.plan(), name).map_err(peer)?;
        let message = packet.message;
        let receives = &self.role.schedule(self.phase).receives;
        let Some(&step) = receives.get(&message).filter(|_| packet.phase == self.phase) else {
            return Err(peer(PeerError::UnknownMessage { message }));
        };
        let mut state = self.lock();
        if state.landing.contains(&message) {
            return Err(peer(PeerError::Twice { message }));
        }
        self.note_arrival(&mut state, Instant::now());
        *state.backlog.entry(packet.from).or_default() += packet.payload.len() as u64;
        if state.arrived.insert(message, Some(packet.payload)).is_some() {
            return Err(peer(PeerError::Twice { message }));
        }
        state.counts.count_depth(packet.phase, packet.depth);
        if let Some(recorder) = &mut state.recorder {
            recorder.message(step as usize, arrived.unwrap_or_else(Instant::now));
        }
        self.arrive(&mut state, step as usize, packet.depth);
        drop(state);
        self.role.pool().wake_one();
        Ok(())
    }

    /// A message is here.
    pub(super) fn note_arrival(&self, state: &mut State, now: Instant) {
        if self.phase == Phase::Online && state.arrived.is_empty() {
            // Before that, the online phase only waited for somebody to want a run.
            state.started = now;
        }
        state.last_event = now;
    }

    /// Whether all messages of the phase are here, so that waiting for one is pointless.
    pub(super) fn nothing_comes(&self, state: &State) -> bool {
        state.ready.is_empty()
            && state.awaited == 0
            && state.arrived.len() == self.role.schedule(self.phase).receives.len()
    }
}
