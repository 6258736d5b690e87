//! What travels: values that are ready together share a message per chunk.

use super::project::what_p0_knows;
use super::splits::{Classes, Splits};
use super::{Model, ScheduleOptions, chunk_ranges};
use mpcc_ir::Id;
use mpcc_ir::masked::MaskedProgram;
use mpcc_ir::plan::{
    InputPort, Message, MessageKind, OutputPort, ParamInfo, Phase, Role, WeightsMode, Word,
};
use mpcc_ir::views::{Elem, Op, ViewsProgram};
use std::collections::{BTreeMap, BTreeSet};

/// Openings and bulk operations on the longest path to each value: a value of depth `d` needs only
/// what openings and bulk operations of depth `d` and less have produced. The same for all roles.
pub(super) fn depths(views: &ViewsProgram) -> Vec<u32> {
    let mut depths = vec![0; views.nodes.len()];
    for (at, node) in views.nodes.iter().enumerate() {
        let before = node.args.iter().map(|a| depths[a.index()]).max().unwrap_or(0);
        let boundary = matches!(node.op, Op::Open) || is_bulk(&node.op);
        depths[at] = before + u32::from(boundary);
    }
    depths
}

/// Whether an operation is a step of its own. A reshape moves nothing: elements keep their address.
pub(super) fn is_bulk(op: &Op) -> bool {
    !op.is_element_wise() && !matches!(op, Op::Reshape)
}

/// What a message is for; with the role pair and the chunk this identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Payload {
    /// A group of openings.
    Open(u32),
    /// A group of corrections.
    Deal(u32),
    /// `D_x` of a port.
    Input(u32),
    /// `D_w` of a parameter.
    Weight(u32),
    /// `L_x` of a port, for the client.
    InputMask(u32),
    /// `L_w` of a parameter, for the owner.
    WeightMask(u32),
    /// `D` of an output.
    RevealMasked(u32),
    /// A share of an output's mask.
    RevealShare(u32),
}

/// Values of one element count that are packed behind one another.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) payload: Payload,
    /// The view nodes, in order.
    pub(super) members: Vec<Id>,
    /// Bits per element of each member.
    pub(super) bits: Vec<u8>,
    pub(super) elements: usize,
    pub(super) origin: u32,
    pub(super) depth: u32,
    /// What is split alike, see [`super::splits`].
    pub(super) class: usize,
}

impl Group {
    /// Whether each chunk has a message of its own. A group that is not split has one message, and is worked on chunk
    /// by chunk all the same.
    pub(super) fn is_split(&self) -> bool {
        matches!(self.payload, Payload::Open(_) | Payload::Deal(_))
    }

    /// The message that carries a chunk.
    pub(super) fn message_of(&self, chunk: usize) -> usize {
        if self.is_split() { chunk } else { 0 }
    }

    /// Whether its one message is whole words, and no others: such a message can be the buffer of its value.
    pub(super) fn is_words(&self, word: Word) -> bool {
        self.bits == [word.bits()] && !self.is_split()
    }

    /// Bytes of `member` in a message of `count` elements, and where they start.
    pub(super) fn plane(&self, member: usize, count: usize) -> (usize, usize) {
        let bytes = |bits: &u8| (count * usize::from(*bits)).div_ceil(8);
        (self.bits[..member].iter().map(bytes).sum(), bytes(&self.bits[member]))
    }

    /// Bytes of a message of `count` elements.
    pub(super) fn bytes(&self, count: usize) -> usize {
        self.bits.iter().map(|bits| (count * usize::from(*bits)).div_ceil(8)).sum()
    }
}

/// All messages of a plan and the groups they carry.
#[derive(Clone)]
pub(super) struct Traffic {
    pub(super) groups: BTreeMap<Payload, Group>,
    /// Group and index of every opening and dealt value.
    pub(super) member: BTreeMap<Id, (Payload, usize)>,
    pub(super) messages: Vec<Message>,
    ids: BTreeMap<(Payload, usize, Role, Role), u32>,
    parties: Vec<Role>,
    weights: WeightsMode,
    /// Openings that a party can send before the run's input is there.
    pub(super) ahead: BTreeSet<(Payload, Role)>,
    /// Openings of which nobody but `P_0` learns the value and nobody gets `P_0`'s part, which then needs no mask.
    pub(super) kept: BTreeSet<Payload>,
    pub(super) splits: Splits,
    pub(super) classes: Classes,
}

impl Traffic {
    /// First element and count of what each message of a group carries.
    pub(super) fn ranges(&self, group: &Group) -> Vec<(usize, usize)> {
        if group.is_split() {
            self.class_ranges(group.elements, group.class)
        } else {
            vec![(0, group.elements)]
        }
    }

    /// First element and count of the parts that a bulk operation with `elements` of result is cut into.
    pub(super) fn parts(&self, view: Id, elements: usize) -> Vec<(usize, usize)> {
        let Some(class) = self.classes.of(view) else { return vec![(0, elements)] };
        chunk_ranges(elements, self.splits.parts(view, class), self.classes.unit(class))
    }

    /// First element and count of the chunks of `elements` of a class.
    pub(super) fn class_ranges(&self, elements: usize, class: usize) -> Vec<(usize, usize)> {
        chunk_ranges(elements, self.splits.chunks(class), self.classes.unit(class))
    }

    /// Collects the groups; [`Self::number`] makes their messages.
    pub(super) fn new(
        views: &ViewsProgram,
        depths: &[u32],
        model: &Model,
        options: ScheduleOptions,
    ) -> Self {
        let mut traffic = Self {
            groups: BTreeMap::new(),
            member: BTreeMap::new(),
            messages: Vec::new(),
            ids: BTreeMap::new(),
            parties: (0..options.parties).map(Role::Party).collect(),
            weights: options.weights,
            ahead: BTreeSet::new(),
            kept: BTreeSet::new(),
            splits: Splits::default(),
            classes: Classes::default(),
        };
        traffic.collect(views, depths, model);
        traffic
    }

    /// Finds the openings that `P_0` keeps: `wanted` are the parts that a party needs of another, and all that is
    /// made of the values is `D - [L]_0`.
    pub(super) fn keep(&mut self, views: &ViewsProgram, wanted: &BTreeSet<(Payload, Role, Role)>) {
        let sent = wanted.iter().filter(|(_, from, _)| *from == Role::Party(0));
        let sent: BTreeSet<Payload> = sent.map(|(payload, ..)| *payload).collect();
        let mut readers: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
        for id in views.ids() {
            for arg in &views[id].args {
                readers.entry(*arg).or_default().push(id);
            }
        }
        let readers = |id: Id| readers.get(&id).into_iter().flatten().copied();
        let is_kept = |open: &Id| {
            let is_of_open = |id| what_p0_knows(views, id) == Some(*open);
            readers(*open).all(|id| views[id].op == Op::AtP0 && readers(id).all(is_of_open))
        };
        let opens = self.groups.values().filter(|g| matches!(g.payload, Payload::Open(_)));
        let kept = opens.filter(|g| !sent.contains(&g.payload) && g.members.iter().all(is_kept));
        self.kept = kept.map(|group| group.payload).collect();
    }

    fn collect(&mut self, views: &ViewsProgram, depths: &[u32], model: &Model) {
        let mut keys = BTreeMap::new();
        let used = views.use_counts();
        for id in views.ids() {
            let node = &views[id];
            let origin = node.origin.unwrap_or(0);
            let elements = node.ty.shape.elements();
            match &node.op {
                Op::Open | Op::Deal { .. } if used[id.index()] > 0 => {
                    let open = node.op == Op::Open;
                    let next = keys.len() as u32;
                    let key = (open, origin, depths[id.index()], elements);
                    let number = *keys.entry(key).or_insert(next);
                    let payload = if open { Payload::Open(number) } else { Payload::Deal(number) };
                    let zeros = if let Op::Deal { zeros, .. } = node.op { zeros } else { 0 };
                    let depth = depths[id.index()] - u32::from(open);
                    let bits = node.ty.elem.bits() - zeros;
                    self.add(payload, id, bits, elements, (origin, depth));
                }
                Op::InputDelta { port } => {
                    let bits = model.inputs[port.index()].ring;
                    let (at, mask) = ((origin, 0), node.args[0]);
                    self.add(Payload::Input(port.0), id, bits, elements, at);
                    self.add(Payload::InputMask(port.0), mask, bits, elements, at);
                }
                Op::WeightDelta { param } if used[id.index()] > 0 => {
                    let (bits, at) = (node.ty.elem.bits(), (origin, 0));
                    self.add(Payload::Weight(param.0), id, bits, elements, at);
                    if self.weights == WeightsMode::Owner {
                        let payload = Payload::WeightMask(param.0);
                        self.add(payload, node.args[0], bits, elements, at);
                    }
                }
                Op::Reveal { port } => {
                    let bits = node.ty.elem.bits();
                    let at = (origin, depths[id.index()]);
                    let payload = Payload::RevealMasked(port.0);
                    self.add(payload, node.args[0], bits, elements, at);
                    let payload = Payload::RevealShare(port.0);
                    self.add(payload, node.args[1], bits, elements, at);
                }
                _ => {}
            }
        }
    }

    fn add(
        &mut self,
        payload: Payload,
        id: Id,
        bits: u8,
        elements: usize,
        (origin, depth): (u32, u32),
    ) {
        let group = self.groups.entry(payload).or_insert_with(|| Group {
            payload,
            members: Vec::new(),
            bits: Vec::new(),
            elements,
            origin,
            depth,
            class: 0,
        });
        if group.is_split() {
            self.member.insert(id, (payload, group.members.len()));
        }
        group.members.push(id);
        group.bits.push(bits);
    }

    /// Gives every message its number. `wanted` are the payloads that compute parties use: an opening
    /// that a party has no use for is not sent to it.
    pub(super) fn number(
        &mut self,
        masked: &MaskedProgram,
        wanted: &BTreeSet<(Payload, Role, Role)>,
    ) {
        for (payload, group) in &self.groups {
            let mut routes = self.routes(*payload);
            routes.retain(|(from, to)| {
                !self.parties.contains(to) || wanted.contains(&(*payload, *from, *to))
            });
            let layer = masked.nodes.get(group.origin as usize).and_then(|n| n.origin);
            for (chunk, (_, count)) in self.ranges(group).into_iter().enumerate() {
                for &(from, to) in &routes {
                    let id = self.messages.len() as u32;
                    self.ids.insert((*payload, chunk, from, to), id);
                    let (phase, kind) = (self.phase(*payload, from), class(*payload).1);
                    let (bytes, layer) = (group.bytes(count) as u64, layer.unwrap_or(0));
                    self.messages.push(Message { from, to, phase, kind, bytes, round: 0, layer });
                }
            }
        }
    }

    /// Who sends a payload to whom, if all want it.
    fn routes(&self, payload: Payload) -> Vec<(Role, Role)> {
        let (first, parties) = (Role::Party(0), &self.parties);
        let others =
            |from: Role| parties.iter().filter(move |p| **p != from).map(move |p| (from, *p));
        match payload {
            Payload::Open(_) => parties.iter().flat_map(|p| others(*p)).collect(),
            Payload::Deal(_) => {
                parties.last().map(|last| (Role::Dealer, *last)).into_iter().collect()
            }
            Payload::Input(_) => parties.iter().map(|p| (Role::Client, *p)).collect(),
            Payload::Weight(_) => match self.weights {
                WeightsMode::Party0 => others(first).collect(),
                WeightsMode::Owner => parties.iter().map(|p| (Role::Owner, *p)).collect(),
                WeightsMode::Public => Vec::new(),
            },
            Payload::InputMask(_) => vec![(Role::Dealer, Role::Client)],
            Payload::WeightMask(_) => vec![(Role::Dealer, Role::Owner)],
            Payload::RevealMasked(_) => vec![(first, Role::Client)],
            Payload::RevealShare(_) => parties.iter().map(|p| (*p, Role::Client)).collect(),
        }
    }

    /// Whether a role sends a payload.
    pub(super) fn sends(&self, role: Role, payload: Payload) -> bool {
        self.routes(payload).iter().any(|(from, _)| *from == role)
    }

    /// Who sends a role a payload that comes from one other role; `None` where nobody does.
    pub(super) fn sender(&self, payload: Payload, to: Role) -> Option<Role> {
        self.routes(payload).into_iter().find(|route| route.1 == to).map(|(from, _)| from)
    }

    /// The number of a message that exists.
    pub(super) fn id(&self, payload: Payload, chunk: usize, from: Role, to: Role) -> Option<u32> {
        self.ids.get(&(payload, chunk, from, to)).copied()
    }

    /// The phase in which a role sends a payload.
    pub(super) fn phase(&self, payload: Payload, from: Role) -> Phase {
        if self.ahead.contains(&(payload, from)) { Phase::Offline } else { class(payload).0 }
    }

    /// Numbers of the messages of a payload's chunk that a role sends.
    pub(super) fn sent_by(&self, payload: Payload, chunk: usize, from: Role) -> Vec<u32> {
        let range = (payload, chunk, from, Role::Party(0))..;
        let same =
            |key: &(Payload, usize, Role, Role)| (key.0, key.1, key.2) == (payload, chunk, from);
        self.ids.range(range).take_while(|(key, _)| same(key)).map(|(_, id)| *id).collect()
    }

    /// Payload, chunk and sender of everything that a role is sent.
    pub(super) fn received_by(&self, to: Role) -> impl Iterator<Item = (Payload, usize, Role)> {
        let received = self.ids.keys().filter(move |key| key.3 == to);
        received.map(|&(payload, chunk, from, _)| (payload, chunk, from))
    }

    /// Numbers of all messages of a payload, in the order of chunks, senders and receivers.
    fn sent(&self, payload: Payload) -> Vec<u32> {
        let range = (payload, 0, Role::Party(0), Role::Party(0))..;
        let same = self.ids.range(range).take_while(|((p, ..), _)| *p == payload);
        same.map(|(_, id)| *id).collect()
    }

    /// Writes message numbers into ports and parameters.
    pub(super) fn fill_ports(
        &self,
        inputs: &mut [InputPort],
        outputs: &mut [OutputPort],
        params: &mut [ParamInfo],
    ) {
        for (i, port) in (0..).zip(inputs) {
            port.mask = self.sent(Payload::InputMask(i)).first().copied().unwrap_or(u32::MAX);
            port.masked = self.sent(Payload::Input(i));
        }
        for (i, port) in (0..).zip(outputs) {
            port.masked = self.sent(Payload::RevealMasked(i)).first().copied().unwrap_or(u32::MAX);
            port.shares = self.sent(Payload::RevealShare(i));
        }
        for (i, param) in (0..).zip(params) {
            param.masked = self.sent(Payload::Weight(i));
            param.mask = self.sent(Payload::WeightMask(i)).first().copied();
        }
    }
}

fn class(payload: Payload) -> (Phase, MessageKind) {
    match payload {
        Payload::Open(_) => (Phase::Online, MessageKind::Open),
        Payload::Deal(_) => (Phase::Offline, MessageKind::Correction),
        Payload::Input(_) => (Phase::Online, MessageKind::Input),
        Payload::Weight(_) => (Phase::Setup, MessageKind::Weight),
        Payload::InputMask(_) => (Phase::Offline, MessageKind::Mask),
        Payload::WeightMask(_) => (Phase::Setup, MessageKind::Mask),
        Payload::RevealMasked(_) | Payload::RevealShare(_) => (Phase::Online, MessageKind::Reveal),
    }
}

/// Bits per element of a view value's ring.
pub(super) fn ring_bits(elem: Elem) -> Option<u8> {
    match elem {
        Elem::Ring(k) => Some(k),
        Elem::Bit => None,
    }
}
