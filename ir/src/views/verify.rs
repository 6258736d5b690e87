//! The rule of safety of PROTOCOLS.md, checked on a views program.
//!
//! The types already keep views apart: no operation takes an opened value to the dealer, and shares
//! leave a party through [`Op::Open`] and [`Op::Reveal`] alone. Here: every opening has its own fresh
//! mask, of which what it opens knows nothing; addresses of random values are unique; and what is
//! revealed is what the program returns, once per port.

use super::{Op, Views, ViewsProgram};
use crate::id::Id;
use crate::ssa::{Node, VerifyError};
use crate::text::OpText as _;
use std::collections::BTreeMap;

/// Checks types, then the rule of safety.
///
/// # Errors
/// Names the first node that breaks a rule.
pub fn verify(program: &ViewsProgram) -> Result<(), VerifyError> {
    program.verify()?;
    addresses(program)?;
    masks(program)?;
    reveals(program)
}

fn fail(program: &ViewsProgram, id: Id, message: impl Into<String>) -> VerifyError {
    let place = format!("{id} = {}", program[id].op.mnemonic());
    VerifyError { place, message: message.into() }
}

/// No two random values have one address.
fn addresses(program: &ViewsProgram) -> Result<(), VerifyError> {
    let mut seen = BTreeMap::new();
    for id in program.ids() {
        let (Op::Random { value, .. } | Op::Deal { value, .. }) = &program[id].op else { continue };
        if let Some(other) = seen.insert(*value, id) {
            let message = format!("its address {value} is that of {other}: two values, one stream");
            return Err(fail(program, id, message));
        }
    }
    Ok(())
}

/// The operand that hides what the node sends, if it sends a masked value.
fn mask_operand(node: &Node<Views>) -> Option<Id> {
    match &node.op {
        Op::Open => node.args.get(1).copied(),
        Op::InputDelta { .. } | Op::WeightDelta { .. } => node.args.first().copied(),
        Op::WeightPlain { .. }
        | Op::Random { .. }
        | Op::Deal { .. }
        | Op::AtP0
        | Op::OfP0
        | Op::WithoutP0
        | Op::Reveal { .. }
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Neg
        | Op::AddConst { .. }
        | Op::MulConst { .. }
        | Op::ShiftLeft { .. }
        | Op::ShiftRight { .. }
        | Op::Narrow
        | Op::Extend
        | Op::BitAt { .. }
        | Op::FromBit
        | Op::Select
        | Op::Not
        | Op::Mux
        | Op::Const { .. }
        | Op::Conv { .. }
        | Op::MatMul
        | Op::Sum { .. }
        | Op::Reshape
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Expand
        | Op::Concat { .. }
        | Op::Gather { .. } => None,
    }
}

/// Every masked value that is sent has a mask of its own, of the right kind, and independent of it.
fn masks(program: &ViewsProgram) -> Result<(), VerifyError> {
    let first_use = first_uses(program);
    let mut named = BTreeMap::new();
    for id in program.ids() {
        let Some(mask) = mask_operand(&program[id]) else { continue };
        // The low bits of a random value are one, too.
        let mask = match &program[mask] {
            Node { op: Op::Narrow, args, .. } if program[id].op == Op::Open => args[0],
            _ => mask,
        };
        let Op::Random { once, p0, .. } = program[mask].op else {
            return Err(fail(program, id, format!("its mask {mask} is not a fresh random value")));
        };
        if let Some(other) = named.insert(mask, id) {
            let message = format!("its mask {mask} also hides {other}; each opening needs its own");
            return Err(fail(program, id, message));
        }
        let of_weight = matches!(program[id].op, Op::WeightDelta { .. });
        if once != of_weight {
            let message = format!(
                "its mask {mask} is drawn once per {}; only weights are masked once per deployment",
                if once { "deployment" } else { "run" },
            );
            return Err(fail(program, id, message));
        }
        if p0 && !of_weight {
            let message = format!("its mask {mask} is P0's alone and hides no other party's share");
            return Err(fail(program, id, message));
        }
        if first_use[mask.index()] < id && depends(program, id, mask) {
            let message = format!("what it opens depends on its mask {mask}");
            return Err(fail(program, id, message));
        }
    }
    Ok(())
}

/// The first node that reads each value.
fn first_uses(program: &ViewsProgram) -> Vec<Id> {
    let mut first = vec![Id(u32::MAX); program.nodes.len()];
    for id in program.ids().rev() {
        for arg in &program[id].args {
            first[arg.index()] = id;
        }
    }
    first
}

/// Whether the first operand of opening `id` depends on `mask`.
fn depends(program: &ViewsProgram, id: Id, mask: Id) -> bool {
    let base = mask.index();
    let mut reached = vec![false; id.index() - base];
    reached[0] = true;
    for at in base + 1..id.index() {
        let args = &program.nodes[at].args;
        reached[at - base] = args.iter().any(|a| a.index() >= base && reached[a.index() - base]);
    }
    let opened = program[id].args[0].index();
    program[id].op == Op::Open && opened >= base && reached[opened - base]
}

/// Each port is revealed once, and the program returns what it reveals.
fn reveals(program: &ViewsProgram) -> Result<(), VerifyError> {
    let mut ports = BTreeMap::new();
    for id in program.ids() {
        let Op::Reveal { port } = &program[id].op else { continue };
        if let Some(other) = ports.insert(*port, id) {
            return Err(fail(program, id, format!("{port} is revealed by {other} already")));
        }
        if !program.outputs.contains(&id) {
            return Err(fail(program, id, "it reveals a value that the program does not return"));
        }
    }
    let silent = |id: &&Id| !matches!(program[**id].op, Op::Reveal { .. });
    match program.outputs.iter().find(silent) {
        Some(id) => Err(fail(program, *id, "it is returned, but only reveals leave a program")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::verify;
    use crate::views::ViewsProgram;

    /// A program that opens `%2`, a masked input, under `mask`, and what verifying it says.
    fn refusal(text: &str) -> String {
        let program = ViewsProgram::parse(text).unwrap();
        verify(&program).map_or_else(|e| e.to_string(), |()| "fine".to_owned())
    }

    const START: &str = "views {
        %0 = random value 0 once false p0 false : mask<8>[2]
        %1 = input_delta %0 port port0 : delta<8>[2]
        %2 = at_p0 %1 : share0<8>[2]";

    fn opening(rest: &str) -> String {
        refusal(&format!("{START} {rest} }}"))
    }

    #[test]
    fn an_opening_under_a_fresh_mask_is_fine() {
        let says = opening(
            "%3 = random value 1 once false p0 false : mask<8>[2]
             %4 = open %2, %3 : delta<8>[2]
             %5 = reveal %4, %3 port port0 : delta<8>[2]
             return %5",
        );
        assert_eq!(says, "fine");
    }

    #[test]
    fn a_mask_hides_one_opening() {
        let says = opening("%3 = open %2, %0 : delta<8>[2] return");
        insta::assert_snapshot!(says, @"%3 = open: its mask %0 also hides %1; each opening needs its own");
    }

    #[test]
    fn the_low_bits_of_a_mask_hide_one_opening() {
        let low = "%3 = random value 1 once false p0 false : mask<16>[2]
             %4 = narrow %3 : mask<8>[2]
             %5 = open %2, %4 : delta<8>[2]";
        assert_eq!(
            opening(&format!("{low} %6 = reveal %5, %4 port port0 : delta<8>[2] return %6")),
            "fine"
        );
        let says = opening(&format!(
            "{low} %6 = narrow %3 : mask<8>[2] %7 = open %2, %6 : delta<8>[2] return"
        ));
        insta::assert_snapshot!(says, @"%7 = open: its mask %3 also hides %5; each opening needs its own");
        let says = opening(
            "%3 = random value 1 once false p0 false : mask<16>[2]
             %4 = narrow %3 : mask<8>[2]
             %5 = sub %2, %4 : share<8>[2]
             %6 = open %5, %4 : delta<8>[2]
             return",
        );
        insta::assert_snapshot!(says, @"%6 = open: what it opens depends on its mask %3");
    }

    #[test]
    fn a_mask_is_random_itself() {
        let says = opening(
            "%3 = random value 1 once false p0 false : mask<8>[2]
             %4 = add %0, %3 : mask<8>[2]
             %5 = open %2, %4 : delta<8>[2]
             return",
        );
        insta::assert_snapshot!(says, @"%5 = open: its mask %4 is not a fresh random value");
    }

    #[test]
    fn a_mask_of_the_deployment_is_for_weights() {
        let says = opening(
            "%3 = random value 1 once true p0 false : mask<8>[2]
             %4 = open %2, %3 : delta<8>[2]
             return",
        );
        insta::assert_snapshot!(says, @"%4 = open: its mask %3 is drawn once per deployment; only weights are masked once per deployment");
        let says = opening(
            "%3 = random value 1 once false p0 false : mask<8>[2]
             %4 = weight_delta %3 param w0 : delta<8>[2]
             return",
        );
        insta::assert_snapshot!(says, @"%4 = weight_delta: its mask %3 is drawn once per run; only weights are masked once per deployment");
    }

    #[test]
    fn a_mask_of_p0_hides_nobody_else() {
        let says = opening(
            "%3 = random value 1 once false p0 true : mask<8>[2]
             %4 = open %2, %3 : delta<8>[2]
             return",
        );
        insta::assert_snapshot!(says, @"%4 = open: its mask %3 is P0's alone and hides no other party's share");
    }

    #[test]
    fn what_is_opened_does_not_know_its_mask() {
        let says = opening(
            "%3 = random value 1 once false p0 false : mask<8>[2]
             %4 = sub %2, %3 : share<8>[2]
             %5 = open %4, %3 : delta<8>[2]
             return",
        );
        insta::assert_snapshot!(says, @"%5 = open: what it opens depends on its mask %3");
    }

    #[test]
    fn addresses_are_unique() {
        let says = opening("%3 = random value 0 once false p0 false : mask<8>[2] return");
        insta::assert_snapshot!(says, @"%3 = random: its address 0 is that of %0: two values, one stream");
        let says = opening("%3 = deal %0 value 0 zeros 0 : mask<8>[2] return");
        insta::assert_snapshot!(says, @"%3 = deal: its address 0 is that of %0: two values, one stream");
    }

    #[test]
    fn a_port_is_revealed_once_and_returned() {
        let says = opening("%3 = reveal %1, %0 port port0 : delta<8>[2] return");
        insta::assert_snapshot!(says, @"%3 = reveal: it reveals a value that the program does not return");
        let says = opening(
            "%3 = reveal %1, %0 port port0 : delta<8>[2]
             %4 = reveal %1, %0 port port0 : delta<8>[2]
             return %3, %4",
        );
        insta::assert_snapshot!(says, @"%4 = reveal: port0 is revealed by %3 already");
        let says = opening("return %1");
        insta::assert_snapshot!(says, @"%1 = input_delta: it is returned, but only reveals leave a program");
    }

    #[test]
    fn an_opened_value_never_reaches_the_dealer() {
        let says = opening("%3 = add %0, %1 : dealt<8>[2] return");
        insta::assert_snapshot!(says, @"%3 = add: views do not fit: (mask<8>[2], delta<8>[2]) to dealt<8>[2]");
    }
}
