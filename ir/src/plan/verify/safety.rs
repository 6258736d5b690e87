//! The rule of safety: what leaves a role is hidden by a mask that hides nothing else.
//!
//! * An opening of party b, and a weight from its owner `P_0`, is hidden by b's own stream.
//! * A correction is hidden by the streams of all parties that do not receive it, so that it tells
//!   nothing to the last party and any others that join it.
//! * The mask of an input or a weight is hidden by (in fact, is made of) the streams of all parties.
//! * A reveal is not hidden. `tables.rs` has checked that it goes to the client and that an output
//!   names it.
//!
//! A share of a stream that hides one payload hides no other: openings, corrections and masks are
//! counted together. What is sent to several parties counts once. Where a payload contains several
//! terms that could hide it, one that is still free is taken, the last one added first. A term hides
//! nothing where a loaded operand of the same sum was computed from it.

use super::error::Unmasked;
use super::flow::{Flow, Stream};
use super::order::{Payload, Piece};
use super::{Check, Rule, Work, at_step};
use crate::plan::{MessageKind, Phase, Plan, Role, RolePlan, StepOp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub(super) fn check<'a>(
    plan: &'a Plan,
    payloads: &[Payload],
    flow: &mut Flow<'a>,
    work: &mut Work,
) -> Check {
    let mut safety = Safety { plan, flow, work, used: Used::default(), seen: BTreeSet::new() };
    // The dealer first: what it sends has one mask to choose from, where an opening may also contain
    // shares of dealt values.
    let (dealt, opened): (Vec<_>, Vec<_>) = payloads.iter().partition(|p| p.role == Role::Dealer);
    for payload in dealt.into_iter().chain(opened) {
        let fail = at_step(payload.role, payload.phase, payload.step);
        safety.payload(payload).map_err(fail)?;
    }
    Ok(())
}

struct Safety<'a, 'p> {
    plan: &'p Plan,
    flow: &'a mut Flow<'p>,
    work: &'a mut Work,
    used: Used,
    /// Written operands (role, phase, step, operand) whose masks are in `used`.
    seen: BTreeSet<(Role, Phase, u32, usize)>,
}

impl Safety<'_, '_> {
    fn payload(&mut self, payload: &Payload) -> Result<(), Rule> {
        let message = &self.plan.messages[payload.message as usize];
        let parties = match (message.kind, payload.role) {
            (MessageKind::Correction, _) => 0..self.plan.parties - 1,
            (MessageKind::Mask, _) => 0..self.plan.parties,
            (MessageKind::Open | MessageKind::Weight | MessageKind::Input, Role::Party(b)) => {
                b..b + 1
            }
            (MessageKind::Reveal, _)
            | (
                MessageKind::Open | MessageKind::Weight | MessageKind::Input,
                Role::Dealer | Role::Client | Role::Owner,
            ) => return Ok(()),
        };
        let Some(role) = self.plan.role(payload.role) else { return Ok(()) };
        for piece in &payload.pieces {
            self.work.spend(1)?;
            self.piece(role, payload.message, piece, parties.clone())?;
        }
        Ok(())
    }

    fn piece(
        &mut self,
        role: &RolePlan,
        message: u32,
        piece: &Piece,
        parties: Range<u8>,
    ) -> Result<(), Rule> {
        let Piece { phase, step, .. } = *piece;
        let op = &role.steps(phase)[step as usize].op;
        let not_a_map = Rule::Unmasked { message, why: Unmasked::NotAMap { phase, step } };
        let operand = written_operand(self.plan, op, piece).ok_or(not_a_map)?;
        if !self.seen.insert((role.role, phase, step, operand)) {
            return Ok(());
        }
        parties.into_iter().try_for_each(|party| self.claim(op, operand, message, piece, party))
    }

    /// Finds a mask of `party` that hides what a map wrote, and marks it as used.
    fn claim(
        &mut self,
        op: &StepOp,
        operand: usize,
        message: u32,
        piece: &Piece,
        party: u8,
    ) -> Result<(), Rule> {
        let StepOp::Map { program, first, count, values, .. } = op else { return Ok(()) };
        if let Some(value) = repeated(values) {
            return Err(Rule::ValueTwice { value });
        }
        let Piece { phase, step, origin, .. } = *piece;
        let fields = self.flow.program(*program, self.work)?[operand].hidden_by.clone();
        let mut refusal = Rule::Unmasked { message, why: Unmasked::NoMask { phase, step, party } };
        for field in fields.iter().rev().filter(|field| field.term.party == party) {
            self.work.spend(1)?;
            let stream = Stream::new(party, phase, values[usize::from(field.term.slot)]);
            let (slot, value) = (slot_bits(field.drawn), stream.value);
            if self.flow.contains(origin.loaded, stream) {
                let why = Unmasked::Loaded { phase, step, party, value };
                refusal = Rule::Unmasked { message, why };
            } else if self.used.claim(stream, first * slot, (first + count) * slot) {
                return Ok(());
            } else {
                refusal = Rule::MaskReused { party, value };
            }
        }
        Err(refusal)
    }
}

/// The operand of a map through which a piece of memory was written.
fn written_operand(plan: &Plan, op: &StepOp, piece: &Piece) -> Option<usize> {
    let StepOp::Map { program, spans, .. } = op else { return None };
    let operands = &plan.programs[*program as usize].operands;
    let inside = |at: usize| {
        let span = spans[at];
        let from = piece.span.at.checked_sub(span.at);
        span.region == piece.span.region && from.is_some_and(|from| from < span.len)
    };
    (0..spans.len()).find(|&at| operands[at].write && inside(at))
}

/// Bits of the mask stream that one element takes.
fn slot_bits(drawn: u8) -> u64 {
    match drawn {
        0 | 1 => 1,
        2..=32 => 32,
        _ => 64,
    }
}

fn repeated(values: &[u32]) -> Option<u32> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// Bits of streams that hide something, as disjoint ranges: first bit to end.
#[derive(Default)]
struct Used(BTreeMap<Stream, BTreeMap<u64, u64>>);

impl Used {
    /// `false` if some of the bits are taken.
    fn claim(&mut self, stream: Stream, first: u64, end: u64) -> bool {
        let ranges = self.0.entry(stream).or_default();
        let free = ranges.range(..end).next_back().is_none_or(|(_, &used)| used <= first);
        if free && first < end {
            ranges.insert(first, end);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::verify::testing::broken;
    use insta::assert_snapshot;

    #[test]
    fn an_opening_is_masked() {
        assert_snapshot!(broken(&[("    random dst w1 value 1 party 1 bits 25\n    add dst w0 a w0 b w1\n", "")]), @"P1, online step 2: message 6 leaves without a mask: step 1 of the online phase adds no mask of P1 that it uses nowhere else");
        assert_snapshot!(broken(&[("    random dst w1 value 1 party 1 bits 25\n", "    random dst w1 value 1 party 1 bits 24\n")]), @"P1, online step 2: message 6 leaves without a mask: step 1 of the online phase adds no mask of P1 that it uses nowhere else");
        assert_snapshot!(broken(&[("    random dst w1 value 1 party 1 bits 25\n    add dst w0 a w0 b w1\n", "    random dst w1 value 1 party 1 bits 25\n    mul dst w0 a w0 b w1\n")]), @"P1, online step 2: message 6 leaves without a mask: step 1 of the online phase adds no mask of P1 that it uses nowhere else");
        assert_snapshot!(broken(&[("    random dst w1 value 1 party 1 bits 25\n    add dst w0 a w0 b w1\n", "    random dst w1 value 1 party 1 bits 25\n    add dst w0 a w0 b w1\n    sub dst w0 a w0 b w1\n")]), @"P1, online step 2: message 6 leaves without a mask: step 1 of the online phase adds no mask of P1 that it uses nowhere else");
        assert_snapshot!(broken(&[("      2: send message 6 src run@128+13 after [1]\n", "      2: send message 6 src run@0+13\n")]), @"P1, online step 2: message 6 leaves without a mask: step 0 of the offline phase, which wrote it, is not a map");
    }

    #[test]
    fn a_mask_hides_one_payload() {
        assert_snapshot!(broken(&[("values [2, 4] spans [deploy@0+16", "values [2, 2] spans [deploy@0+16")]), @"P1, online step 2: value 2 stands for more than one slot of the program");
        assert_snapshot!(broken(&[("values [2, 4] spans [deploy@0+16", "values [5, 2] spans [deploy@0+16")]), @"P1, online step 2: value 2 of P1 hides more than one payload");
        assert_snapshot!(broken(&[("map program 3 first 0 count 4 values [3]", "map program 3 first 0 count 4 values [2]")]), @"dealer, offline step 3: message 4 leaves without a mask: step 2 of the offline phase adds value 2 of P0, but what it loads was computed from that value");
    }

    #[test]
    fn a_correction_hides_from_all_others() {
        assert_snapshot!(broken(&[("    random dst w1 value 0 party 0 bits 32\n    sub dst w0 a w0 b w1\n    pack src w0 operand 2", "    random dst w1 value 0 party 1 bits 32\n    sub dst w0 a w0 b w1\n    pack src w0 operand 2")]), @"dealer, offline step 3: message 4 leaves without a mask: step 2 of the offline phase adds no mask of P0 that it uses nowhere else");
    }

    #[test]
    fn the_mask_of_an_input_has_all_shares() {
        assert_snapshot!(broken(&[("    random dst w0 value 0 party 0 bits 32\n    random dst w1 value 0 party 1 bits 32\n", "    const dst w0 value 0\n    random dst w1 value 0 party 1 bits 32\n")]), @"dealer, offline step 1: message 0 leaves without a mask: step 0 of the offline phase adds no mask of P0 that it uses nowhere else");
    }

    #[test]
    fn a_mask_does_not_come_back_through_a_buffer() {
        // P1 takes the mask of its opening from its correction, and loads that instead.
        let program = "  program 9: values 1 word_regs 2 bit_regs 0 {
            read packed bits 32
            write packed bits 32
            unpack dst w0 operand 0
            random dst w1 value 0 party 1 bits 32
            sub dst w0 a w0 b w1
            pack src w0 operand 1
          }
          message 0: from";
        let receive = "      0: receive message 4 dst run@0+16\n";
        let step =
            "1: map program 9 first 0 count 4 values [4] spans [run@0+16, run@208+16] after [0]";
        let kept = format!("{receive}      {step}\n");
        let changes = [
            ("\n  message 0: from", program),
            (receive, &kept),
            ("run@0+16, run@128+13]", "run@208+16, run@128+13]"),
        ];
        assert_snapshot!(broken(&changes), @"P1, online step 2: message 6 leaves without a mask: step 1 of the online phase adds value 4 of P1, but what it loads was computed from that value");
    }
}
