//! Any text as a plan: refused where it does not parse, otherwise verified without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mpcc_ir::plan::Plan;

fuzz_target!(|text: &str| {
    if let Ok(plan) = Plan::parse(text) {
        let verified = plan.verify();
        let again = Plan::parse(&plan.to_string());
        assert!(verified.is_err() || again.as_ref() == Ok(&plan));
    }
});
