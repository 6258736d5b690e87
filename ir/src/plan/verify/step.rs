//! What a step touches: spans lie in their arena, and lengths and indices fit the operation.

use super::error::SpanText;
use super::{Check, MAX_SIZE, Rule, Work, at_step, index, packed_bytes, product};
use crate::plan::{
    Operand, OperandKind, Phase, Plan, Region, Role, RolePlan, Span, StepOp, TileOp, WeightsMode,
};
use crate::window::Window;

pub(super) fn check(plan: &Plan) -> Check {
    let streams = plan.programs.iter().map(|program| streams(&program.ops)).collect::<Vec<_>>();
    for role in &plan.roles {
        for phase in Phase::ALL {
            for (at, step) in role.steps(phase).iter().enumerate() {
                let bounds = Bounds { plan, role, streams: &streams };
                bounds.check(&step.op).map_err(at_step(role.role, phase, at))?;
            }
        }
    }
    Ok(())
}

/// Parties whose mask streams a program draws from, each once.
fn streams(ops: &[TileOp]) -> Vec<u8> {
    let mut parties: Vec<u8> = ops.iter().filter_map(|op| drawn_from(*op)).collect();
    parties.sort_unstable();
    parties.dedup();
    parties
}

/// The party whose mask stream an instruction draws from.
#[expect(clippy::wildcard_enum_match_arm, reason = "two instructions draw, all others do not")]
fn drawn_from(op: TileOp) -> Option<u8> {
    match op {
        TileOp::Random { party, .. } | TileOp::RandomBit { party, .. } => Some(party),
        _ => None,
    }
}

struct Bounds<'a> {
    plan: &'a Plan,
    role: &'a RolePlan,
    streams: &'a [Vec<u8>],
}

impl Bounds<'_> {
    fn check(&self, op: &StepOp) -> Result<(), Rule> {
        match op {
            StepOp::Map { program, first, count, values, spans } => {
                self.map(*program, [*first, *count], values, spans)
            }
            StepOp::Conv { window, groups, x_shape, out_channels, x, w, out } => {
                let counts = conv_words(window, *groups, *x_shape, *out_channels);
                self.exact([*x, *w, *out], counts.ok_or(Rule::Geometry)?)
            }
            StepOp::MatMul { batch, mkn: [m, k, n], shared_b, a, b, out } => {
                let [m, k, n, batch] = [*m, *k, *n, *batch].map(|extent| extent as u64);
                let batch_b = if *shared_b { 1 } else { batch };
                let counts = [[batch, m, k], [batch_b, k, n], [batch, m, n]].map(product);
                self.exact([*a, *b, *out], all(counts).ok_or(Rule::TooLarge)?)
            }
            StepOp::Strided {
                shape,
                src,
                src_offset,
                src_strides,
                dst,
                dst_offset,
                dst_strides,
            } => {
                self.view(*src, shape, *src_offset, src_strides)?;
                if shape.iter().zip(dst_strides).any(|(&n, &stride)| n > 1 && stride <= 0) {
                    return Err(Rule::Strides);
                }
                self.view(*dst, shape, *dst_offset, dst_strides)
            }
            StepOp::Fill { dst, value: _ } => self.words(*dst).map(|_| ()),
            StepOp::Gather { outer, extent, inner, indices, src, dst } => {
                for &i in indices {
                    index("entry", i, *extent)?;
                }
                let [outer, extent, inner] = [*outer, *extent, *inner].map(|n| n as u64);
                let picked = indices.len() as u64;
                let counts = [[outer, extent, inner], [outer, picked, inner]].map(product);
                self.exact([*src, *dst], all(counts).ok_or(Rule::TooLarge)?)
            }
            StepOp::Sum { outer, terms, inner, src, dst } => {
                let [outer, terms, inner] = [*outer, *terms, *inner].map(|n| n as u64);
                let counts = [product([outer, terms, inner]), product([outer, inner])];
                self.exact([*src, *dst], all(counts).ok_or(Rule::TooLarge)?)
            }
            StepOp::Load { param, dst } => self.load(*param, *dst),
            StepOp::Send { message, src: span } | StepOp::Receive { message, dst: span } => {
                let at = index("message", *message, self.plan.messages.len())?;
                self.bytes(*span, self.plan.messages[at].bytes)
            }
        }
    }

    fn map(
        &self,
        program: u32,
        [first, count]: [u64; 2],
        values: &[u32],
        spans: &[Span],
    ) -> Result<(), Rule> {
        let at = index("program", program, self.plan.programs.len())?;
        let code = &self.plan.programs[at];
        length("spans", spans.len(), code.operands.len())?;
        length("mask values", values.len(), code.values.into())?;
        if first.max(count) > MAX_SIZE {
            return Err(Rule::TooLarge);
        }
        for (operand, &span) in code.operands.iter().zip(spans) {
            match operand.kind {
                OperandKind::Words => self.exact([span], [count])?,
                OperandKind::Packed { bits } => self.bytes(span, packed_bytes(count, bits))?,
                OperandKind::Table { inner: _, len } => self.exact([span], [len])?,
            }
        }
        let own = |party: u8| match self.role.role {
            Role::Party(b) => b == party,
            Role::Dealer => true,
            Role::Client | Role::Owner => false,
        };
        match self.streams[at].iter().find(|&&party| !own(party)) {
            Some(&party) => Err(Rule::SecretMask { party }),
            None => Ok(()),
        }
    }

    fn load(&self, param: u32, dst: Span) -> Result<(), Rule> {
        let at = index("parameter", param, self.plan.params.len())?;
        let info = &self.plan.params[at];
        let known = match (self.plan.weights, self.role.role) {
            (WeightsMode::Party0, role) => role == Role::Party(0),
            (WeightsMode::Owner, _) => false,
            (WeightsMode::Public, role) => role != Role::Dealer,
        };
        if !known && info.public.is_none() {
            return Err(Rule::SecretParam { param });
        }
        self.exact([dst], [info.elements])
    }

    /// Spans of words with these numbers of words.
    fn exact<const N: usize>(&self, spans: [Span; N], counts: [u64; N]) -> Result<(), Rule> {
        for (span, count) in spans.into_iter().zip(counts) {
            self.words(span)?;
            self.bytes(span, count.saturating_mul(self.plan.word.bytes()))?;
        }
        Ok(())
    }

    /// A span of whole words; returns how many.
    fn words(&self, span: Span) -> Result<u64, Rule> {
        self.inside(span)?;
        let word = self.plan.word.bytes();
        if !span.at.is_multiple_of(word) || !span.len.is_multiple_of(word) {
            return Err(Rule::Alignment { span: SpanText(span) });
        }
        Ok(span.len / word)
    }

    fn bytes(&self, span: Span, expected: u64) -> Result<(), Rule> {
        self.inside(span)?;
        if span.len == expected {
            Ok(())
        } else {
            Err(Rule::SpanLength { span: SpanText(span), found: span.len, expected })
        }
    }

    fn inside(&self, span: Span) -> Result<(), Rule> {
        let arena = match span.region {
            Region::Deploy => self.role.deploy_bytes,
            Region::Run => self.role.run_bytes,
        };
        match span.at.checked_add(span.len) {
            Some(end) if end <= arena => Ok(()),
            _ => Err(Rule::SpanEnd { span: SpanText(span), arena }),
        }
    }

    fn view(
        &self,
        span: Span,
        shape: &[usize],
        offset: usize,
        strides: &[i64],
    ) -> Result<(), Rule> {
        let words = self.words(span)?;
        length("strides", strides.len(), shape.len())?;
        product(shape.iter().map(|&extent| extent as u64)).ok_or(Rule::TooLarge)?;
        match hull(shape, offset, strides) {
            None => Ok(()),
            Some((first, last)) if first >= 0 && last < i128::from(words) => Ok(()),
            Some(_) => Err(Rule::Strides),
        }
    }
}

/// First and last word of a strided view; `None` if it is empty.
fn hull(shape: &[usize], offset: usize, strides: &[i64]) -> Option<(i128, i128)> {
    let (mut first, mut last) = (offset as i128, offset as i128);
    for (&extent, &stride) in shape.iter().zip(strides) {
        let reach = (extent as i128).checked_sub(1).filter(|&n| n >= 0)? * i128::from(stride);
        first = first.saturating_add(reach.min(0));
        last = last.saturating_add(reach.max(0));
    }
    Some((first, last))
}

/// Words of `x`, `w` and the result; `None` if no such convolution exists.
fn conv_words(
    window: &Window,
    groups: usize,
    [n, h, w, c]: [usize; 4],
    out_channels: usize,
) -> Option<[u64; 3]> {
    const MAX_EXTENT: usize = 1 << 20;
    let Window { kernel, strides, dilations, pads } = window;
    let steps = kernel.iter().chain(strides).chain(dilations);
    let small = steps.clone().all(|n| (1..=MAX_EXTENT).contains(n))
        && pads.iter().chain(&[h, w]).all(|&n| n <= MAX_EXTENT);
    if !small || groups == 0 || !c.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
        return None;
    }
    if !window.pads_modestly([h, w], c) {
        return None;
    }
    let [out_h, out_w] = window.output([h, w])?;
    let words = |extents: [usize; 4]| product(extents.map(|extent| extent as u64));
    all([
        words([n, h, w, c]),
        words([kernel[0], kernel[1], c / groups, out_channels]),
        words([n, out_h, out_w, out_channels]),
    ])
}

fn all<const N: usize>(counts: [Option<u64>; N]) -> Option<[u64; N]> {
    counts.iter().all(Option::is_some).then(|| counts.map(Option::unwrap_or_default))
}

fn length(what: &'static str, found: usize, expected: usize) -> Result<(), Rule> {
    if found == expected {
        Ok(())
    } else {
        Err(Rule::Length { what, found: found as u64, expected: expected as u64 })
    }
}

/// One contiguous access of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) span: Span,
    pub(super) write: bool,
    /// Whether the step may pass over some of the bytes.
    pub(super) gaps: bool,
}

/// Everything that a step touches, for steps that [`check`] has passed; a map's operands in their order.
pub(super) fn accesses(plan: &Plan, op: &StepOp, work: &mut Work) -> Result<Vec<Access>, Rule> {
    let read = |span: &Span| Access { span: *span, write: false, gaps: false };
    let write = |span: &Span| Access { span: *span, write: true, gaps: false };
    let list = match op {
        StepOp::Map { program, spans, .. } => {
            let operands = &plan.programs[*program as usize].operands;
            let access =
                |(o, span): (&Operand, &Span)| if o.write { write(span) } else { read(span) };
            operands.iter().zip(spans).map(access).collect()
        }
        StepOp::Conv { x: a, w: b, out, .. } | StepOp::MatMul { a, b, out, .. } => {
            vec![read(a), read(b), write(out)]
        }
        StepOp::Strided { shape, src, src_offset, src_strides, dst, dst_offset, dst_strides } => {
            let width = plan.word.bytes();
            let mut list = runs(shape, *src_offset, src_strides, work)?.access(*src, width, false);
            list.extend(runs(shape, *dst_offset, dst_strides, work)?.access(*dst, width, true));
            list
        }
        StepOp::Fill { dst, .. } | StepOp::Load { dst, .. } | StepOp::Receive { dst, .. } => {
            vec![write(dst)]
        }
        StepOp::Gather { src, dst, .. } | StepOp::Sum { src, dst, .. } => {
            vec![read(src), write(dst)]
        }
        StepOp::Send { src, .. } => vec![read(src)],
    };
    work.spend(list.len() as u64)?;
    Ok(list)
}

/// The words of a strided view as runs of equal length.
struct Runs {
    starts: Vec<u64>,
    len: u64,
    /// Whether the one run may have gaps.
    gaps: bool,
}

impl Runs {
    fn access(&self, buffer: Span, word: u64, write: bool) -> Vec<Access> {
        let span = |start| Span { at: buffer.at + start * word, len: self.len * word, ..buffer };
        self.starts
            .iter()
            .map(|&start| Access { span: span(start), write, gaps: self.gaps })
            .collect()
    }
}

/// Most pieces of a strided view that are looked at one by one.
const MOST_RUNS: u64 = 64;

/// As a set of words, the order of axes does not matter: sorted by stride, dense ones join into a run.
///
/// A view in many pieces counts as all bytes from its first to its last: that asks for more order, and keeps the map
/// of bytes small. Which of them a step writes is then not known. All keep the origins that they had, beside the new one:
/// no mask that an earlier step left in a gap is forgotten. And all count as written, so it is not proven that a
/// later step reads no byte of a gap that nothing has written. An earlier run may have left something there, computed from
/// no stream that hides something in this run.
fn runs(shape: &[usize], offset: usize, strides: &[i64], work: &mut Work) -> Result<Runs, Rule> {
    let Some((first, last)) = hull(shape, offset, strides) else {
        return Ok(Runs { starts: Vec::new(), len: 0, gaps: false });
    };
    let axes = shape.iter().zip(strides).map(|(&n, &stride)| (stride.unsigned_abs(), n as u64));
    let mut axes: Vec<(u64, u64)> = axes.filter(|&(stride, n)| stride > 0 && n > 1).collect();
    axes.sort_unstable();
    let mut runs = Runs { starts: vec![first as u64], len: 1, gaps: false };
    for (stride, n) in axes {
        if runs.starts.len() == 1 && stride <= runs.len {
            runs.len += stride * (n - 1);
        } else if runs.starts.len() as u64 > MOST_RUNS / n {
            return Ok(Runs {
                starts: vec![first as u64],
                len: (last - first + 1) as u64,
                gaps: true,
            });
        } else {
            work.spend((runs.starts.len() as u64).saturating_mul(n))?;
            let repeat = |start: u64| (0..n).map(move |i| start + i * stride);
            runs.starts = runs.starts.iter().flat_map(|&start| repeat(start)).collect();
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use crate::plan::verify::testing::broken;
    use insta::assert_snapshot;

    #[test]
    fn spans_fit() {
        assert_snapshot!(broken(&[("receive message 6 dst run@128+13", "receive message 6 dst run@310+13")]), @"P0, online step 3: run@310+13 does not end within the arena of 320 bytes");
        assert_snapshot!(broken(&[("receive message 6 dst run@128+13", "receive message 6 dst run@18446744073709551615+13")]), @"P0, online step 3: run@18446744073709551615+13 does not end within the arena of 320 bytes");
        assert_snapshot!(broken(&[("receive message 6 dst run@128+13", "receive message 6 dst run@128+12")]), @"P0, online step 3: run@128+12 has 12 bytes, the operation needs 13");
        assert_snapshot!(broken(&[("load param 0 dst deploy@0+16", "load param 0 dst deploy@2+16")]), @"P0, setup step 0: deploy@2+16 is not aligned to words");
        assert_snapshot!(broken(&[("load param 0 dst deploy@0+16", "load param 0 dst deploy@0+12")]), @"P0, setup step 0: deploy@0+12 has 12 bytes, the operation needs 16");
        assert_snapshot!(broken(&[("map program 7 first 0 count 4", "map program 7 first 0 count 5")]), @"P0, online step 6: run@256+13 has 13 bytes, the operation needs 16");
    }

    #[test]
    fn tables_are_indexed_in_range() {
        assert_snapshot!(broken(&[("map program 7", "map program 9")]), @"P0, online step 6: program 9 does not exist, there are 9");
        assert_snapshot!(broken(&[("receive message 6", "receive message 10")]), @"P0, online step 3: message 10 does not exist, there are 10");
        assert_snapshot!(broken(&[("load param 0", "load param 1")]), @"P0, setup step 0: parameter 1 does not exist, there are 1");
        assert_snapshot!(broken(&[("send message 7 src run@192+13 after [4]", "send message 7 src run@192+13 after [4] layer 1")]), @"P0: layer 1 does not exist, there are 1");
        assert_snapshot!(broken(&[("program 7 first 0 count 4 values [4]", "program 7 first 0 count 4 values [4, 5]")]), @"P0, online step 6: has 2 mask values, expected 1");
    }

    #[test]
    fn a_role_uses_what_it_knows() {
        assert_snapshot!(broken(&[("0: receive message 3 dst deploy@0+16", "0: load param 0 dst deploy@0+16")]), @"P1, setup step 0: parameter 0 is not known to this role");
        assert_snapshot!(broken(&[("4: map program 8", "4: map program 7")]), @"P1, online step 4: the mask stream of P0 is not known to this role");
    }

    #[test]
    fn bulk_operations_have_their_lengths() {
        assert_snapshot!(broken(&[("6: map program 7 first 0 count 4 values [4] spans [run@256+13]", "6: matmul batch 1 mkn [2, 2, 2] shared_b false a run@0+16 b run@0+16 out run@256+12")]), @"P0, online step 6: run@256+12 has 12 bytes, the operation needs 16");
        assert_snapshot!(broken(&[("6: map program 7 first 0 count 4 values [4] spans [run@256+13]", "6: conv window 1x1 stride 0x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 x_shape [1, 1, 2, 2] out_channels 1 x run@0+16 w run@64+4 out run@256+16")]), @"P0, online step 6: the geometry of the operation is impossible");
        assert_snapshot!(broken(&[("6: map program 7 first 0 count 4 values [4] spans [run@256+13]", "6: conv window 1x1 stride 1048576x1048576 dilate 1x1 pad [1048576, 1048576, 1048576, 1048576] groups 1 x_shape [1, 1, 2, 2] out_channels 1 x run@0+16 w run@64+4 out run@256+16")]), @"P0, online step 6: the geometry of the operation is impossible");
        assert_snapshot!(broken(&[("6: map program 7 first 0 count 4 values [4] spans [run@256+13]", "6: conv window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 x_shape [1, 1, 2, 2] out_channels 1 x run@0+16 w run@64+8 out run@256+16")]), @"P0, online step 6: run@256+16 has 16 bytes, the operation needs 8");
        assert_snapshot!(broken(&[("6: map program 7 first 0 count 4 values [4] spans [run@256+13]", "6: sum outer 1 terms 4 inner 1 src run@0+16 dst run@256+8")]), @"P0, online step 6: run@256+8 has 8 bytes, the operation needs 4");
        assert_snapshot!(broken(&[("6: map program 7 first 0 count 4 values [4] spans [run@256+13]", "6: gather outer 1 extent 4 inner 1 indices [4] src run@0+16 dst run@256+4")]), @"P0, online step 6: entry 4 does not exist, there are 4");
        assert_snapshot!(broken(&[("6: map program 7 first 0 count 4 values [4] spans [run@256+13]", "6: strided shape [2, 2] src run@0+16 src_offset 0 src_strides [3, 1] dst run@256+16 dst_offset 0 dst_strides [2, 1]")]), @"P0, online step 6: a strided view leaves its buffer");
        assert_snapshot!(broken(&[("6: map program 7 first 0 count 4 values [4] spans [run@256+13]", "6: strided shape [2, 2] src run@0+16 src_offset 0 src_strides [2, 1] dst run@256+16 dst_offset 2 dst_strides [-2, 1]")]), @"P0, online step 6: a strided view leaves its buffer");
    }
}
