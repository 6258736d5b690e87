//! The rules of a masked program as a whole, beyond the types of its nodes.
//!
//! Every mask is named once; what is shown to the client is shown by a named reveal and by nothing
//! else; each port is used once; an opening keeps at least one bit.

use super::{MaskedProgram, Op};
use crate::id::Id;
use crate::ssa::VerifyError;
use crate::text::OpText as _;
use std::collections::BTreeMap;

/// Checks `program`, its types first.
///
/// # Errors
/// Names the first node that breaks a rule.
pub fn verify(program: &MaskedProgram) -> Result<(), VerifyError> {
    program.verify()?;
    masks_are_fresh(program)?;
    ports_are_used_once(program)?;
    reveals_are_the_outputs(program)?;
    rings_hold_a_sign(program)
}

fn broken(program: &MaskedProgram, id: Id, message: String) -> VerifyError {
    VerifyError { place: format!("{id} = {}", program[id].op.mnemonic()), message }
}

fn masks_are_fresh(program: &MaskedProgram) -> Result<(), VerifyError> {
    let mut named = BTreeMap::new();
    for id in program.ids() {
        let Some(mask) = program[id].op.mask() else { continue };
        if let Some(first) = named.insert(mask, id) {
            let message =
                format!("mask {mask} is named by {first} already; a mask hides one opening");
            return Err(broken(program, id, message));
        }
    }
    Ok(())
}

fn ports_are_used_once(program: &MaskedProgram) -> Result<(), VerifyError> {
    let mut used = BTreeMap::new();
    for id in program.ids() {
        let port = if let Op::Input { port, .. } = program[id].op {
            ("input", port)
        } else if let Op::Reveal { port } = program[id].op {
            ("output", port)
        } else {
            continue;
        };
        if let Some(first) = used.insert(port, id) {
            let message = format!("{} {} is used by {first} already", port.0, port.1);
            return Err(broken(program, id, message));
        }
    }
    Ok(())
}

fn reveals_are_the_outputs(program: &MaskedProgram) -> Result<(), VerifyError> {
    let reveals = |id: &Id| matches!(program[*id].op, Op::Reveal { .. });
    if let Some(id) = program.outputs.iter().find(|id| !reveals(id)) {
        let message = "an output is shown by a reveal and by nothing else".to_owned();
        return Err(broken(program, *id, message));
    }
    for id in program.ids() {
        if reveals(&id) && !program.outputs.contains(&id) {
            return Err(broken(program, id, "a reveal that is no output".to_owned()));
        }
        if let Some(shown) = program[id].args.iter().find(|a| reveals(a)) {
            let message = format!("{shown} is revealed to the client and cannot be computed with");
            return Err(broken(program, id, message));
        }
    }
    Ok(())
}

fn rings_hold_a_sign(program: &MaskedProgram) -> Result<(), VerifyError> {
    for id in program.ids() {
        let ring = program[id].ty.ring;
        if matches!(program[id].op, Op::Rescale { .. } | Op::Lift { .. }) && ring < 2 {
            let message = format!("a ring of {ring} bit has no room for a sign");
            return Err(broken(program, id, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::verify;
    use crate::masked::MaskedProgram;

    /// What is wrong with a program made of these lines.
    fn complaint(lines: &[&str]) -> String {
        let program = MaskedProgram::parse(&format!("program {{ {} }}", lines.join("\n"))).unwrap();
        verify(&program).map_or_else(|error| error.to_string(), |()| String::new())
    }

    const INPUT: &str = "%0 = input port port0 mask m0 : masked<32>[2]";

    #[test]
    fn a_sound_program_passes() {
        let shown = "%1 = reveal %0 port port0 : masked<32>[2]";
        assert_eq!(complaint(&[INPUT, shown, "return %1"]), "");
    }

    #[test]
    fn a_mask_is_named_once() {
        let relu = "%1 = relu %0 mask m0 : masked<32>[2]";
        let shown = "%2 = reveal %1 port port0 : masked<32>[2]";
        assert_eq!(
            complaint(&[INPUT, relu, shown, "return %2"]),
            "%1 = relu: mask m0 is named by %0 already; a mask hides one opening"
        );
    }

    #[test]
    fn a_port_is_used_once() {
        let again = "%1 = input port port0 mask m1 : masked<32>[2]";
        assert_eq!(
            complaint(&[INPUT, again, "return"]),
            "%1 = input: input port0 is used by %0 already"
        );
        let shown = [
            "%1 = reveal %0 port port0 : masked<32>[2]",
            "%2 = reveal %0 port port0 : masked<32>[2]",
        ];
        assert_eq!(
            complaint(&[INPUT, shown[0], shown[1], "return %1, %2"]),
            "%2 = reveal: output port0 is used by %1 already"
        );
    }

    #[test]
    fn only_reveals_leave() {
        assert_eq!(
            complaint(&[INPUT, "return %0"]),
            "%0 = input: an output is shown by a reveal and by nothing else"
        );
        let shown = "%1 = reveal %0 port port0 : masked<32>[2]";
        assert_eq!(complaint(&[INPUT, shown, "return"]), "%1 = reveal: a reveal that is no output");
        let used = "%2 = narrow %1 : masked<8>[2]";
        let twice = "%3 = reveal %2 port port1 : masked<8>[2]";
        assert_eq!(
            complaint(&[INPUT, shown, used, twice, "return %1, %3"]),
            "%2 = narrow: %1 is revealed to the client and cannot be computed with"
        );
    }

    #[test]
    fn an_opening_has_room_for_a_sign() {
        let opened =
            ["%1 = to_shares %0 : shares<32>[2]", "%2 = rescale %1 by 0 mask m1 : masked<1>[2]"];
        let shown = "%3 = reveal %2 port port0 : masked<1>[2]";
        assert_eq!(
            complaint(&[INPUT, opened[0], opened[1], shown, "return %3"]),
            "%2 = rescale: a ring of 1 bit has no room for a sign"
        );
    }
}
