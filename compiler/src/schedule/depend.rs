//! Which steps must wait for which: steps of a phase that touch the same bytes.

use super::emit::Draft;
use mpcc_ir::plan::{Region, Span, StepOp};
use std::collections::BTreeMap;

/// The buffers that a step touches; `true` where it writes. `map_writes` says which spans of a `Map`
/// step are written.
pub(super) fn accesses<'a>(
    op: &'a mut StepOp,
    map_writes: &'a [bool],
) -> Vec<(&'a mut Span, bool)> {
    match op {
        StepOp::Map { spans, .. } => spans.iter_mut().zip(map_writes.iter().copied()).collect(),
        StepOp::Conv { x, w, out, .. } => vec![(x, false), (w, false), (out, true)],
        StepOp::MatMul { a, b, out, .. } => vec![(a, false), (b, false), (out, true)],
        StepOp::Strided { src, dst, .. }
        | StepOp::Gather { src, dst, .. }
        | StepOp::Sum { src, dst, .. } => vec![(src, false), (dst, true)],
        StepOp::Fill { dst, .. } | StepOp::Load { dst, .. } | StepOp::Receive { dst, .. } => {
            vec![(dst, true)]
        }
        StepOp::Send { src, .. } => vec![(src, false)],
    }
}

/// Fills in `after` of the steps of one phase, from the bytes they touch.
pub(super) fn order(drafts: &mut [Draft]) {
    let mut arenas: BTreeMap<Region, Bytes> = BTreeMap::new();
    for (at, draft) in drafts.iter_mut().enumerate() {
        let mut after = Vec::new();
        let touched: Vec<(Span, bool)> = accesses(&mut draft.op, &draft.map_writes)
            .into_iter()
            .map(|(span, write)| (*span, write))
            .collect();
        for (span, write) in touched.into_iter().filter(|(span, _)| span.len > 0) {
            let bytes = arenas.entry(span.region).or_default();
            bytes.touch(span.at, span.at + span.len, at as u32, write, &mut after);
        }
        after.sort_unstable();
        after.dedup();
        after.retain(|step| *step != at as u32);
        draft.after = after;
    }
}

/// Who touched which bytes last, as disjoint ranges by their start.
#[derive(Default)]
struct Bytes {
    ranges: BTreeMap<u64, Touched>,
}

#[derive(Clone)]
struct Touched {
    end: u64,
    writer: Option<u32>,
    readers: Vec<u32>,
}

impl Bytes {
    /// Records an access to `[start, end)` and adds to `after` the steps it has to wait for.
    fn touch(&mut self, start: u64, end: u64, step: u32, write: bool, after: &mut Vec<u32>) {
        self.cut(start);
        self.cut(end);
        let mut next = start;
        let mut gaps = Vec::new();
        for (from, range) in self.ranges.range_mut(start..end) {
            if next < *from {
                gaps.push((next, *from));
            }
            next = range.end;
            after.extend(range.writer);
            if write {
                after.extend(&range.readers);
                range.writer = Some(step);
                range.readers.clear();
            } else {
                range.readers.push(step);
            }
        }
        if next < end {
            gaps.push((next, end));
        }
        for (from, end) in gaps {
            let (writer, readers) =
                if write { (Some(step), Vec::new()) } else { (None, vec![step]) };
            self.ranges.insert(from, Touched { end, writer, readers });
        }
    }

    /// Makes `at` a boundary between ranges.
    fn cut(&mut self, at: u64) {
        if let Some((from, range)) = self.ranges.range_mut(..at).next_back()
            && *from < at
            && range.end > at
        {
            let rest = Touched { end: range.end, ..range.clone() };
            range.end = at;
            self.ranges.insert(at, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_waits_for_readers_and_a_read_for_the_writer() {
        let mut bytes = Bytes::default();
        let mut touch = |range: std::ops::Range<u64>, step, write| {
            let mut after = Vec::new();
            bytes.touch(range.start, range.end, step, write, &mut after);
            after
        };
        assert_eq!(touch(0..64, 0, true), Vec::<u32>::new());
        assert_eq!(touch(32..96, 1, false), [0]);
        assert_eq!(touch(0..32, 2, true), [0]);
        assert_eq!(touch(32..64, 3, true), [0, 1]);
        assert_eq!(touch(64..96, 4, true), [1]);
        assert_eq!(touch(0..96, 5, false), [2, 3, 4]);
    }
}
