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
//! nothing where a loaded operand of the same sum was computed from it, and `circles.rs` has the last word on payloads
//! that contain each other's masks.

use super::circles::{Hidden, Part};
use super::error::Unmasked;
use super::flow::{Flow, Stream};
use super::order::{Payload, Piece};
use super::{Check, Place, PlanError, Rule, Work, at_step};
use crate::plan::{MessageKind, Phase, Plan, Role, RolePlan, StepOp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub(super) fn check<'a>(
    plan: &'a Plan,
    payloads: &[Payload],
    flow: &mut Flow<'a>,
    work: &mut Work,
) -> Check {
    let (used, hidden, seen) = (Used::default(), Hidden::default(), BTreeSet::new());
    let mut safety = Safety { plan, flow, work, used, hidden, seen };
    // The dealer first: what it sends has one mask to choose from, where an opening may also contain
    // shares of dealt values.
    let (dealt, opened): (Vec<_>, Vec<_>) = payloads.iter().partition(|p| p.role == Role::Dealer);
    for payload in dealt.into_iter().chain(opened) {
        let fail = at_step(payload.role, payload.phase, payload.step as usize);
        safety.payload(payload).map_err(fail)?;
    }
    safety.circles()
}

struct Safety<'a, 'p> {
    plan: &'p Plan,
    flow: &'a mut Flow<'p>,
    work: &'a mut Work,
    used: Used,
    hidden: Hidden,
    /// Written operands (role, phase, step, operand) whose masks are in `used`.
    seen: BTreeSet<(Role, Phase, u32, usize)>,
}

impl Safety<'_, '_> {
    fn circles(self) -> Check {
        let plan = |rule| PlanError { place: Place::Plan, rule };
        let Some((stream, part)) = self.hidden.circle(self.flow, self.work).map_err(plan)? else {
            return Ok(());
        };
        let Part { role, message, phase, step } = part;
        let Stream { party, value, .. } = stream;
        let why = Unmasked::Circle { phase, step, party, value };
        Err(at_step(role, phase, step as usize)(Rule::Unmasked { message, why }))
    }

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
        parties
            .into_iter()
            .try_for_each(|party| self.claim(role.role, op, operand, message, piece, party))
    }

    /// Finds a mask of `party` that hides what a map wrote, and marks it as used.
    fn claim(
        &mut self,
        role: Role,
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
                self.hidden.add(stream, Part { role, message, phase, step }, origin.all);
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
    use crate::plan::verify::testing::{SMALL, broken, changed};
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
        // P1 sends the mask of its opening as well.
        let more = [
            (
                "\n  role P0 ",
                "\n  message 10: from P1 to P0 phase online kind open bytes 13 round 1 layer 0\n  role P0 ",
            ),
            (
                "run@256+13 after [6]\n",
                "run@256+13 after [6]\n      8: receive message 10 dst run@272+13\n",
            ),
            (
                "run@192+13 after [4]\n  }",
                "run@192+13 after [4]\n      6: send message 10 src run@192+13 after [4]\n  }",
            ),
        ];
        assert_snapshot!(broken(&more), @"P1, online step 6: value 4 of P1 hides more than one payload");
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

    #[test]
    fn two_payloads_do_not_hide_behind_each_other() {
        // P1 sends `x + r + s` and `kept`: `r + s` tells `x`, `s` alone does not.
        let told = |kept: &str| {
            let program = format!(
                "  program 9: values 2 word_regs 2 bit_regs 0 {{
            write packed bits 25
            random dst w0 value 0 party 1 bits 25
            random dst w1 value 1 party 1 bits 25
            {kept}
            pack src w0 operand 0
          }}
          message 0: from"
            );
            let mask = "random dst w1 value 1 party 1 bits 25\n    add dst w0 a w0 b w1\n";
            let more = "random dst w1 value 2 party 1 bits 25\n    add dst w0 a w0 b w1\n";
            changed(&[
                ("program 5: values 2", "program 5: values 3"),
                (mask, &format!("{mask}    {more}")),
                ("values [2, 4] spans", "values [2, 4, 6] spans"),
                ("\n  message 0: from", &program),
                (
                    "\n  role P0 ",
                    "\n  message 10: from P1 to P0 phase online kind open bytes 13 round 1 layer 0\n  role P0 ",
                ),
                (
                    "run@256+13 after [6]\n",
                    "run@256+13 after [6]\n      8: receive message 10 dst run@272+13\n",
                ),
                (
                    "run@192+13 after [4]\n  }",
                    "run@192+13 after [4]\n      6: map program 9 first 0 count 4 values [4, 6] spans [run@208+13]\n      7: send message 10 src run@208+13 after [6]\n  }",
                ),
            ])
        };
        assert_eq!(told(""), Ok(()));
        assert_snapshot!(told("add dst w0 a w0 b w1").unwrap_err(), @"P1, online step 6: message 10 leaves without a mask: step 6 of the online phase adds value 4 of P1, which went into another payload whose mask went into this one");
    }

    /// The dealer puts a mask of P1, shifted, into the correction that P1 loads for its opening.
    fn correction_with(value: u32) -> [(String, String); 3] {
        let code = "    pack src w0 operand 2\n  }\n  ; 4";
        let mask = "    random dst w1 value 1 party 1 bits 32\n    shl dst w1 a w1 by 7\n    sub dst w0 a w0 b w1\n";
        [
            ("program 3: values 1".to_owned(), "program 3: values 2".to_owned()),
            (code.to_owned(), format!("{mask}{code}")),
            ("count 4 values [3] spans".to_owned(), format!("count 4 values [3, {value}] spans")),
        ]
    }

    fn borrowed(changes: &[(String, String)]) -> Vec<(&str, &str)> {
        changes.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect()
    }

    #[test]
    fn a_mask_does_not_come_back_through_a_message() {
        assert_snapshot!(broken(&borrowed(&correction_with(4))), @"P1, online step 2: message 6 leaves without a mask: step 1 of the online phase adds value 4 of P1, but what it loads was computed from that value");
        assert_eq!(changed(&borrowed(&correction_with(6))), Ok(()));
    }

    #[test]
    fn a_mask_does_not_come_back_through_the_client() {
        // P0 masks its product with its share of the input's mask, and no other term of it has as many bits.
        let changes = [
            ("values [3, 2, 4] spans", "values [3, 5, 2] spans"),
            ("by 7\n    random dst w1 value 2", "by 8\n    random dst w1 value 2"),
        ];
        assert_snapshot!(broken(&changes), @"P0, online step 2: message 5 leaves without a mask: step 1 of the online phase adds value 2 of P0, but what it loads was computed from that value");
    }

    #[test]
    fn a_mask_does_not_come_back_through_two_messages() {
        // P1 opens its product with the correction in it, P0 what it then knows; P1 opens that under value 6.
        let hide = |party| {
            format!(
                "values 1 word_regs 2 bit_regs 0 {{
            read packed bits 25
            write packed bits 25
            unpack dst w0 operand 0
            random dst w1 value 0 party {party} bits 25
            add dst w0 a w0 b w1
            pack src w0 operand 1
          }}"
            )
        };
        let programs =
            format!("  program 9: {}\n  program 10: {}\n  message 0: from", hide(0), hide(1));
        let tables = [
            ("\n  message 0: from", programs.as_str()),
            (
                "\n  role P0 ",
                "
  message 10: from P0 to P1 phase online kind open bytes 13 round 2 layer 0
  message 11: from P1 to P0 phase online kind open bytes 13 round 3 layer 0
  role P0 ",
            ),
            (
                "send message 8 src run@256+13 after [6]\n",
                "send message 8 src run@256+13 after [6]
      8: map program 9 first 0 count 4 values [5] spans [run@192+13, run@272+13] after [4]
      9: send message 10 src run@272+13 after [8]
      10: receive message 11 dst run@208+13\n",
            ),
            (
                "send message 9 src run@192+13 after [4]\n",
                "send message 9 src run@192+13 after [4]
      6: receive message 10 dst run@208+13
      7: map program 10 first 0 count 4 values [6] spans [run@208+13, run@144+13] after [6]
      8: send message 11 src run@144+13 after [7]\n",
            ),
        ];
        let correction = correction_with(6);
        assert_eq!(changed(&tables), Ok(()));
        assert_snapshot!(broken(&[&tables[..], &borrowed(&correction)].concat()), @"P1, online step 8: message 11 leaves without a mask: step 7 of the online phase adds value 6 of P1, but what it loads was computed from that value");
    }

    #[test]
    fn corrections_in_one_message_are_told_apart() {
        // The second half is a correction of something made of P1's next mask; P1 loads one half for its opening.
        let program = "  program 9: values 2 word_regs 2 bit_regs 0 {
            write packed bits 32
            random dst w0 value 0 party 1 bits 32
            mul dst w0 a w0 b w0
            random dst w1 value 1 party 0 bits 32
            sub dst w0 a w0 b w1
            pack src w0 operand 0
          }
          message 0: from";
        let more = [
            ("\n  message 0: from", program),
            ("kind correction bytes 16", "kind correction bytes 32"),
            ("receive message 4 dst run@0+16", "receive message 4 dst run@0+32"),
            (
                "3: send message 4 src run@128+16 after [2]",
                "3: map program 9 first 0 count 4 values [4, 5] spans [run@144+16]
      4: send message 4 src run@128+32 after [2, 3]",
            ),
        ];
        assert_eq!(changed(&more), Ok(()));
        let second = [("run@0+16, run@128+13]", "run@16+16, run@128+13]")];
        assert_snapshot!(broken(&[&more[..], &second].concat()), @"P1, online step 2: message 6 leaves without a mask: step 1 of the online phase adds value 4 of P1, but what it loads was computed from that value");
        let both = [("run@0+16, run@128+13]", "run@12+16, run@128+13]")];
        assert_snapshot!(broken(&[&more[..], &both].concat()), @"P1, online step 2: message 6 leaves without a mask: step 1 of the online phase adds value 4 of P1, but what it loads was computed from that value");
    }

    #[test]
    fn a_mask_is_not_forgotten_in_the_gaps_of_a_copy() {
        // P1 copies zeros over 65 words of its mask, at a distance of `stride`, and loads what is there.
        let loaded = |stride: u32| {
            let program = "  program 9: values 1 word_regs 1 bit_regs 0 {
            write words
            random dst w0 value 0 party 1 bits 32
            store src w0 operand 0
          }
          message 0: from";
            let copy = format!(
                "0: receive message 2 dst run@64+16
      1: map program 9 first 0 count 130 values [4] spans [run@256+520]
      2: fill dst run@832+260 value 0
      3: strided shape [65] src run@832+260 src_offset 0 src_strides [1] dst run@256+520 dst_offset 0 dst_strides [{stride}] after [1, 2]
      4: map program 5 first 0 count 4 values [2, 4] spans [deploy@0+16, run@256+16, run@128+13] after [3]
      5: send message 6 src run@128+13 after [4]
      6: receive message 5 dst run@64+13 after [0]
      7: map program 8 first 0 count 4 values [4] spans [run@192+13]
      8: send message 9 src run@192+13 after [7]
  }}
  role dealer"
            );
            let online = SMALL.find("0: receive message 2 dst").unwrap();
            let end = SMALL.find("  role dealer").unwrap() + "  role dealer".len();
            changed(&[
                ("\n  message 0: from", program),
                (&SMALL[online..end], &copy),
                ("deploy_bytes 64 run_bytes 256", "deploy_bytes 64 run_bytes 1152"),
            ])
        };
        assert_eq!(loaded(1), Ok(()));
        assert_snapshot!(loaded(2).unwrap_err(), @"P1, online step 5: message 6 leaves without a mask: step 4 of the online phase adds value 4 of P1, but what it loads was computed from that value");
    }
}
