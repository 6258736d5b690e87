//! Any text as a program of each of the other levels; what parses must print and parse back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mpcc_ir::masked::MaskedProgram;
use mpcc_ir::nn::Nn;
use mpcc_ir::ssa::{Level, Program};
use mpcc_ir::views::ViewsProgram;

fuzz_target!(|text: &str| {
    round_trip(Program::<Nn>::parse(text).ok());
    round_trip(MaskedProgram::parse(text).ok());
    round_trip(ViewsProgram::parse(text).ok());
});

/// Compares the printed forms: NaN is equal to itself as text.
fn round_trip<L: Level>(program: Option<Program<L>>) {
    if let Some(program) = program {
        let text = program.to_string();
        let again = Program::<L>::parse(&text).map(|program| program.to_string());
        assert_eq!(again.as_ref(), Ok(&text));
    }
}
