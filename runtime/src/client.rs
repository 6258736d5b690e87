//! The client: masks the inputs, sends them, and puts the outputs together.
//!
//! It has no compiled steps; its part of a plan is the ports. For input `x` the dealer sends `L_x`
//! beforehand and the client sends `x + L_x` to every compute party. For an output it subtracts the
//! parties' shares of `L` from the masked value that `P_0` sends.

use crate::clear;
use crate::error::{PeerError, RunError};
use crate::packet::{Counts, Packet};
use crate::packing::{pack, unpack};
use crate::payload::Payload;
use mpcc_ir::fixed::{Fixed, FixedError};
use mpcc_ir::plan::{InputPort, OutputPort, Phase, Plan, Role};
use mpcc_ir::shape::Shape;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// An input that does not fit the model. Names the place, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum InputError {
    #[error("input `{input}` has {got} elements, but the model wants {expected} ({shape})")]
    Length { input: String, got: usize, expected: usize, shape: Shape },
    #[error("input `{input}`, element {index}: not a finite number; clean the data first")]
    NotANumber { input: String, index: usize },
    #[error(
        "input `{input}`, element {index}: outside {lo}..{hi}, the range that the plan was compiled \
         for; calibrate with such data and compile again"
    )]
    OutOfRange { input: String, index: usize, lo: String, hi: String },
}

/// A revealed output.
#[derive(Clone, PartialEq)]
pub struct Output {
    /// Name in the model.
    pub name: String,
    /// Extents after the clear operations.
    pub shape: Shape,
    /// Values after the clear operations, row-major.
    pub values: Vec<f32>,
    /// The revealed fixed-point integers, before the clear operations.
    pub raw: Vec<i64>,
}

/// Shows no values: they are for the client alone.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.shape)
    }
}

/// One run at the client.
pub struct ClientRun {
    plan: Arc<Plan>,
    run: u64,
    inputs: Vec<Vec<u64>>,
    arrived: BTreeMap<u32, Payload>,
    sent: bool,
    counts: Counts,
}

impl ClientRun {
    /// Encodes the inputs, one row-major tensor per port in the plan's order.
    ///
    /// # Errors
    /// [`RunError::InputCount`] and [`RunError::Input`] say which input cannot be used and why.
    pub fn new(plan: Arc<Plan>, run: u64, inputs: &[Vec<f32>]) -> Result<Self, RunError> {
        if inputs.len() != plan.inputs.len() {
            let (count, expected) = (inputs.len(), plan.inputs.len());
            return Err(RunError::InputCount { count, expected });
        }
        let encoded = plan.inputs.iter().zip(inputs).map(|(port, x)| encode(port, x));
        let inputs = encoded.collect::<Result<_, _>>()?;
        let (arrived, counts) = (BTreeMap::new(), Counts::default());
        Ok(Self { plan, run, inputs, arrived, sent: false, counts })
    }

    /// Accepts a mask from the dealer or a reveal from a party.
    ///
    /// # Errors
    /// [`RunError::Peer`] for a message that the plan does not have, or a second copy.
    pub fn deliver(&mut self, packet: Packet) -> Result<(), RunError> {
        let role = Role::Client;
        let peer = |source| RunError::Peer { role, source };
        packet.check(&self.plan, role).map_err(peer)?;
        if packet.run != self.run {
            let (role, run, newest) = (packet.from, packet.run, self.run);
            return Err(peer(PeerError::WrongRun { role, run, newest }));
        }
        let Packet { phase, message, depth, payload, .. } = packet;
        self.counts.count_depth(phase, depth);
        match self.arrived.insert(message, payload) {
            None => Ok(()),
            Some(_) => Err(peer(PeerError::Twice { message })),
        }
    }

    /// Whether all masks are here, so that the inputs can be sent.
    pub fn has_masks(&self) -> bool {
        self.plan.inputs.iter().all(|port| self.arrived.contains_key(&port.mask))
    }

    /// The masked inputs, once, when all masks are here; `None` otherwise.
    pub fn masked_inputs(&mut self) -> Option<Vec<Packet>> {
        if self.sent || !self.has_masks() {
            return None;
        }
        self.sent = true;
        let plan = Arc::clone(&self.plan);
        let mut packets = Vec::new();
        for (port, x) in plan.inputs.iter().zip(&self.inputs) {
            let mask = unpack(&self.arrived[&port.mask], port.ring, x.len());
            let payload = pack(x.iter().zip(mask).map(|(x, l)| x.wrapping_add(l)), port.ring);
            for &message in &port.masked {
                let info = &plan.messages[message as usize];
                self.counts.count_sent(info, 0);
                packets.push(Packet {
                    from: Role::Client,
                    to: info.to,
                    phase: Phase::Online,
                    run: self.run,
                    message,
                    depth: 0,
                    payload: payload.clone(),
                });
            }
        }
        Some(packets)
    }

    /// Whether all reveals are here.
    pub fn is_done(&self) -> bool {
        self.sent && self.awaited().is_none()
    }

    /// A message that has not come yet: a mask, or a reveal when all masks are here.
    pub fn awaited(&self) -> Option<u32> {
        self.missing().next()
    }

    /// Whether a message of `role` has not come yet.
    pub fn awaits(&self, role: Role) -> bool {
        self.missing().any(|id| self.plan.messages[id as usize].from == role)
    }

    fn missing(&self) -> impl Iterator<Item = u32> {
        let reveals = self.plan.outputs.iter().flat_map(|p| p.shares.iter().chain([&p.masked]));
        let wanted = self.plan.inputs.iter().map(|port| &port.mask).chain(reveals).copied();
        wanted.filter(|id| !self.arrived.contains_key(id))
    }

    /// The outputs, when all reveals are here.
    pub fn outputs(&self) -> Option<Vec<Output>> {
        self.is_done().then(|| self.plan.outputs.iter().map(|port| self.output(port)).collect())
    }

    fn output(&self, port: &OutputPort) -> Output {
        let count = port.shape.elements();
        let mut words: Vec<u64> = unpack(&self.arrived[&port.masked], port.ring, count).collect();
        for share in &port.shares {
            let share = unpack(&self.arrived[share], port.ring, count);
            words.iter_mut().zip(share).for_each(|(x, l)| *x = x.wrapping_sub(l));
        }
        let format = Fixed { bits: port.ring, frac: port.frac };
        // In the memory of the words.
        let raw: Vec<i64> = words.into_iter().map(|word| format.signed(word)).collect();
        let reals = format.reals(&raw).map(|real| real as f32).collect();
        let (shape, values) = clear::apply(&port.clear, &port.shape, reals);
        Output { name: port.name.clone(), shape, values, raw }
    }

    /// What was counted: bytes sent, and the rounds that the reveals came after.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The run's number.
    pub fn run(&self) -> u64 {
        self.run
    }
}

fn encode(port: &InputPort, x: &[f32]) -> Result<Vec<u64>, InputError> {
    let input = || port.name.clone();
    let (got, expected) = (x.len(), port.shape.elements());
    if got != expected {
        return Err(InputError::Length {
            input: input(),
            got,
            expected,
            shape: port.shape.clone(),
        });
    }
    let outside = |index| InputError::OutOfRange {
        input: input(),
        index,
        lo: port.lo.to_string(),
        hi: port.hi.to_string(),
    };
    let inside = |x: f32| x.is_finite() && (port.lo..=port.hi).contains(&f64::from(x));
    // Looks at all, which is faster than to stop at the first that is not.
    if !x.iter().fold(true, |all, &x| all & inside(x)) {
        if let Some(index) = x.iter().position(|x| !x.is_finite()) {
            return Err(InputError::NotANumber { input: input(), index });
        }
        if let Some(index) = x.iter().position(|&x| !inside(x)) {
            return Err(outside(index));
        }
    }
    let format = Fixed { bits: port.ring, frac: port.frac };
    format.encode(x.iter().map(|&x| f64::from(x))).map_err(|error| match error {
        FixedError::NotANumber { index } => InputError::NotANumber { input: input(), index },
        FixedError::OutOfRange { index } => outside(index),
    })
}
