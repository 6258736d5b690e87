//! Level 3: what each role does, step by step, with every address and message decided.
//!
//! Nothing in a plan depends on data, and no weight is in it: a plan is public. Weights are quantised
//! into a separate file in the order of [`Plan::params`].

mod forecast;
mod message;
mod role;
mod step;
mod text;
mod tile;
mod verify;

pub use forecast::Forecast;
pub use message::{Message, MessageKind, Phase};
pub use role::{Role, WeightsMode};
pub use step::{Region, RolePlan, Span, Step, StepOp};
pub use tile::{BitReg, Operand, OperandKind, TileOp, TileProgram, WordReg};
#[cfg(test)]
pub(crate) use verify::testing::small;
pub use verify::{Place, PlanError, Rule, SpanText, Unmasked};

use crate::nn::ClearOp;
use crate::shape::Shape;
use serde::{Deserialize, Serialize};

/// Width of the ring that words of this plan live in; values in smaller rings sit in its low bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Word {
    /// `u32` lanes.
    W32,
    /// `u64` lanes.
    W64,
}

impl Word {
    /// Width in bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::W32 => 32,
            Self::W64 => 64,
        }
    }

    /// Width in bytes.
    pub const fn bytes(self) -> u64 {
        self.bits() as u64 / 8
    }
}

/// A compiled model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name for people, from the model file.
    pub name: String,
    /// BLAKE3 of the ONNX file, keyed with the salt of the weights file.
    pub model_digest: [u8; 32],
    /// BLAKE3 of the weights file, salt included.
    pub weights_digest: [u8; 32],
    /// Width of ring words.
    pub word: Word,
    /// Number of compute parties, at least 2.
    pub parties: u8,
    /// Who knows the weights.
    pub weights: WeightsMode,
    /// Runs that each role has memory for, and that may be in flight at once: 1 to [`MAX_DEPTH`].
    pub depth: u8,
    /// Model inputs, in order.
    pub inputs: Vec<InputPort>,
    /// Model outputs, in order.
    pub outputs: Vec<OutputPort>,
    /// Parameter tensors, in the order of the weights file.
    pub params: Vec<ParamInfo>,
    /// Element-wise programs that `Map` steps run, shared by all roles.
    pub programs: Vec<TileProgram>,
    /// Everything that travels, by message id.
    pub messages: Vec<Message>,
    /// Compute parties in order, then the dealer.
    pub roles: Vec<RolePlan>,
    /// Layers of the model for `explain`, in order of execution; steps and messages name them by index.
    pub layers: Vec<Layer>,
    /// What the compiler expects.
    pub forecast: Option<Forecast>,
}

/// Most runs in flight that a plan may ask for.
pub const MAX_DEPTH: u8 = 16;

/// What a role's process takes besides its buffers: code, the plan, queues of messages, and what their memory waits in
/// for the next ones.
pub const PROCESS_BYTES: u64 = 64 << 20;

/// What a step takes in a process, which has those of all roles, with all that it lists.
const STEP_BYTES: u64 = 1280;

/// A model input: the client sends `x + L_x` to every compute party.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputPort {
    /// Name in the model.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// Bits of the ring it is masked in.
    pub ring: u8,
    /// Fractional bits.
    pub frac: i16,
    /// Reals beyond these bounds do not fit the number formats; the client refuses them.
    pub lo: f64,
    /// See `lo`.
    pub hi: f64,
    /// The message from the dealer to the client: the mask `L_x`, packed to `ring` bits.
    pub mask: u32,
    /// The messages from the client to each compute party: `x + L_x`, packed to `ring` bits.
    pub masked: Vec<u32>,
}

/// A model output: `P_0` sends `D`, and every compute party its share of `L`, to the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputPort {
    /// Name in the model.
    pub name: String,
    /// Extents of the revealed tensor.
    pub shape: Shape,
    /// Bits of the ring it is masked in.
    pub ring: u8,
    /// Fractional bits.
    pub frac: i16,
    /// The message from `P_0` with `D`, packed to `ring` bits.
    pub masked: u32,
    /// The messages from each compute party with its share of `L`, packed to `ring` bits.
    pub shares: Vec<u32>,
    /// What the client does in the clear.
    pub clear: Vec<ClearOp>,
    /// Largest error that the number formats are expected to make in a revealed element, before what
    /// the client does in the clear. At least 0.
    pub error: f64,
}

impl OutputPort {
    /// Largest error expected in what the client shows, where that can be bounded: the largest of
    /// several scores moves in steps.
    pub fn shown_error(&self) -> Option<f64> {
        self.clear.iter().try_fold(self.error, |error, op| Some(error * op.steepest()?))
    }
}

/// One quantised parameter tensor of the weights file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParamInfo {
    /// The initializer's name in the model.
    pub name: String,
    /// Number of ring elements; each is stored as one little-endian word.
    pub elements: u64,
    /// Fractional bits.
    pub frac: i16,
    /// Stored in the plan's public constants and known to every role rather than to the owner alone.
    pub public: Option<Vec<i64>>,
    /// Messages that carry its masked form: to every compute party that is not the owner. Empty when public.
    pub masked: Vec<u32>,
    /// The message from the dealer to an outside owner: the mask, packed to the word. `None` unless an outside owner provides it.
    pub mask: Option<u32>,
}

/// One layer of the model, as `explain` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Name of the ONNX node.
    pub name: String,
    /// Operation, in words.
    pub op: String,
    /// Shape of its result.
    pub shape: Shape,
    /// Number format of its result, in words.
    pub format: String,
    /// Openings on the longest path through this layer.
    pub rounds: u32,
    /// Online bytes of openings from one compute party to another, for the pair with most. In the
    /// party0 mode `P_0` alone uses some openings, and sends nothing back for them.
    pub online_bytes: u64,
    /// Correction bytes from the dealer to the last party.
    pub correction_bytes: u64,
}

impl Plan {
    /// A plan in which nothing happens, for one run at a time; to fill in.
    pub fn empty(word: Word, parties: u8, weights: WeightsMode) -> Self {
        Self {
            name: String::new(),
            model_digest: [0; 32],
            weights_digest: [0; 32],
            word,
            parties,
            weights,
            depth: 1,
            inputs: Vec::new(),
            outputs: Vec::new(),
            params: Vec::new(),
            programs: Vec::new(),
            messages: Vec::new(),
            roles: Vec::new(),
            layers: Vec::new(),
            forecast: None,
        }
    }

    /// The plan of `role`, if it has one (clients and owners have none).
    pub fn role(&self, role: Role) -> Option<&RolePlan> {
        self.roles.iter().find(|r| r.role == role)
    }

    /// Compute parties in order.
    pub fn compute_parties(&self) -> impl Iterator<Item = Role> + use<> {
        (0..self.parties).map(Role::Party)
    }

    /// Payload bytes that `from` sends in `phase`, to all others together.
    pub fn sent_bytes(&self, from: Role, phase: Phase) -> u64 {
        let sent = self.messages.iter().filter(|m| m.from == from && m.phase == phase);
        sent.map(|m| m.bytes).sum()
    }

    /// Largest resident memory expected of a role's process, in bytes: its buffers, for each run in flight
    /// one message on its way in or out, one that is sent in the setup, which goes on beside the first runs, the plan, and
    /// [`PROCESS_BYTES`]. Weights leave the file's memory as they enter the buffers, and masked ones arrive there.
    pub fn peak_bytes(&self, role: &RolePlan) -> u64 {
        let largest = |of: &dyn Fn(&Message) -> bool| {
            self.messages.iter().filter(|m| of(m)).map(|m| m.bytes).max().unwrap_or(0)
        };
        let own = role.role;
        let sent = largest(&|m| m.phase == Phase::Setup && m.from == own);
        let moved = largest(&|m| m.phase != Phase::Setup && (m.from == own || m.to == own));
        let runs = role.run_bytes.saturating_add(moved).saturating_mul(u64::from(self.depth));
        let steps = |role: &RolePlan| Phase::ALL.map(|phase| role.steps(phase).len() as u64);
        let steps: u64 = self.roles.iter().flat_map(steps).sum();
        let process = PROCESS_BYTES + STEP_BYTES * steps;
        [runs, sent, process].into_iter().fold(role.deploy_bytes, u64::saturating_add)
    }

    /// Sequential openings on the longest path of the online phase.
    pub fn rounds(&self) -> u32 {
        let opens = self.messages.iter().filter(|m| m.kind == MessageKind::Open);
        opens.filter(|m| m.phase == Phase::Online).map(|m| m.round).max().unwrap_or(0)
    }
}
