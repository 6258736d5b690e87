//! Any text as a program of each of the other levels: what parses must print and parse back, and is
//! verified without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpcc_ir::masked::{self, MaskedProgram};
use mpcc_ir::nn::Nn;
use mpcc_ir::ssa::{Level, Program, VerifyError};
use mpcc_ir::views::{self, ViewsProgram};

fuzz_target!(|text: &str| {
    check(text, Program::<Nn>::verify);
    check(text, |program: &MaskedProgram| masked::verify::verify(program));
    check(text, |program: &ViewsProgram| views::verify::verify(program));
});

fn check<L: Level>(text: &str, verify: impl Fn(&Program<L>) -> Result<(), VerifyError>) {
    if let Ok(program) = Program::<L>::parse(text) {
        // Compares the printed forms: NaN is equal to itself as text.
        let text = program.to_string();
        let again = Program::<L>::parse(&text).map(|program| program.to_string());
        assert_eq!(again.as_ref(), Ok(&text));
        // Either answer is fine.
        let _ = verify(&program);
    }
}
