//! No two payloads hide behind each other.
//!
//! A payload `x + r` is uniform to who does not know `r`, unless another payload tells about `r`. With `r` in
//! `y + r + s`, which `s` hides, it does not; with `s` in `x` as well, it may: the difference of `r + s` and `x + r + s`
//! is `x`. So the masks must have an order in which none went into a payload that an earlier one hides. Then the last
//! mask is in its own payload only, and makes that uniform whatever the others are; without it the same holds for the
//! mask before, and so on.
//!
//! Only masks of one party are compared: those of all others may be known to who wants to learn something.

use super::flow::{Flow, Set, Stream};
use super::{Rule, Work};
use crate::plan::{Phase, Role};
use std::collections::BTreeMap;

/// A part of a payload.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) role: Role,
    pub(super) message: u32,
    /// Who wrote it.
    pub(super) phase: Phase,
    pub(super) step: u32,
}

/// Parts of payloads, and the sets of streams in them, by the stream that hides them; one part stands for all.
#[derive(Default)]
pub(super) struct Hidden(BTreeMap<Stream, (Part, Vec<Set>)>);

impl Hidden {
    /// A part hidden by `stream` and computed from `all`.
    pub(super) fn add(&mut self, stream: Stream, part: Part, all: Set) {
        let (_, sets) = self.0.entry(stream).or_insert((part, Vec::new()));
        if sets.last() != Some(&all) {
            sets.push(all);
        }
    }

    /// A stream that hides a part of a payload in a circle; `None` if there is no circle.
    pub(super) fn circle(
        &self,
        flow: &Flow<'_>,
        work: &mut Work,
    ) -> Result<Option<(Stream, Part)>, Rule> {
        let nodes: Vec<(&Stream, &(Part, Vec<Set>))> = self.0.iter().collect();
        let mut by_number = BTreeMap::new();
        // Bits by number of stream: those that hide something, until all that their payloads contain has been followed.
        let mut open: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        for (at, (stream, _)) in nodes.iter().enumerate() {
            let Some(number) = flow.number(**stream) else { continue };
            by_number.insert(number, at);
            let bits = open.entry(stream.party).or_default();
            bits.resize(bits.len().max(number / 64 + 1), 0);
            bits[number / 64] |= 1 << (number % 64);
        }
        let mut entered = vec![false; nodes.len()];
        for start in by_number.values() {
            let mut path = Vec::new();
            if !entered[*start] {
                entered[*start] = true;
                path.push(Walk::new(*start));
            }
            while let Some(walk) = path.last_mut() {
                let (stream, (_, sets)) = nodes[walk.node];
                let own = flow.number(*stream).unwrap_or_default();
                let Some(bits) = open.get_mut(&stream.party) else { break };
                let Some(number) = walk.next(sets, own, flow, bits, work)? else {
                    bits[own / 64] &= !(1 << (own % 64));
                    path.pop();
                    continue;
                };
                let Some(&node) = by_number.get(&number) else { break };
                if std::mem::replace(&mut entered[node], true) {
                    let (stream, (part, _)) = nodes[node];
                    return Ok(Some((*stream, *part)));
                }
                path.push(Walk::new(node));
            }
        }
        Ok(None)
    }
}

/// How far the streams that went into a payload have been looked at.
struct Walk {
    node: usize,
    set: usize,
    word: usize,
}

impl Walk {
    fn new(node: usize) -> Self {
        Self { node, set: 0, word: 0 }
    }

    /// The number of a stream, other than `own`, that is in one of `sets` and in `open`.
    fn next(
        &mut self,
        sets: &[Set],
        own: usize,
        flow: &Flow<'_>,
        open: &[u64],
        work: &mut Work,
    ) -> Result<Option<usize>, Rule> {
        while let Some(&set) = sets.get(self.set) {
            let rest = flow.words(set).iter().zip(open).enumerate().skip(self.word);
            let mut both =
                rest.map(|(at, (word, open))| (at, word & open)).filter(|(_, bits)| *bits != 0);
            let skip = |at| if own / 64 == at { 1 << (own % 64) } else { 0 };
            let found = both.find(|(at, bits)| bits & !skip(*at) != 0);
            let from = std::mem::replace(&mut self.word, found.map_or(open.len(), |(at, _)| at));
            work.spend(1 + (self.word - from) as u64)?;
            if let Some((at, bits)) = found {
                return Ok(Some(at * 64 + (bits & !skip(at)).trailing_zeros() as usize));
            }
            (self.set, self.word) = (self.set + 1, 0);
        }
        Ok(None)
    }
}
