//! What a views program costs: rounds, bits on the wire, correction bits. Static, since nothing depends
//! on data.

use super::{Op, ViewsProgram};
use crate::id::Id;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, AddAssign};

/// Online and correction cost, counted as `masked.py` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// Openings on the longest chain.
    pub rounds: u32,
    /// Bits that one compute party sends to each other one in openings.
    pub online_bits: u64,
    /// Bits that the dealer sends to the last party.
    pub correction_bits: u64,
}

impl Add for Cost {
    type Output = Self;

    /// One after the other.
    fn add(self, other: Self) -> Self {
        Self {
            rounds: self.rounds + other.rounds,
            online_bits: self.online_bits + other.online_bits,
            correction_bits: self.correction_bits + other.correction_bits,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, online_bits, correction_bits } = self;
        let s = if *rounds == 1 { "" } else { "s" };
        write!(f, "{rounds} round{s}, {online_bits} bits each way, {correction_bits} dealt")
    }
}

/// Bits that travel in the openings and dealings of one node; no rounds.
fn bits_of(program: &ViewsProgram, id: Id) -> Cost {
    let node = &program[id];
    let elements = node.ty.shape.elements() as u64;
    let bits = u64::from(node.ty.elem.bits());
    let mut cost = Cost::default();
    if node.op == Op::Open {
        cost.online_bits = elements * bits;
    }
    if let Op::Deal { zeros, .. } = &node.op {
        cost.correction_bits = elements * (bits - u64::from(*zeros));
    }
    cost
}

/// Openings on the longest chain that ends in each value; opening itself counts.
pub fn depths(program: &ViewsProgram) -> Vec<u32> {
    chains(program, |_, _| true)
}

/// As [`depths`], following only operands that `follow(operand, node)` allows.
fn chains(program: &ViewsProgram, follow: impl Fn(Id, Id) -> bool) -> Vec<u32> {
    let mut depths = vec![0; program.nodes.len()];
    for id in program.ids() {
        let node = &program[id];
        let before = node.args.iter().filter(|arg| follow(**arg, id));
        let before = before.map(|arg| depths[arg.index()]).max().unwrap_or(0);
        depths[id.index()] = before + u32::from(node.op == Op::Open);
    }
    depths
}

/// Cost of the whole program.
pub fn total(program: &ViewsProgram) -> Cost {
    let mut cost = Cost::default();
    for id in program.ids() {
        cost += bits_of(program, id);
    }
    Cost { rounds: depths(program).into_iter().max().unwrap_or(0), ..cost }
}

/// Cost by origin, the node of the masked program; rounds are those on the longest chain within it.
pub fn by_origin(program: &ViewsProgram) -> BTreeMap<u32, Cost> {
    let depths = chains(program, |arg, id| program[arg].origin == program[id].origin);
    let mut costs: BTreeMap<u32, Cost> = BTreeMap::new();
    for id in program.ids() {
        let Some(origin) = program[id].origin else { continue };
        let cost = costs.entry(origin).or_default();
        *cost += bits_of(program, id);
        cost.rounds = cost.rounds.max(depths[id.index()]);
    }
    costs
}

/// Bits that enter and leave the compute parties beside openings, once per message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// From the client to each compute party.
    pub input_bits: u64,
    /// From each compute party to the client: its mask shares.
    pub reveal_share_bits: u64,
    /// From `P_0` to the client: the masked values.
    pub reveal_bits: u64,
    /// From the weights' owner to each other compute party, once per deployment.
    pub weight_bits: u64,
}

/// Bits of inputs, outputs and weights.
pub fn edges(program: &ViewsProgram) -> Edges {
    let mut edges = Edges::default();
    for node in &program.nodes {
        let bits = node.ty.shape.elements() as u64 * u64::from(node.ty.elem.bits());
        if matches!(node.op, Op::InputDelta { .. }) {
            edges.input_bits += bits;
        } else if matches!(node.op, Op::WeightDelta { .. }) {
            edges.weight_bits += bits;
        } else if matches!(node.op, Op::Reveal { .. }) {
            edges.reveal_bits += bits;
            edges.reveal_share_bits += bits;
        }
    }
    edges
}
