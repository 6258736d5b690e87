//! How finely each part of a program is cut into steps and messages.
//!
//! Element-wise work that meets in one tile program is cut alike, since a program works on the same
//! elements of all its operands. So values form classes: what element-wise operations, messages and
//! programs join. Products are cut one by one, into parts of their result.

use super::fuse::Fused;
use super::groups::Traffic;
use mpcc_ir::Id;
use mpcc_ir::views::ViewsProgram;
use std::collections::BTreeMap;

/// The numbers of chunks and parts, and how far ahead roles work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Splits {
    /// Layers that may be under way at once; any number if `None`.
    pub(super) ahead: Option<usize>,
    chunks: Vec<usize>,
    parts: BTreeMap<u32, usize>,
}

impl Splits {
    /// All classes in as many chunks, all products whole.
    pub(super) fn even(classes: usize, chunks: usize) -> Self {
        Self { ahead: None, chunks: vec![chunks; classes], parts: BTreeMap::new() }
    }

    /// Chunks of a class, at most.
    pub(super) fn chunks(&self, class: usize) -> usize {
        self.chunks.get(class).copied().unwrap_or(1)
    }

    pub(super) fn set_chunks(&mut self, class: usize, chunks: usize) {
        self.chunks[class] = chunks;
    }

    /// Parts of a product, by its view node.
    pub(super) fn parts(&self, view: Id) -> usize {
        self.parts.get(&(view.index() as u32)).copied().unwrap_or(1)
    }

    pub(super) fn set_parts(&mut self, view: Id, parts: usize) {
        self.parts.insert(view.index() as u32, parts);
    }
}

/// Numbers the classes and writes them into the groups and segments; returns how many there are.
pub(super) fn classify(views: &ViewsProgram, traffic: &mut Traffic, fused: &mut [Fused]) -> usize {
    let mut joined = Joined((0..views.nodes.len()).collect());
    for (at, node) in views.nodes.iter().enumerate() {
        for arg in &node.args {
            let same = views[*arg].ty.shape.elements() == node.ty.shape.elements();
            if same && !super::groups::is_bulk(&node.op) {
                joined.join(at, arg.index());
            }
        }
    }
    for group in traffic.groups.values() {
        joined.join_all(group.members.iter().map(|id| id.index()));
    }
    for fused in &*fused {
        for (_, segment) in &fused.segments {
            let stores = segment.stores.iter().map(|v| fused.values[*v].view.index());
            let sinks = segment.sinks.iter().map(|s| traffic.groups[&s.payload].members[0].index());
            joined.join_all(stores.chain(sinks));
        }
    }
    let mut numbers = BTreeMap::new();
    let mut number = |view: usize| {
        let next = numbers.len();
        *numbers.entry(joined.root(view)).or_insert(next)
    };
    for group in traffic.groups.values_mut() {
        group.class = number(group.members[0].index());
    }
    for fused in fused {
        let Fused { segments, values, .. } = fused;
        for (_, segment) in segments {
            let store = segment.stores.first().map(|v| values[*v].view.index());
            let sink = segment.sinks.first().map(|s| traffic.groups[&s.payload].members[0].index());
            segment.class = store.or(sink).map_or(0, &mut number);
        }
    }
    numbers.len()
}

/// Disjoint sets, by a representative.
struct Joined(Vec<usize>);

impl Joined {
    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }

    fn join_all(&mut self, all: impl Iterator<Item = usize>) {
        let mut last = None;
        for at in all {
            if let Some(last) = last {
                self.join(last, at);
            }
            last = Some(at);
        }
    }
}
