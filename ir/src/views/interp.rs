//! Runs a views program with all roles side by side: the oracle of the tests.
//!
//! Every compute party and the dealer evaluate the operations on what they hold themselves, and nothing
//! else: a role that would need what it does not know is an error. Messages are counted as they pass.
//! Masks come from a [`MaskSource`], so that with the runtime's streams every share and opened value
//! must equal the runtime's bit for bit.

use super::cost::Cost;
use super::eval::{Operand, eval, reduce};
use super::{Op, Ty, View, ViewsProgram};
use crate::id::{Id, ParamId, PortId};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// Uniform mask shares by address.
pub trait MaskSource {
    /// Fills `out` with the shares of `party` for elements `first..` of value `value`, `bits` uniform
    /// bits each; `once` tells the deployment's masks from the run's.
    fn words(&self, party: usize, value: u32, once: bool, first: u64, bits: u8, out: &mut [u64]);
}

/// Masks for tests: a mix of seed and address. Fast, the same everywhere, and not secure.
#[derive(Clone, Copy, Debug)]
pub struct TestMasks(
    /// Seed.
    pub u64,
);

impl MaskSource for TestMasks {
    fn words(&self, party: usize, value: u32, once: bool, first: u64, bits: u8, out: &mut [u64]) {
        let address = (party as u64) << 40 | u64::from(value) << 1 | u64::from(once);
        let key = mix(self.0 ^ mix(address.wrapping_add(1)));
        for (element, word) in (first..).zip(out) {
            *word = reduce(mix(key ^ mix(element)), bits);
        }
    }
}

/// The finaliser of `SplitMix64`: a bijection whose output bits all depend on all input bits.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A role of the interpreter, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Compute party.
    Party(usize),
    /// Dealer.
    Dealer,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Party(b) => write!(f, "P{b}"),
            Self::Dealer => f.write_str("the dealer"),
        }
    }
}

/// Why a program does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum InterpError {
    #[error("{node}: {holder} uses {operand}, which it does not know")]
    Unknown { node: Id, operand: Id, holder: Holder },
    #[error("{node}: no elements are given for {port}")]
    Port { node: Id, port: PortId },
    #[error("{node}: no elements are given for {param}")]
    Param { node: Id, param: ParamId },
    #[error("{node}: {given} elements are given, {wanted} wanted")]
    Length { node: Id, given: usize, wanted: usize },
    #[error("{node}: a dealt value has a low bit set that is declared zero")]
    Zeros { node: Id },
    #[error("{node}: this operation cannot give a value in this view; verify the program")]
    View { node: Id },
    #[error("{0} compute parties; at least 2 are needed")]
    Parties(usize),
}

/// What a run is given.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Ring elements of each model input, row-major.
    pub ports: &'a BTreeMap<PortId, Vec<u64>>,
    /// Ring elements of each parameter, row-major.
    pub params: &'a BTreeMap<ParamId, Vec<u64>>,
}

/// What a run gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the client learns by each reveal.
    pub revealed: BTreeMap<PortId, Vec<u64>>,
    /// The program's outputs: a reveal's value, the total of shares, a known value.
    pub outputs: Vec<Vec<u64>>,
    /// Every opened value by its node: what compute parties learn.
    pub opened: BTreeMap<Id, Vec<u64>>,
    /// Messages as counted.
    pub cost: Cost,
}

/// Ring elements of a tensor.
type Words = Rc<Vec<u64>>;

/// Bits of a message that packs `words` to `bits` each.
fn packed_bits(words: &Words, bits: u8) -> u64 {
    words.len() as u64 * u64::from(bits)
}

/// What each role holds of a value.
#[derive(Clone, Default)]
struct Held {
    parties: Vec<Option<Words>>,
    dealer: Option<Words>,
    /// Openings on the longest chain behind it.
    depth: u32,
}

/// Runs `program` with `parties` compute parties and the dealer.
///
/// # Errors
/// Inputs that are missing or of the wrong length, or a role that uses what it does not know.
pub fn run(
    program: &ViewsProgram,
    parties: usize,
    masks: &dyn MaskSource,
    inputs: Inputs<'_>,
) -> Result<Outcome, InterpError> {
    if parties < 2 {
        return Err(InterpError::Parties(parties));
    }
    let outcome = Outcome {
        revealed: BTreeMap::new(),
        outputs: Vec::new(),
        opened: BTreeMap::new(),
        cost: Cost::default(),
    };
    let mut world = World { program, parties, masks, inputs, held: Vec::new(), outcome };
    let last_use = last_uses(program);
    for id in program.ids() {
        let held = world.node(id)?;
        world.held.push(held);
        for arg in &program[id].args {
            if last_use[arg.index()] == id.index() {
                world.held[arg.index()] = Held::default();
            }
        }
    }
    for id in &program.outputs {
        let words = world.output(*id);
        world.outcome.outputs.push(words);
    }
    Ok(world.outcome)
}

/// The last node that reads each value; past the end for outputs.
fn last_uses(program: &ViewsProgram) -> Vec<usize> {
    let mut last = vec![0; program.nodes.len()];
    for id in program.ids() {
        for arg in &program[id].args {
            last[arg.index()] = id.index();
        }
    }
    for id in &program.outputs {
        last[id.index()] = usize::MAX;
    }
    last
}

struct World<'a> {
    program: &'a ViewsProgram,
    parties: usize,
    masks: &'a dyn MaskSource,
    inputs: Inputs<'a>,
    held: Vec<Held>,
    outcome: Outcome,
}

impl World<'_> {
    fn node(&mut self, id: Id) -> Result<Held, InterpError> {
        let node = &self.program[id];
        let depth = node.args.iter().map(|a| self.held[a.index()].depth).max().unwrap_or(0);
        let depth = depth + u32::from(node.op == Op::Open);
        self.outcome.cost.rounds = self.outcome.cost.rounds.max(depth);
        let held = match &node.op {
            Op::InputDelta { port } => {
                let x = self
                    .inputs
                    .ports
                    .get(port)
                    .ok_or(InterpError::Port { node: id, port: *port })?;
                self.mask_input(id, x)?
            }
            Op::WeightDelta { param } => {
                let w = self.param(id, *param)?;
                self.mask_input(id, w)?
            }
            Op::WeightPlain { param } => {
                let words = self.sized(id, self.param(id, *param)?)?;
                self.hand_out(id, words)?
            }
            Op::Random { value, once, p0 } => self.random(id, *value, *once, *p0),
            Op::Deal { value, zeros } => self.deal(id, *value, *zeros)?,
            Op::Open => self.open(id)?,
            Op::AtP0 | Op::OfP0 => {
                let words = self.of(id, node.args[0], Holder::Party(0))?;
                self.hand_out(id, words)?
            }
            Op::WithoutP0 => self.without_p0(id)?,
            Op::Reveal { port } => self.reveal(id, *port)?,
            Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Neg
            | Op::AddConst { .. }
            | Op::MulConst { .. }
            | Op::ShiftLeft { .. }
            | Op::ShiftRight { .. }
            | Op::Narrow
            | Op::Extend
            | Op::BitAt { .. }
            | Op::FromBit
            | Op::Select
            | Op::Not
            | Op::Mux
            | Op::Const { .. }
            | Op::Conv { .. }
            | Op::MatMul
            | Op::Sum { .. }
            | Op::Reshape
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Expand
            | Op::Concat { .. }
            | Op::Gather { .. } => self.local(id)?,
        };
        Ok(Held { depth, ..held })
    }

    /// What `holder` holds of `operand`, for use in `node`.
    fn of(&self, node: Id, operand: Id, holder: Holder) -> Result<Words, InterpError> {
        let held = &self.held[operand.index()];
        let words = match holder {
            Holder::Party(b) => held.parties.get(b).cloned().flatten(),
            Holder::Dealer => held.dealer.clone(),
        };
        words.ok_or(InterpError::Unknown { node, operand, holder })
    }

    fn ty(&self, id: Id) -> &Ty {
        &self.program[id].ty
    }

    fn param(&self, node: Id, param: ParamId) -> Result<&Vec<u64>, InterpError> {
        self.inputs.params.get(&param).ok_or(InterpError::Param { node, param })
    }

    /// `words` in the node's ring, checked for length.
    fn sized(&self, node: Id, words: &[u64]) -> Result<Words, InterpError> {
        let wanted = self.ty(node).shape.elements();
        if words.len() != wanted {
            return Err(InterpError::Length { node, given: words.len(), wanted });
        }
        let bits = self.ty(node).elem.bits();
        Ok(Rc::new(words.iter().map(|w| reduce(*w, bits)).collect()))
    }

    fn zeros(&self, id: Id) -> Words {
        Rc::new(vec![0; self.ty(id).shape.elements()])
    }

    /// A plain value to those who know it: everybody, all parties, or `P_0`.
    fn hand_out(&self, id: Id, words: Words) -> Result<Held, InterpError> {
        let mut parties = vec![Some(Rc::clone(&words)); self.parties];
        let dealer = match self.ty(id).view {
            View::Public => Some(words),
            View::Delta => None,
            View::Share0 => {
                parties[1..].fill(Some(self.zeros(id)));
                None
            }
            View::Mask | View::Share | View::Dealt => return Err(InterpError::View { node: id }),
        };
        Ok(Held { parties, dealer, depth: 0 })
    }

    /// The sum of `words`, in the node's ring.
    fn sum(&self, id: Id, words: &[Words]) -> Words {
        let bits = self.ty(id).elem.bits();
        let mut total = vec![0_u64; self.ty(id).shape.elements()];
        for part in words {
            for (t, w) in total.iter_mut().zip(part.iter()) {
                *t = reduce(t.wrapping_add(*w), bits);
            }
        }
        Rc::new(total)
    }

    /// The sum of what all parties hold.
    fn total(&self, node: Id, operand: Id) -> Result<Words, InterpError> {
        let shares: Result<Vec<Words>, _> =
            (0..self.parties).map(|b| self.of(node, operand, Holder::Party(b))).collect();
        Ok(self.sum(node, &shares?))
    }

    /// The owner of `x` learns the whole mask and sends `x + L`.
    fn mask_input(&self, id: Id, x: &[u64]) -> Result<Held, InterpError> {
        let mask = self.of(id, self.program[id].args[0], Holder::Dealer)?;
        let delta = self.sum(id, &[self.sized(id, x)?, mask]);
        self.hand_out(id, delta)
    }

    fn draw(&self, id: Id, party: usize, value: u32, once: bool, bits: u8) -> Vec<u64> {
        let mut words = vec![0; self.ty(id).shape.elements()];
        self.masks.words(party, value, once, 0, bits, &mut words);
        words
    }

    fn random(&self, id: Id, value: u32, once: bool, p0: bool) -> Held {
        let bits = self.ty(id).elem.bits();
        let share = |b: usize| {
            let zero = p0 && b > 0;
            if zero { self.zeros(id) } else { Rc::new(self.draw(id, b, value, once, bits)) }
        };
        let shares: Vec<Words> = (0..self.parties).map(share).collect();
        let dealer = Some(self.sum(id, &shares));
        Held { parties: shares.into_iter().map(Some).collect(), dealer, depth: 0 }
    }

    /// `P_0`'s share of the operand becomes zero.
    fn without_p0(&self, id: Id) -> Result<Held, InterpError> {
        let of = |b: usize| self.of(id, self.program[id].args[0], Holder::Party(b));
        let mut shares = vec![self.zeros(id)];
        for b in 1..self.parties {
            shares.push(of(b)?);
        }
        let dealer = Some(self.sum(id, &shares));
        Ok(Held { parties: shares.into_iter().map(Some).collect(), dealer, depth: 0 })
    }

    /// All parties but the last draw multiples of `2^zeros`; the last gets what is missing.
    fn deal(&mut self, id: Id, value: u32, zeros: u8) -> Result<Held, InterpError> {
        let dealt = self.of(id, self.program[id].args[0], Holder::Dealer)?;
        if dealt.iter().any(|w| w.trailing_zeros() < u32::from(zeros)) {
            return Err(InterpError::Zeros { node: id });
        }
        let bits = self.ty(id).elem.bits();
        let share = |b: usize| {
            let words = self.draw(id, b, value, false, bits - zeros);
            Rc::new(words.into_iter().map(|w| w << zeros).collect())
        };
        let mut shares: Vec<Words> = (0..self.parties - 1).map(share).collect();
        let drawn = self.sum(id, &shares);
        let last = dealt.iter().zip(drawn.iter()).map(|(c, s)| reduce(c.wrapping_sub(*s), bits));
        shares.push(Rc::new(last.collect()));
        self.outcome.cost.correction_bits += packed_bits(&dealt, bits - zeros);
        Ok(Held { parties: shares.into_iter().map(Some).collect(), dealer: Some(dealt), depth: 0 })
    }

    /// Each party sends its share plus its share of the mask; all learn the sum.
    fn open(&mut self, id: Id) -> Result<Held, InterpError> {
        let (share, mask) = (self.program[id].args[0], self.program[id].args[1]);
        let mut sent = Vec::with_capacity(self.parties);
        for b in 0..self.parties {
            let holder = Holder::Party(b);
            sent.push(self.sum(id, &[self.of(id, share, holder)?, self.of(id, mask, holder)?]));
        }
        let delta = self.sum(id, &sent);
        self.outcome.cost.online_bits += packed_bits(&sent[0], self.ty(id).elem.bits());
        self.outcome.opened.insert(id, delta.to_vec());
        self.hand_out(id, delta)
    }

    /// The client learns `D` and the mask, hence `D - L`.
    fn reveal(&mut self, id: Id, port: PortId) -> Result<Held, InterpError> {
        let (delta, mask) = (self.program[id].args[0], self.program[id].args[1]);
        let delta = self.of(id, delta, Holder::Party(0))?;
        let lam = self.total(id, mask)?;
        let bits = self.ty(id).elem.bits();
        let x = delta.iter().zip(lam.iter()).map(|(d, l)| reduce(d.wrapping_sub(*l), bits));
        self.outcome.revealed.insert(port, x.collect());
        self.hand_out(id, delta)
    }

    /// Every role that knows the result computes it from what it holds.
    fn local(&self, id: Id) -> Result<Held, InterpError> {
        let (parties, dealer) = match self.ty(id).view {
            View::Public | View::Mask => (self.parties, true),
            View::Delta | View::Share => (self.parties, false),
            View::Share0 => (1, false),
            View::Dealt => (0, true),
        };
        let mut held = Held { parties: vec![None; self.parties], ..Held::default() };
        for b in 0..parties {
            held.parties[b] = Some(self.local_at(id, Holder::Party(b))?);
        }
        if self.ty(id).view == View::Share0 {
            held.parties[1..].fill(Some(self.zeros(id)));
        }
        if dealer {
            held.dealer = Some(self.local_at(id, Holder::Dealer)?);
        }
        Ok(held)
    }

    fn local_at(&self, id: Id, holder: Holder) -> Result<Words, InterpError> {
        let node = &self.program[id];
        let words: Result<Vec<Words>, _> =
            node.args.iter().map(|arg| self.of(id, *arg, holder)).collect();
        let words = words?;
        let args: Vec<Operand<'_>> =
            words.iter().zip(&node.args).map(|(w, arg)| (w.as_slice(), self.ty(*arg))).collect();
        let result = eval(&node.op, &args, &node.ty).ok_or(InterpError::View { node: id })?;
        Ok(Rc::new(result))
    }

    fn output(&self, id: Id) -> Vec<u64> {
        if let Op::Reveal { port } = &self.program[id].op {
            return self.outcome.revealed[port].clone();
        }
        let held = &self.held[id.index()];
        let parts: Vec<Words> = held.parties.iter().flatten().cloned().collect();
        match self.ty(id).view {
            View::Share | View::Share0 | View::Mask => self.sum(id, &parts).to_vec(),
            View::Public | View::Delta => parts[0].to_vec(),
            View::Dealt => held.dealer.as_ref().map(|w| w.to_vec()).unwrap_or_default(),
        }
    }
}
