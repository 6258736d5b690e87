//! How finely each part of a program is cut into steps and messages.
//!
//! Element-wise work that meets in one tile program is cut alike, since a program works on the same
//! elements of all its operands. So values form classes: what element-wise operations, messages and
//! programs join. Chunks of images are whole rows, so that a chunk is what a part of a convolution gives and
//! wants. Products and moves are cut as the class of their result, or into fewer parts where that was chosen.

use super::barriers::Overlap;
use super::fuse::Fused;
use super::groups::Traffic;
use mpcc_ir::views::ViewsProgram;
use mpcc_ir::{Id, Shape};
use std::collections::BTreeMap;

/// The numbers of chunks and parts, and how far ahead roles work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Splits {
    /// Layers that may be under way at once; any number if `None`.
    pub(super) ahead: Option<usize>,
    /// Parts of a product for which no number was chosen, at most; as many as its class has chunks if `None`.
    most_parts: Option<usize>,
    /// What may happen at once, where that is less than was asked for.
    overlap: Option<Overlap>,
    chunks: Vec<usize>,
    parts: BTreeMap<u32, usize>,
}

impl Splits {
    /// All classes in as many chunks, and all products with them.
    pub(super) fn even(classes: usize, chunks: usize) -> Self {
        Self { chunks: vec![chunks; classes], ..Self::default() }
    }

    /// The same, but for the parts of products for which no number was chosen.
    pub(super) fn with_most_parts(mut self, most_parts: Option<usize>) -> Self {
        self.most_parts = most_parts;
        self
    }

    /// The same, with less at once.
    pub(super) fn with_overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = Some(overlap);
        self
    }

    /// What may happen at once, where so much was asked for.
    pub(super) fn overlap(&self, asked: Overlap) -> Overlap {
        self.overlap.unwrap_or(asked)
    }

    /// Chunks of a class, at most.
    pub(super) fn chunks(&self, class: usize) -> usize {
        self.chunks.get(class).copied().unwrap_or(1)
    }

    pub(super) fn set_chunks(&mut self, class: usize, chunks: usize) {
        self.chunks[class] = chunks;
    }

    /// Parts of a product or a move, by its view node, whose result is of `class`.
    pub(super) fn parts(&self, view: Id, class: usize) -> usize {
        let chosen = self.parts.get(&(view.index() as u32)).copied();
        chosen.unwrap_or_else(|| self.chunks(class).min(self.most_parts.unwrap_or(usize::MAX)))
    }

    pub(super) fn set_parts(&mut self, view: Id, parts: usize) {
        self.parts.insert(view.index() as u32, parts);
    }
}

/// What is cut alike.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    /// By class: its chunks begin at multiples of so many elements.
    units: Vec<usize>,
    /// By view node: its class, if a group or a segment has that class.
    of: Vec<Option<usize>>,
}

impl Classes {
    pub(super) fn unit(&self, class: usize) -> usize {
        self.units.get(class).copied().unwrap_or(TILE)
    }

    pub(super) fn of(&self, view: Id) -> Option<usize> {
        self.of.get(view.index()).copied().flatten()
    }
}

/// Elements that tile programs work on at a time.
const TILE: usize = 2048;

/// The least multiple of an image's row at which packed values of any width start at a byte, and masks at a block
/// of the cipher if few rows are enough for that; a tile where there are no rows.
fn unit(shape: &Shape) -> usize {
    let &[_, _, width, channels] = &shape[..] else { return TILE };
    let row = width * channels;
    let few = |rows: &usize| *rows <= 4;
    let multiples = |of: usize| (1..=8).find(move |rows| (rows * row).is_multiple_of(of));
    multiples(512).filter(few).or_else(|| multiples(64)).map_or(TILE, |rows| (rows * row).max(1))
}

/// Finds the classes and writes their numbers into the groups and segments; returns how many there are.
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
    let of: Vec<Option<usize>> =
        (0..views.nodes.len()).map(|view| numbers.get(&joined.root(view)).copied()).collect();
    let mut units = vec![None; numbers.len()];
    for (node, class) in views.nodes.iter().zip(&of) {
        if let Some(class) = class {
            units[*class].get_or_insert_with(|| unit(&node.ty.shape));
        }
    }
    let units = units.into_iter().map(|unit| unit.unwrap_or(TILE)).collect();
    traffic.classes = Classes { units, of };
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
