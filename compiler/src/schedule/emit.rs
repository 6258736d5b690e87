//! Writes the steps of one role, phase by phase, and places its buffers.

use super::ScheduleOptions;
use super::allocate::{self, Request};
use super::barriers::{self, Overlap};
use super::bulk::{self, Tensor};
use super::depend;
use super::fuse::{Fused, Segment, Slot, is_message};
use super::groups::{Group, Payload, Traffic};
use super::project::{Sink, Val, Work};
use super::tile::{self, Programs, Source};
use mpcc_ir::masked::MaskedProgram;
use mpcc_ir::plan::{Phase, Region, Role, RolePlan, Span, Step, StepOp};
use std::collections::{BTreeMap, BTreeSet};

/// A step before its buffers have addresses: `Span::at` is the buffer's number and an offset.
pub(super) struct Draft {
    pub(super) op: StepOp,
    /// Which spans of a `Map` step are written.
    pub(super) map_writes: Vec<bool>,
    pub(super) after: Vec<u32>,
    pub(super) layer: u32,
}

/// Bits of `Span::at` that hold the offset in a draft.
const OFFSET_BITS: u32 = 40;

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    Words(Val),
    Own(Payload, usize),
    Received(Payload, Role, usize),
}

/// A unit of work in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Load(Val),
    Receive(Payload, Role, usize),
    Bulk(Val),
    Segment(usize),
    Direct(usize),
}

/// The steps and arenas of one role.
pub(super) fn role_plan(
    fused: &Fused,
    traffic: &Traffic,
    programs: &mut Programs,
    masked: &MaskedProgram,
    role: Role,
    options: ScheduleOptions,
) -> RolePlan {
    let mut emitter = Emitter {
        fused,
        traffic,
        programs,
        masked,
        role,
        options,
        buffers: Vec::new(),
        numbers: BTreeMap::new(),
        drafts: BTreeMap::new(),
    };
    for (slot, item) in items(fused, traffic, role) {
        emitter.item(slot, item);
    }
    emitter.finish()
}

/// All work of a role in an order that can be executed.
fn items(fused: &Fused, traffic: &Traffic, role: Role) -> BTreeSet<(Slot, Item)> {
    let mut items = receives(traffic, role);
    for (v, value) in fused.values.iter().enumerate().filter(|(v, _)| fused.live[*v]) {
        match value.work {
            Work::Param(_) => {
                items.insert((fused.slot(v), Item::Load(v)));
            }
            Work::Bulk(_) => {
                items.insert((fused.slot(v), Item::Bulk(v)));
            }
            Work::Const(_)
            | Work::Random { .. }
            | Work::Received { .. }
            | Work::Own { .. }
            | Work::Map(_) => {}
        }
    }
    let segments = fused.segments.iter().enumerate();
    items.extend(segments.map(|(index, (slot, _))| (*slot, Item::Segment(index))));
    let direct = fused.direct.iter().enumerate();
    items.extend(direct.map(|(index, (slot, _))| (*slot, Item::Direct(index))));
    items
}

/// Everything that is sent to a role, also what it does not use: an opening is a broadcast, and what
/// is sent must be received before a phase is over.
fn receives(traffic: &Traffic, role: Role) -> BTreeSet<(Slot, Item)> {
    let item = |(payload, chunk, from)| {
        let group = &traffic.groups[&payload];
        let depth = group.depth + u32::from(matches!(payload, Payload::Open(_)));
        let slot = Slot { phase: traffic.phase(payload, from), origin: group.origin, depth };
        (slot, Item::Receive(payload, from, chunk))
    };
    traffic.received_by(role).map(item).collect()
}

struct Emitter<'a> {
    fused: &'a Fused,
    traffic: &'a Traffic,
    programs: &'a mut Programs,
    masked: &'a MaskedProgram,
    role: Role,
    options: ScheduleOptions,
    /// Size and region by buffer number.
    buffers: Vec<(u64, Region)>,
    numbers: BTreeMap<Holds, usize>,
    drafts: BTreeMap<Phase, Vec<Draft>>,
}

impl Emitter<'_> {
    fn item(&mut self, slot: Slot, item: Item) {
        match item {
            Item::Load(v) => {
                let Work::Param(param) = self.fused.values[v].work else { return };
                let dst = self.words(v);
                self.push(slot, StepOp::Load { param, dst }, vec![]);
            }
            Item::Receive(payload, from, chunk) => self.receive(slot, payload, from, chunk),
            Item::Bulk(v) => self.bulk(slot, v),
            Item::Segment(index) => self.segment(slot, index),
            Item::Direct(index) => {
                let Sink { payload, value, .. } = self.fused.direct[index].1;
                let src = self.words(value);
                self.send(slot, payload, 0, src);
            }
        }
    }

    fn push(&mut self, slot: Slot, op: StepOp, map_writes: Vec<bool>) {
        let layer = self.masked.nodes.get(slot.origin as usize).and_then(|n| n.origin).unwrap_or(0);
        let draft = Draft { op, map_writes, after: Vec::new(), layer };
        self.drafts.entry(slot.phase).or_default().push(draft);
    }

    /// All bytes of the buffer that holds something.
    fn buffer(&mut self, holds: Holds, bytes: u64, phase: Phase) -> Span {
        let buffers = &mut self.buffers;
        let number = *self.numbers.entry(holds).or_insert_with(|| {
            let region = if phase == Phase::Setup { Region::Deploy } else { Region::Run };
            buffers.push((bytes, region));
            buffers.len() - 1
        });
        let (len, region) = self.buffers[number];
        Span { region, at: (number as u64) << OFFSET_BITS, len }
    }

    /// The buffer of a value.
    fn words(&mut self, v: Val) -> Span {
        let v = self.fused.resolve(v);
        let value = &self.fused.values[v];
        if let Work::Received { payload, from, .. } = value.work
            && is_message(self.fused, v, self.traffic, self.options.word)
        {
            return self.received(payload, from, 0);
        }
        let bytes = value.shape.elements() as u64 * self.options.word.bytes();
        self.buffer(Holds::Words(v), bytes, value.phase)
    }

    fn message_bytes(&self, payload: Payload, chunk: usize) -> u64 {
        let group = &self.traffic.groups[&payload];
        group.bytes(self.traffic.ranges(group)[chunk].1) as u64
    }

    fn received(&mut self, payload: Payload, from: Role, chunk: usize) -> Span {
        let bytes = self.message_bytes(payload, chunk);
        self.buffer(Holds::Received(payload, from, chunk), bytes, self.traffic.phase(payload, from))
    }

    fn own(&mut self, payload: Payload, chunk: usize) -> Span {
        let bytes = self.message_bytes(payload, chunk);
        let phase = self.traffic.phase(payload, self.role);
        self.buffer(Holds::Own(payload, chunk), bytes, phase)
    }

    fn receive(&mut self, slot: Slot, payload: Payload, from: Role, chunk: usize) {
        let Some(message) = self.traffic.id(payload, chunk, from, self.role) else { return };
        let dst = self.received(payload, from, chunk);
        self.push(slot, StepOp::Receive { message, dst }, vec![]);
    }

    fn send(&mut self, slot: Slot, payload: Payload, chunk: usize, src: Span) {
        for message in self.traffic.sent_by(payload, chunk, self.role) {
            self.push(slot, StepOp::Send { message, src }, vec![]);
        }
    }

    fn bulk(&mut self, slot: Slot, v: Val) {
        let fused = self.fused;
        let value = &fused.values[v];
        let Work::Bulk(op) = &value.work else { return };
        let args: Vec<Tensor<'_>> = value
            .args
            .iter()
            .map(|a| Tensor { shape: &fused.values[*a].shape, span: self.words(*a) })
            .collect();
        let out = Tensor { shape: &value.shape, span: self.words(v) };
        let word = self.options.word.bytes();
        let parts = self.traffic.parts(value.view, value.shape.elements());
        for step in bulk::steps(op, &args, &out, word) {
            for part in bulk::split(step, &parts, word) {
                self.push(slot, part, vec![]);
            }
        }
    }

    fn segment(&mut self, slot: Slot, index: usize) {
        let fused = self.fused;
        let segment = &fused.segments[index].1;
        let bound = tile::bind(fused, segment, self.traffic, self.options.word, self.programs);
        let ranges = self.traffic.class_ranges(segment.elements, segment.class);
        let last = ranges.len() - 1;
        for (chunk, (first, count)) in ranges.into_iter().enumerate() {
            let sources = bound.sources.iter();
            let spans = sources.map(|s| self.source(*s, chunk, first, count)).collect();
            let op = StepOp::Map {
                program: bound.program,
                first: first as u64,
                count: count as u64,
                values: bound.values.clone(),
                spans,
            };
            self.push(slot, op, bound.writes.clone());
            self.send_sinks(slot, segment, chunk, chunk == last);
        }
    }

    /// Sends what a chunk of a segment has completed.
    fn send_sinks(&mut self, slot: Slot, segment: &Segment, chunk: usize, last: bool) {
        let Some(sink) = segment.sinks.first() else { return };
        let group = &self.traffic.groups[&sink.payload];
        if group.is_split() || last {
            let message_chunk = group.message_of(chunk);
            let src = self.own(sink.payload, message_chunk);
            self.send(slot, sink.payload, message_chunk, src);
        }
    }

    /// The bytes of a source that elements `first..first + count` take.
    fn source(&mut self, source: Source, chunk: usize, first: usize, count: usize) -> Span {
        match source {
            Source::Words(v) => {
                let word = self.options.word.bytes();
                sub_span(self.words(v), first as u64 * word, count as u64 * word)
            }
            Source::Table(v) => self.words(v),
            Source::Own(payload, member) => {
                let group = &self.traffic.groups[&payload];
                let (at, len) = plane(group, member, first, count);
                let message_chunk = group.message_of(chunk);
                sub_span(self.own(payload, message_chunk), at, len)
            }
            Source::Received(payload, member, from) => {
                let group = &self.traffic.groups[&payload];
                let (at, len) = plane(group, member, first, count);
                let message_chunk = group.message_of(chunk);
                sub_span(self.received(payload, from, message_chunk), at, len)
            }
        }
    }

    /// Places the buffers and orders the steps.
    fn finish(mut self) -> RolePlan {
        let overlap = self.traffic.splits.overlap(self.options.overlap);
        // Not where a pipeline is found to be best without overlap: it keeps its dealer busy.
        if self.options.overlap == Overlap::Sequential {
            let of_runs = self.drafts.iter_mut().filter(|(phase, _)| **phase != Phase::Setup);
            of_runs.for_each(|(_, drafts)| barriers::send_last(drafts));
        }
        let lifetimes = self.lifetimes(overlap);
        let (deploy, deploy_bytes) = self.place(&lifetimes, Region::Deploy);
        let (run, run_bytes) = self.place(&lifetimes, Region::Run);
        let mut phases = Phase::ALL.map(|phase| self.drafts.remove(&phase).unwrap_or_default());
        for drafts in &mut phases {
            for draft in drafts.iter_mut() {
                for (span, _) in depend::accesses(&mut draft.op, &draft.map_writes) {
                    let number = (span.at >> OFFSET_BITS) as usize;
                    let base = if span.region == Region::Deploy { &deploy } else { &run }[number];
                    span.at = base + (span.at & ((1 << OFFSET_BITS) - 1));
                }
            }
            depend::order(drafts);
            barriers::add(drafts, overlap, self.traffic.splits.ahead);
        }
        let [setup, offline, online] = phases.map(|drafts| {
            let step = |(priority, d): (u32, Draft)| Step {
                op: d.op,
                after: d.after,
                priority,
                layer: d.layer,
                predicted_us: (0.0, 0.0),
            };
            (0..).zip(drafts).map(step).collect()
        });
        RolePlan { role: self.role, deploy_bytes, run_bytes, setup, offline, online }
    }

    /// First and last step that touches each buffer, counting through all phases. What a run reads of
    /// the deployment stays for ever. What the online phase reads stays while the next layers may have begun, so
    /// that their first chunks need not wait for the bytes of the last chunks before them.
    fn lifetimes(&mut self, overlap: Overlap) -> Vec<(usize, usize)> {
        let mut lifetimes = vec![(usize::MAX, 0); self.buffers.len()];
        let mut now = 0;
        for (phase, drafts) in &mut self.drafts {
            let layers = match (phase, overlap) {
                (Phase::Online, Overlap::Pipelined) => KEPT_LAYERS,
                _ => 0,
            };
            let kept_until = kept_until(drafts, layers);
            let start = now;
            for draft in drafts {
                for (span, _) in depend::accesses(&mut draft.op, &draft.map_writes) {
                    let (first, last) = &mut lifetimes[(span.at >> OFFSET_BITS) as usize];
                    let kept = span.region == Region::Deploy && *phase != Phase::Setup;
                    *first = (*first).min(now);
                    let until = start + kept_until[now - start];
                    *last = (*last).max(if kept { usize::MAX } else { until });
                }
                now += 1;
            }
        }
        lifetimes
    }

    /// Where the buffers of a region start, by buffer number, and the region's size.
    fn place(&self, lifetimes: &[(usize, usize)], region: Region) -> (Vec<u64>, u64) {
        let requests: Vec<Request> = self
            .buffers
            .iter()
            .zip(lifetimes)
            .map(|((bytes, of), (first, last))| {
                let bytes = if *of == region { *bytes } else { 0 };
                Request { bytes, first: *first, last: *last }
            })
            .collect();
        allocate::place(&requests)
    }
}

/// Layers after its last reader that a buffer of the online phase is kept for.
const KEPT_LAYERS: usize = 2;

/// For each step, the last step of the layer that is so many layers after its own.
fn kept_until(drafts: &[Draft], layers: usize) -> Vec<usize> {
    if layers == 0 {
        return (0..drafts.len()).collect();
    }
    let mut ends = Vec::new();
    let mut of = Vec::with_capacity(drafts.len());
    for (at, draft) in drafts.iter().enumerate() {
        if at == 0 || draft.layer != drafts[at - 1].layer {
            ends.push(at);
        }
        let run = ends.len() - 1;
        ends[run] = at;
        of.push(run);
    }
    of.into_iter().map(|run| ends[(run + layers).min(ends.len() - 1)]).collect()
}

fn sub_span(span: Span, at: u64, len: u64) -> Span {
    Span { region: span.region, at: span.at + at, len }
}

/// Where a member of a group stands in its message, for a chunk's elements.
fn plane(group: &Group, member: usize, first: usize, count: usize) -> (u64, u64) {
    let bits = usize::from(group.bits[member]);
    let len = (count * bits).div_ceil(8);
    let at = if group.is_split() {
        group.plane(member, count).0
    } else {
        group.plane(member, group.elements).0 + first * bits / 8
    };
    (at as u64, len as u64)
}
