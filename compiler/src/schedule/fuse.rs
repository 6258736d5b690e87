//! Which values of a role get a buffer, and which element-wise operations run as one tile program.
//!
//! Linear operations and data movement read and write buffers. Everything element-wise in between is
//! recomputed where it is used, from buffers, messages and masks: masks cost less to derive again
//! than to keep. So a segment is the backward slice from what it stores and sends.

use super::groups::{Payload, Traffic};
use super::project::{Projected, Sink, Val, Value, Work};
use mpcc_ir::plan::{Phase, Role, Word};
use mpcc_ir::shape::Shape;
use mpcc_ir::views::{Elem, Op};
use std::collections::BTreeMap;

/// When an item runs: phase, then masked node, then depth; what it is breaks ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) phase: Phase,
    pub(super) origin: u32,
    pub(super) depth: u32,
}

/// Element-wise work of one role that runs as one program, chunk by chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    pub(super) elements: usize,
    /// What is split alike, see [`super::splits`].
    pub(super) class: usize,
    /// Values stored to their buffers.
    pub(super) stores: Vec<Val>,
    /// Values packed into messages, all of one payload.
    pub(super) sinks: Vec<Sink>,
}

/// What a segment is identified by; segments run in this order.
type SegmentKey = (Slot, Option<Payload>, usize);

/// A role's values with the decisions taken.
pub(super) struct Fused {
    pub(super) role: Role,
    pub(super) values: Vec<Value>,
    /// Values that live in a buffer of words.
    pub(super) buffered: Vec<bool>,
    /// Values that somebody needs.
    pub(super) live: Vec<bool>,
    pub(super) segments: Vec<(Slot, Segment)>,
    /// Whole messages that are the words of a buffer as they are.
    pub(super) direct: Vec<(Slot, Sink)>,
    pub(super) depths: Vec<u32>,
}

impl Fused {
    /// When a value is computed.
    pub(super) fn slot(&self, v: Val) -> Slot {
        let value = &self.values[v];
        Slot { phase: value.phase, origin: value.origin, depth: self.depths[value.view.index()] }
    }

    /// The value behind reshapes and narrowings, which cost nothing.
    pub(super) fn resolve(&self, v: Val) -> Val {
        resolve(&self.values, v)
    }
}

fn resolve(values: &[Value], mut v: Val) -> Val {
    while matches!(values[v].work, Work::Map(Op::Reshape | Op::Narrow)) {
        v = values[v].args[0];
    }
    v
}

/// Takes the decisions for one role.
pub(super) fn fuse(
    projected: Projected,
    traffic: &Traffic,
    role: Role,
    depths: &[u32],
    word: Word,
) -> Fused {
    let Projected { values, sinks, live, ahead: _ } = projected;
    let mut fuser = Fuser { role, live, values, sinks, buffered: Vec::new() };
    fuser.expansions_to_tables();
    fuser.choose_buffers(traffic);
    fuser.segments(traffic, depths, word)
}

struct Fuser {
    role: Role,
    values: Vec<Value>,
    sinks: Vec<Sink>,
    live: Vec<bool>,
    buffered: Vec<bool>,
}

impl Fuser {
    fn resolve(&self, v: Val) -> Val {
        resolve(&self.values, v)
    }

    fn is_bulk(&self, v: Val) -> bool {
        matches!(self.values[v].work, Work::Bulk(_))
    }

    /// An expansion that only element-wise operations read becomes a repeating load.
    fn expansions_to_tables(&mut self) {
        let mut read_by_bulk = vec![false; self.values.len()];
        for v in (0..self.values.len()).filter(|v| self.live[*v] && self.is_bulk(*v)) {
            for arg in &self.values[v].args {
                read_by_bulk[self.resolve(*arg)] = true;
            }
        }
        for v in 0..self.values.len() {
            let value = &self.values[v];
            if value.work != Work::Bulk(Op::Expand) || read_by_bulk[v] {
                continue;
            }
            if repeat(&self.values[value.args[0]].shape, &value.shape).is_some() {
                self.values[v].work = Work::Map(Op::Expand);
            }
        }
    }

    fn choose_buffers(&mut self, traffic: &Traffic) {
        self.buffered = vec![false; self.values.len()];
        for v in (0..self.values.len()).filter(|v| self.live[*v]) {
            let reads_buffers =
                matches!(self.values[v].work, Work::Bulk(_) | Work::Map(Op::Expand));
            for arg in self.values[v].args.clone() {
                let arg = self.resolve(arg);
                self.buffered[arg] |= reads_buffers;
            }
            self.buffered[v] |= matches!(self.values[v].work, Work::Bulk(_) | Work::Param(_));
        }
        let mut from_buffer = vec![false; self.values.len()];
        for v in 0..self.values.len() {
            from_buffer[v] = self.buffered[v]
                && !matches!(self.values[v].work, Work::Random { .. })
                || self.values[v].args.iter().any(|a| from_buffer[*a]);
        }
        let later = |phase: Phase, of: Val, fuser: &Self| {
            let value = &fuser.values[of];
            let crosses = value.phase < phase && value.elem != Elem::Bit;
            let constant = matches!(value.work, Work::Const(_));
            // What repeats is small before it is expanded.
            let repeats = matches!(value.work, Work::Map(Op::Expand));
            crosses && !constant && !repeats && (value.phase == Phase::Setup || from_buffer[of])
        };
        for v in (0..self.values.len()).filter(|v| self.live[*v]) {
            for arg in self.values[v].args.clone() {
                let arg = self.resolve(arg);
                self.buffered[arg] |= later(self.values[v].phase, arg, self);
            }
        }
        for sink in &self.sinks {
            let phase = traffic.phase(sink.payload, self.role);
            let value = resolve(&self.values, sink.value);
            self.buffered[value] |= later(phase, value, self);
        }
    }

    fn segments(self, traffic: &Traffic, depths: &[u32], word: Word) -> Fused {
        let Self { role, values, sinks, live, buffered } = self;
        let mut fused = Fused {
            role,
            values,
            buffered,
            live,
            segments: Vec::new(),
            direct: Vec::new(),
            depths: depths.to_vec(),
        };
        let mut segments: BTreeMap<SegmentKey, Segment> = BTreeMap::new();
        for v in 0..fused.values.len() {
            let needs_store = fused.live[v] && fused.buffered[v] && fused.resolve(v) == v;
            if needs_store && is_computed(&fused.values[v]) && !is_message(&fused, v, traffic, word)
            {
                let elements = fused.values[v].shape.elements();
                let segment = segments.entry((fused.slot(v), None, elements)).or_default();
                segment.elements = elements;
                segment.stores.push(v);
            }
        }
        for sink in sinks {
            let group = &traffic.groups[&sink.payload];
            let phase = traffic.phase(sink.payload, role);
            let slot = Slot { phase, origin: group.origin, depth: group.depth };
            let value = fused.resolve(sink.value);
            if fused.buffered[value] && group.is_words(word) {
                fused.direct.push((slot, Sink { value, ..sink }));
                continue;
            }
            let key = (slot, Some(sink.payload), group.elements);
            let segment = segments.entry(key).or_default();
            segment.elements = group.elements;
            segment.sinks.push(sink);
        }
        fused.segments = segments.into_iter().map(|((slot, ..), s)| (slot, s)).collect();
        fused
    }
}

/// Whether a value comes out of a tile program when it has a buffer.
fn is_computed(value: &Value) -> bool {
    !matches!(value.work, Work::Bulk(_) | Work::Param(_))
}

/// Whether a buffered value is a received message as it is: one value of full words.
pub(super) fn is_message(fused: &Fused, v: Val, traffic: &Traffic, word: Word) -> bool {
    let Work::Received { payload, .. } = fused.values[v].work else { return false };
    traffic.groups[&payload].is_words(word)
}

/// `(inner, len)` such that element `e` of the expansion is entry `(e / inner) % len`.
pub(super) fn repeat(from: &Shape, to: &Shape) -> Option<(u64, u64)> {
    let kept = |axis: &usize| from[*axis] == to[*axis] && to[*axis] != 1;
    let axes: Vec<usize> = (0..to.rank()).filter(kept).collect();
    let (Some(&first), Some(&last)) = (axes.first(), axes.last()) else {
        return Some((1, 1));
    };
    let between_is_kept = (first..=last).all(|axis| from[axis] == to[axis]);
    let inner: usize = to[last + 1..].iter().product();
    let len: usize = to[first..=last].iter().product();
    between_is_kept.then_some((inner as u64, len as u64))
}
