//! An owner of the weights that is not a compute party: masks them once per deployment.

use crate::error::{PeerError, RunError};
use crate::packet::{Counts, Packet};
use crate::packing::{pack, unpack};
use crate::params::Params;
use mpcc_ir::plan::{Plan, Role};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The setup phase at the owner.
pub struct OwnerSetup {
    plan: Arc<Plan>,
    params: Params,
    done: BTreeSet<u32>,
    counts: Counts,
}

impl OwnerSetup {
    /// Gets ready to mask `params`.
    ///
    /// # Errors
    /// [`RunError::NoWeights`] where a tensor that the plan asks the owner for is missing.
    pub fn new(plan: Arc<Plan>, params: Params) -> Result<Self, RunError> {
        for (at, param) in plan.params.iter().enumerate() {
            if param.mask.is_some() && params.secret(at).is_none() {
                let (role, param) = (Role::Owner, param.name.clone());
                return Err(RunError::NoWeights { role, param });
            }
        }
        Ok(Self { plan, params, done: BTreeSet::new(), counts: Counts::default() })
    }

    /// Accepts a mask from the dealer; returns that tensor, masked, for every compute party.
    ///
    /// # Errors
    /// [`RunError::Peer`] for a message that the plan does not have, or a second copy.
    pub fn deliver(&mut self, packet: &Packet) -> Result<Vec<Packet>, RunError> {
        let role = Role::Owner;
        let peer = |source| RunError::Peer { role, source };
        packet.check(&self.plan, role).map_err(peer)?;
        let message = packet.message;
        let found = self.plan.params.iter().position(|p| p.mask == Some(message));
        let at = found.ok_or_else(|| peer(PeerError::UnknownMessage { message }))?;
        if !self.done.insert(message) {
            return Err(peer(PeerError::Twice { message }));
        }
        let bits = self.plan.word.bits();
        let count = self.plan.params[at].elements as usize;
        let words = unpack(self.params.secret(at).unwrap_or_default(), bits, count);
        let mask = unpack(&packet.payload, bits, count);
        let payload = pack(words.zip(mask).map(|(w, l)| w.wrapping_add(l)), bits);
        let counts = &mut self.counts;
        let packets = self.plan.params[at].masked.iter().map(|&message| {
            let info = &self.plan.messages[message as usize];
            counts.count_sent(info, 0);
            let (to, phase) = (info.to, info.phase);
            Packet { from: role, to, phase, run: 0, message, depth: 0, payload: payload.clone() }
        });
        Ok(packets.collect())
    }

    /// Whether every tensor has been sent.
    pub fn is_done(&self) -> bool {
        self.plan.params.iter().filter_map(|p| p.mask).all(|id| self.done.contains(&id))
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}
