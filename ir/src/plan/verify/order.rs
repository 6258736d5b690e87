//! Accesses that conflict are ordered by `after`, and every byte that is read has been written.
//!
//! Steps of a phase may run at the same time unless `after` orders them. So two of them that touch the
//! same byte, one of them writing, need a path of `after` edges. Steps are visited in an order in which they
//! can run; a map from bytes to the last writer and the readers since then names all conflicts. Where there are none,
//! every such order finds the same writers of what a step reads.
//!
//! All roles are visited together, a receive after its send: what `flow.rs` says about the bytes of a message then goes
//! on with them. Each byte received has the origin of the byte that was sent.

use super::error::SpanText;
use super::flow::{Flow, KEPT, Origin, Set};
use super::progress::Turn;
use super::step::{Access, accesses};
use super::{PlanError, Rule, Work, at_step};
use crate::plan::{Phase, Plan, Region, Role, Span, Step, StepOp};
use std::collections::{BTreeMap, BinaryHeap};

/// Who wrote what a send step sends.
pub(super) struct Payload {
    pub(super) role: Role,
    pub(super) phase: Phase,
    pub(super) step: u32,
    pub(super) message: u32,
    /// Where the sender has it.
    src: Span,
    /// All of it, in order.
    pub(super) pieces: Vec<Piece>,
}

/// A part of a payload that one step wrote.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) phase: Phase,
    pub(super) step: u32,
    pub(super) span: Span,
    pub(super) origin: Origin,
}

/// Visits the steps of each phase in the order of `turns`; `sources` says what each message is computed from.
pub(super) fn check<'a>(
    plan: &'a Plan,
    turns: &[Vec<Turn>; 3],
    sources: &[u32],
    flow: &mut Flow<'a>,
    work: &mut Work,
) -> Result<Vec<Payload>, PlanError> {
    let mut payloads: Vec<Option<Payload>> = plan.messages.iter().map(|_| None).collect();
    let mut memories: Vec<[Memory; 2]> = plan.roles.iter().map(|_| Default::default()).collect();
    for (phase, turns) in Phase::ALL.into_iter().zip(turns) {
        let steps = plan.roles.iter().map(|role| role.steps(phase));
        let mut ancestors: Vec<Ancestors> = steps.map(Ancestors::new).collect();
        for &Turn { role, step } in turns {
            let ancestors = &mut ancestors[role];
            ancestors.start(step);
            let mut visit = Visit { phase, ancestors, flow: &mut *flow, work: &mut *work };
            let memory = &mut memories[role];
            let name = plan.roles[role].role;
            let fail = at_step(name, phase, step as usize);
            let op = &plan.roles[role].steps(phase)[step as usize].op;
            visit.step(plan, op, memory).map_err(&fail)?;
            let work = visit.work;
            if let StepOp::Send { message, src } = *op {
                let pieces = memory[src.region as usize].pieces(src, work).map_err(&fail)?;
                let payload = Payload { role: name, phase, step, message, src, pieces };
                payloads[message as usize] = Some(payload);
            }
            if let StepOp::Receive { message, dst } = *op
                && let Some(payload) = &payloads[sources[message as usize] as usize]
            {
                memory[dst.region as usize].arrive(dst, payload, work).map_err(&fail)?;
            }
        }
    }
    let mut payloads: Vec<Payload> = payloads.into_iter().flatten().collect();
    payloads.sort_by_key(|payload| (payload.role, payload.phase, payload.step));
    Ok(payloads)
}

/// Setup uses the deploy arena, and it alone writes there.
fn check_phase(list: &[Access], phase: Phase) -> Result<(), Rule> {
    let allowed = |access: &Access| match (access.span.region, phase) {
        (Region::Deploy, Phase::Setup) => true,
        (Region::Deploy, Phase::Offline | Phase::Online) => !access.write,
        (Region::Run, phase) => phase != Phase::Setup,
    };
    match list.iter().find(|access| !allowed(access)) {
        Some(access) => Err(Rule::Region { span: SpanText(access.span) }),
        None => Ok(()),
    }
}

/// What a step writes, it touches only once.
fn check_overlap(list: &[Access]) -> Result<(), Rule> {
    let key = |access: &Access| (access.span.region, access.span.at, access.span.len);
    let mut sorted: Vec<Access> = list.iter().copied().filter(|a| a.span.len > 0).collect();
    sorted.sort_unstable_by_key(key);
    // The furthest end so far, of all accesses and of writes.
    let mut ends: Option<(Region, u64, u64)> = None;
    for Access { span, write, .. } in sorted {
        let (used, written) = match ends {
            Some((region, used, written)) if region == span.region => (used, written),
            _ => (0, 0),
        };
        if span.at < written || write && span.at < used {
            return Err(Rule::Overlap { span: SpanText(span) });
        }
        let end = span.at + span.len;
        ends = Some((span.region, used.max(end), if write { end } else { written }));
    }
    Ok(())
}

/// The last writer of bytes, and who has read them since in the same phase.
#[derive(Clone)]
struct Segment {
    end: u64,
    writer: (Phase, u32),
    origin: Origin,
    readers: Vec<(Phase, u32)>,
}

/// Segments of an arena by first byte. Bytes that were never written are in none.
#[derive(Default)]
struct Memory(BTreeMap<u64, Segment>);

impl Memory {
    /// Makes `at` a boundary between segments.
    fn split(&mut self, at: u64, work: &mut Work) -> Result<(), Rule> {
        let Some((_, segment)) = self.0.range_mut(..at).next_back() else { return Ok(()) };
        if segment.end > at {
            work.spend(segment.readers.len() as u64)?;
            let upper = segment.clone();
            segment.end = at;
            self.0.insert(at, upper);
        }
        Ok(())
    }

    fn pieces(&self, span: Span, work: &mut Work) -> Result<Vec<Piece>, Rule> {
        let end = span.at + span.len;
        let before = self.0.range(..=span.at).next_back().map_or(span.at, |(&start, _)| start);
        let inside = self.0.range(before..end).filter(|(_, segment)| segment.end > span.at);
        let piece = |(&start, segment): (&u64, &Segment)| {
            let at = start.max(span.at);
            let (phase, step) = segment.writer;
            let span = Span { at, len: segment.end.min(end) - at, ..span };
            Piece { phase, step, span, origin: segment.origin }
        };
        let pieces: Vec<Piece> = inside.map(piece).collect();
        work.spend(kept::<Piece>(pieces.len()))?;
        Ok(pieces)
    }

    /// Gives the bytes that a receive has just written the origins of those that were sent.
    fn arrive(&mut self, dst: Span, payload: &Payload, work: &mut Work) -> Result<(), Rule> {
        let Some(&Segment { writer, .. }) = self.0.get(&dst.at) else { return Ok(()) };
        work.spend(kept::<Segment>(payload.pieces.len()))?;
        for same in payload.pieces.chunk_by(|a, b| a.origin.all == b.origin.all) {
            let [first, ..] = same else { continue };
            let last = same.last().unwrap_or(first);
            let at = |byte| dst.at + (byte - payload.src.at);
            let origin = Origin { loaded: first.origin.all, all: first.origin.all };
            let end = at(last.span.at + last.span.len);
            self.0.insert(at(first.span.at), Segment { end, writer, origin, readers: Vec::new() });
        }
        Ok(())
    }
}

/// What it costs to keep `count` of these.
fn kept<T>(count: usize) -> u64 {
    KEPT * (count * size_of::<T>()).div_ceil(8) as u64
}

/// One step's accesses.
struct Visit<'a, 'p> {
    phase: Phase,
    ancestors: &'a mut Ancestors<'p>,
    flow: &'a mut Flow<'p>,
    work: &'a mut Work,
}

impl Visit<'_, '_> {
    fn step(&mut self, plan: &Plan, op: &StepOp, memory: &mut [Memory; 2]) -> Result<(), Rule> {
        let list = accesses(plan, op, self.work)?;
        check_phase(&list, self.phase)?;
        check_overlap(&list)?;
        let read = self.reads(memory, &list)?;
        let origins = self.flow.step(self.phase, op, &read, self.work)?;
        for (access, origin) in list.iter().zip(origins) {
            if access.write && access.span.len > 0 {
                self.write(&mut memory[access.span.region as usize], *access, origin)?;
            }
        }
        Ok(())
    }

    /// Per access, where the bytes that it reads come from; nothing for a write.
    fn reads(&mut self, memory: &mut [Memory; 2], list: &[Access]) -> Result<Vec<Vec<Set>>, Rule> {
        let mut found = Vec::with_capacity(list.len());
        for Access { span, write, .. } in list {
            let mut sets = Vec::new();
            if !write && span.len > 0 {
                self.read(&mut memory[span.region as usize], *span, &mut sets)?;
            }
            found.push(sets);
        }
        Ok(found)
    }

    fn read(&mut self, memory: &mut Memory, span: Span, sets: &mut Vec<Set>) -> Result<(), Rule> {
        let end = span.at + span.len;
        let me = (self.phase, self.ancestors.step);
        // What nobody can overwrite any more needs no list of readers.
        let last = span.region == Region::Deploy && self.phase != Phase::Setup;
        if !last {
            memory.split(span.at, self.work)?;
            memory.split(end, self.work)?;
        }
        let before = memory.0.range(..=span.at).next_back().map_or(span.at, |(&start, _)| start);
        let mut covered = span.at;
        for (&start, segment) in memory.0.range_mut(before..end) {
            self.work.spend(1)?;
            if segment.end <= covered {
                continue;
            }
            if start > covered {
                break;
            }
            self.ordered(segment.writer, span)?;
            if sets.last() != Some(&segment.origin.all) {
                sets.push(segment.origin.all);
            }
            if !last && segment.readers.last() != Some(&me) {
                segment.readers.push(me);
            }
            covered = segment.end;
        }
        if covered < end {
            return Err(Rule::Unwritten { span: SpanText(span), at: covered - span.at });
        }
        Ok(())
    }

    fn write(&mut self, memory: &mut Memory, access: Access, new: Origin) -> Result<(), Rule> {
        let Access { span, gaps, .. } = access;
        let end = span.at + span.len;
        memory.split(span.at, self.work)?;
        memory.split(end, self.work)?;
        let starts: Vec<u64> = memory.0.range(span.at..end).map(|(&start, _)| start).collect();
        let mut left = Vec::new();
        for start in starts {
            if let Some(old) = memory.0.remove(&start) {
                self.work.spend(1 + old.readers.len() as u64)?;
                self.ordered(old.writer, span)?;
                for reader in old.readers {
                    self.ordered(reader, span)?;
                }
                left.push(old.origin.all);
            }
        }
        let origin = if gaps { self.flow.joined(new, left, self.work)? } else { new };
        let writer = (self.phase, self.ancestors.step);
        memory.0.insert(span.at, Segment { end, writer, origin, readers: Vec::new() });
        Ok(())
    }

    /// Steps of earlier phases are done; one of this phase must be an ancestor, or this step itself.
    fn ordered(&mut self, (phase, other): (Phase, u32), span: Span) -> Result<(), Rule> {
        let done = phase != self.phase
            || other == self.ancestors.step
            || self.ancestors.contain(other, self.work)?;
        if done { Ok(()) } else { Err(Rule::Unordered { span: SpanText(span), other }) }
    }
}

/// The steps that must be done before one step, found as far back as anyone asks.
struct Ancestors<'a> {
    steps: &'a [Step],
    step: u32,
    /// `seen[s] == step + 1` if `s` is an ancestor.
    seen: Vec<u32>,
    /// Ancestors whose own `after` has not been looked at, latest first.
    open: BinaryHeap<u32>,
}

impl<'a> Ancestors<'a> {
    fn new(steps: &'a [Step]) -> Self {
        Self { steps, step: 0, seen: vec![0; steps.len()], open: BinaryHeap::new() }
    }

    fn start(&mut self, step: u32) {
        self.step = step;
        self.open.clear();
        self.add(step as usize);
    }

    fn add(&mut self, of: usize) {
        for &s in &self.steps[of].after {
            if std::mem::replace(&mut self.seen[s as usize], self.step + 1) != self.step + 1 {
                self.open.push(s);
            }
        }
    }

    /// Ancestors have lower numbers than their descendants, so the search stops at `other`.
    fn contain(&mut self, other: u32, work: &mut Work) -> Result<bool, Rule> {
        let wanted = self.step + 1;
        while self.seen[other as usize] != wanted {
            let Some(latest) = self.open.pop_if_above(other) else { return Ok(false) };
            work.spend(1 + self.steps[latest as usize].after.len() as u64)?;
            self.add(latest as usize);
        }
        Ok(true)
    }
}

trait PopIfAbove {
    fn pop_if_above(&mut self, bound: u32) -> Option<u32>;
}

impl PopIfAbove for BinaryHeap<u32> {
    fn pop_if_above(&mut self, bound: u32) -> Option<u32> {
        if *self.peek()? > bound { self.pop() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;
    use crate::plan::verify::testing::{SMALL, broken};
    use insta::assert_snapshot;

    #[test]
    fn conflicts_are_ordered() {
        assert_snapshot!(broken(&[("send message 5 src run@64+13 after [1]", "send message 5 src run@64+13")]), @"P0, online step 2: uses run@64+13, as step 1 does, and `after` does not order the two");
        assert_snapshot!(broken(&[("7: send message 8 src run@256+13 after [6]", "7: send message 8 src run@256+13 after [6]\n      8: fill dst run@256+4 value 0 after [6]")]), @"P0, online step 8: uses run@256+4, as step 7 does, and `after` does not order the two");
        assert_snapshot!(broken(&[("7: send message 8 src run@256+13 after [6]", "7: send message 8 src run@256+13 after [6]\n      8: fill dst run@192+4 value 0")]), @"P0, online step 8: uses run@192+4, as step 4 does, and `after` does not order the two");
    }

    #[test]
    fn an_indirect_order_is_enough() {
        let text = SMALL.replace(
            "run@256+13 after [6]\n",
            "run@256+13 after [6]\n      8: fill dst run@0+16 value 0 after [5]\n",
        );
        assert_eq!(Plan::parse(&text).unwrap().verify(), Ok(()));
    }

    #[test]
    fn what_is_read_was_written() {
        assert_snapshot!(broken(&[("send message 7 src run@192+13 after [4]", "send message 7 src run@193+13 after [4]")]), @"P0, online step 5: reads byte 12 of run@193+13, which nothing has written");
        assert_snapshot!(broken(&[("      0: receive message 4 dst run@0+16\n", "      0: receive message 4 dst run@240+16\n")]), @"P1, online step 1: reads byte 0 of run@0+16, which nothing has written");
    }

    #[test]
    fn only_setup_writes_the_deployment() {
        assert_snapshot!(broken(&[("3: receive message 6 dst run@128+13", "3: receive message 6 dst deploy@0+13")]), @"P0, online step 3: deploy@0+13 is not usable in this phase: setup uses deploy, and only setup writes it");
        assert_snapshot!(broken(&[("0: map program 1 first 0 count 4 values [1] spans [deploy@0+16]", "0: map program 1 first 0 count 4 values [1] spans [run@0+16]")]), @"dealer, setup step 0: run@0+16 is not usable in this phase: setup uses deploy, and only setup writes it");
    }

    #[test]
    fn a_step_does_not_write_what_it_reads() {
        assert_snapshot!(broken(&[("spans [run@64+13, run@128+13, run@192+13]", "spans [run@64+13, run@128+13, run@130+13]")]), @"P0, online step 4: writes run@130+13, which the same step also uses");
    }
}
