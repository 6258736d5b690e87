//! Which mask streams the bytes of an arena were computed from, value by value.
//!
//! Inside one program `masks.rs` sees every use of a mask. A mask that went into a buffer or a message by an
//! earlier step and comes back as an operand could cancel what hides a payload; this table tells. What is received
//! counts as computed from all that went into it at its sender: its receiver may know the streams that hid it.
//! `order.rs` says what each step reads.

use super::masks::{Written, written};
use super::{Rule, Work};
use crate::plan::{Phase, Plan, StepOp};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The mask stream of a value at a party; drawn in setup it is another one than drawn in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stream {
    pub(super) party: u8,
    pub(super) deploy: bool,
    pub(super) value: u32,
}

impl Stream {
    pub(super) fn new(party: u8, phase: Phase, value: u32) -> Self {
        Self { party, deploy: phase == Phase::Setup, value }
    }
}

/// A set of streams, by index in [`Flow`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Set(u32);

/// What went into written bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// Through operands that were loaded.
    pub(super) loaded: Set,
    /// Through operands, or drawn by the step itself.
    pub(super) all: Set,
}

/// What is kept counts this much more, per eight bytes, than work that is done once: at most half a
/// gigabyte is kept.
pub(super) const KEPT: u64 = 16;

/// All sets that occur, and what each program does.
pub(super) struct Flow<'a> {
    plan: &'a Plan,
    programs: Vec<Option<Rc<[Written]>>>,
    streams: BTreeMap<Stream, usize>,
    /// Bits by number of stream. The first set is empty.
    sets: Vec<Vec<u64>>,
    /// Unions that are known: the chunks of an operation ask for the same ones.
    unions: BTreeMap<(Set, Set), Set>,
    /// Known sets with more streams, by their numbers.
    grown: BTreeMap<(Set, Vec<usize>), Set>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let programs = vec![None; plan.programs.len()];
        Self {
            plan,
            programs,
            streams: BTreeMap::new(),
            sets: vec![Vec::new()],
            unions: BTreeMap::new(),
            grown: BTreeMap::new(),
        }
    }

    /// What a program writes, operand by operand.
    pub(super) fn program(&mut self, program: u32, work: &mut Work) -> Result<Rc<[Written]>, Rule> {
        let at = program as usize;
        if let Some(known) = &self.programs[at] {
            return Ok(Rc::clone(known));
        }
        let found: Rc<[Written]> = written(&self.plan.programs[at], self.plan.word, work)?.into();
        self.programs[at] = Some(Rc::clone(&found));
        Ok(found)
    }

    /// Whether something in the set was drawn from `stream`.
    pub(super) fn contains(&self, set: Set, stream: Stream) -> bool {
        let Some(bit) = self.number(stream) else { return false };
        self.words(set).get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// The bit of a stream in a set; `None` if nothing was drawn from it.
    pub(super) fn number(&self, stream: Stream) -> Option<usize> {
        self.streams.get(&stream).copied()
    }

    /// A set as bits.
    pub(super) fn words(&self, set: Set) -> &[u64] {
        &self.sets[set.0 as usize]
    }

    /// The origin of each thing that a step writes, from the sets that it read: one entry per access.
    pub(super) fn step(
        &mut self,
        phase: Phase,
        op: &StepOp,
        read: &[Vec<Set>],
        work: &mut Work,
    ) -> Result<Vec<Origin>, Rule> {
        let StepOp::Map { program, values, .. } = op else {
            let all = self.union(read.iter().flatten().copied().collect(), work)?;
            return Ok(vec![Origin { loaded: all, all }; read.len()]);
        };
        let outputs = self.program(*program, work)?;
        let mut origins = Vec::with_capacity(outputs.len());
        for output in outputs.iter() {
            work.spend((output.draws.len() + output.loads.len()) as u64)?;
            let operands = output.loads.iter().flat_map(|&at| &read[usize::from(at)]);
            let loaded = self.union(operands.copied().collect(), work)?;
            let streams = output
                .draws
                .iter()
                .map(|term| Stream::new(term.party, phase, values[usize::from(term.slot)]));
            let all = self.with(loaded, streams.collect(), work)?;
            origins.push(Origin { loaded, all });
        }
        Ok(origins)
    }

    /// The origin of bytes of which only some were written, over others with origins `left`.
    pub(super) fn joined(
        &mut self,
        new: Origin,
        mut left: Vec<Set>,
        work: &mut Work,
    ) -> Result<Origin, Rule> {
        left.push(new.all);
        let all = self.union(left, work)?;
        Ok(Origin { loaded: all, all })
    }

    fn union(&mut self, mut of: Vec<Set>, work: &mut Work) -> Result<Set, Rule> {
        of.sort_unstable();
        of.dedup();
        // Later sets tend to contain earlier ones, so the last one is often the answer.
        let Some(mut total) = of.pop() else { return Ok(Set::default()) };
        for set in of {
            total = self.pair(total, set, work)?;
        }
        Ok(total)
    }

    fn pair(&mut self, a: Set, b: Set, work: &mut Work) -> Result<Set, Rule> {
        work.spend(1)?;
        if let Some(known) = self.unions.get(&(a, b)) {
            return Ok(*known);
        }
        let (first, second) = (&self.sets[a.0 as usize], &self.sets[b.0 as usize]);
        work.spend(first.len().max(second.len()) as u64)?;
        let bits = |set: &[u64], at: usize| set.get(at).copied().unwrap_or(0);
        let contained = second.iter().enumerate().all(|(at, w)| w & !bits(first, at) == 0);
        let both = if contained {
            a
        } else {
            let len = first.len().max(second.len());
            let words = (0..len).map(|at| bits(first, at) | bits(second, at)).collect();
            self.add(words, work)?
        };
        work.spend(KEPT)?;
        self.unions.insert((a, b), both);
        Ok(both)
    }

    /// The set with more streams.
    fn with(&mut self, set: Set, streams: Vec<Stream>, work: &mut Work) -> Result<Set, Rule> {
        let mut number = |stream| {
            let next = self.streams.len();
            *self.streams.entry(stream).or_insert(next)
        };
        let numbers: Vec<usize> = streams.into_iter().map(&mut number).collect();
        let key = (set, numbers);
        if let Some(known) = self.grown.get(&key) {
            return Ok(*known);
        }
        let mut words = self.sets[set.0 as usize].clone();
        for &at in &key.1 {
            words.resize(words.len().max(at / 64 + 1), 0);
            words[at / 64] |= 1 << (at % 64);
        }
        let same = words == self.sets[set.0 as usize];
        let grown = if same { set } else { self.add(words, work)? };
        work.spend(KEPT * (1 + key.1.len() as u64))?;
        self.grown.insert(key, grown);
        Ok(grown)
    }

    fn add(&mut self, words: Vec<u64>, work: &mut Work) -> Result<Set, Rule> {
        work.spend(KEPT * (1 + words.len() as u64))?;
        self.sets.push(words);
        Ok(Set(self.sets.len() as u32 - 1))
    }
}
