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
//! terms that could hide it, one that is still free is taken, the last one added first.

use super::error::Unmasked;
use super::masks::{Field, hiding};
use super::order::{Payload, Piece};
use super::{Check, Rule, Work, at_step};
use crate::plan::{MessageKind, Phase, Plan, Role, RolePlan, StepOp};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(plan: &Plan, payloads: &[Payload], work: &mut Work) -> Check {
    let mut safety =
        Safety { plan, hiding: BTreeMap::new(), used: Used::default(), seen: BTreeSet::new() };
    // The dealer first: what it sends has one mask to choose from, where an opening may also contain
    // shares of dealt values.
    let (dealt, opened): (Vec<_>, Vec<_>) = payloads.iter().partition(|p| p.role == Role::Dealer);
    for payload in dealt.into_iter().chain(opened) {
        let fail = at_step(payload.role, payload.phase, payload.step);
        safety.payload(payload, work).map_err(fail)?;
    }
    Ok(())
}

struct Safety<'a> {
    plan: &'a Plan,
    /// What [`hiding`] says about each program that writes a payload.
    hiding: BTreeMap<u32, Vec<Vec<Field>>>,
    used: Used,
    /// Written operands (role, phase, step, operand) whose masks are in `used`.
    seen: BTreeSet<(Role, Phase, u32, usize)>,
}

impl Safety<'_> {
    fn payload(&mut self, payload: &Payload, work: &mut Work) -> Result<(), Rule> {
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
            work.spend(1)?;
            self.piece(role, payload.message, piece, parties.clone(), work)?;
        }
        Ok(())
    }

    fn piece(
        &mut self,
        role: &RolePlan,
        message: u32,
        piece: &Piece,
        parties: std::ops::Range<u8>,
        work: &mut Work,
    ) -> Result<(), Rule> {
        let Piece { phase, step, span } = *piece;
        let unmasked = |why| Rule::Unmasked { message, why };
        let StepOp::Map { program, first, count, values, spans } =
            &role.steps(phase)[step as usize].op
        else {
            return Err(unmasked(Unmasked::NotAMap { phase, step }));
        };
        let operands = &self.plan.programs[*program as usize].operands;
        let holds = |at: usize| {
            let s = spans[at];
            operands[at].write
                && s.region == span.region
                && s.at <= span.at
                && span.at < s.at + s.len
        };
        let Some(operand) = (0..spans.len()).find(|&at| holds(at)) else {
            return Err(unmasked(Unmasked::NotAMap { phase, step }));
        };
        if !self.seen.insert((role.role, phase, step, operand)) {
            return Ok(());
        }
        if let Some(value) = repeated(values) {
            return Err(Rule::ValueTwice { value });
        }
        let fields = self.fields(*program, work)?[operand].clone();
        for party in parties {
            let mut claimed = Err(unmasked(Unmasked::NoMask { phase, step, party }));
            for field in fields.iter().rev().filter(|field| field.term.party == party) {
                let value = values[usize::from(field.term.slot)];
                let slot = slot_bits(field.drawn);
                let stream = Stream { party, deploy: phase == Phase::Setup, value };
                work.spend(1)?;
                claimed = self.used.claim(stream, first * slot, (first + count) * slot);
                if claimed.is_ok() {
                    break;
                }
            }
            claimed?;
        }
        Ok(())
    }

    fn fields(&mut self, program: u32, work: &mut Work) -> Result<&[Vec<Field>], Rule> {
        if !self.hiding.contains_key(&program) {
            let code = &self.plan.programs[program as usize];
            self.hiding.insert(program, hiding(code, self.plan.word, work)?);
        }
        Ok(&self.hiding[&program])
    }
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

/// The mask stream of a value at a party; drawn in setup it is another one than drawn in a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stream {
    party: u8,
    deploy: bool,
    value: u32,
}

/// Bits of streams that hide something, as disjoint ranges: first bit to end.
#[derive(Default)]
struct Used(BTreeMap<Stream, BTreeMap<u64, u64>>);

impl Used {
    fn claim(&mut self, stream: Stream, first: u64, end: u64) -> Result<(), Rule> {
        let ranges = self.0.entry(stream).or_default();
        let free = ranges.range(..end).next_back().is_none_or(|(_, &used)| used <= first);
        if !free {
            return Err(Rule::MaskReused { party: stream.party, value: stream.value });
        }
        if first < end {
            ranges.insert(first, end);
        }
        Ok(())
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
        assert_snapshot!(broken(&[("map program 3 first 0 count 4 values [3]", "map program 3 first 0 count 4 values [2]")]), @"dealer, offline step 3: value 2 of P0 hides more than one payload");
    }

    #[test]
    fn a_correction_hides_from_all_others() {
        assert_snapshot!(broken(&[("    random dst w1 value 0 party 0 bits 32\n    sub dst w0 a w0 b w1\n    pack src w0 operand 2", "    random dst w1 value 0 party 1 bits 32\n    sub dst w0 a w0 b w1\n    pack src w0 operand 2")]), @"dealer, offline step 3: message 4 leaves without a mask: step 2 of the offline phase adds no mask of P0 that it uses nowhere else");
    }

    #[test]
    fn the_mask_of_an_input_has_all_shares() {
        assert_snapshot!(broken(&[("    random dst w0 value 0 party 0 bits 32\n    random dst w1 value 0 party 1 bits 32\n", "    const dst w0 value 0\n    random dst w1 value 0 party 1 bits 32\n")]), @"dealer, offline step 1: message 0 leaves without a mask: step 0 of the offline phase adds no mask of P0 that it uses nowhere else");
    }
}
