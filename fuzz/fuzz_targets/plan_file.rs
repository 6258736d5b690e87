//! Any bytes as the payload of a plan file with the right header: refused, or a plan that verifies
//! and that prints and encodes back to itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mpcc_ir::codec::{FORMAT_VERSION, decode, encode};
use mpcc_ir::plan::Plan;

fuzz_target!(|payload: &[u8]| {
    let digest = blake3::hash(payload);
    let version = FORMAT_VERSION.to_le_bytes();
    let bytes = [b"mpccplan", &version[..], digest.as_bytes(), payload].concat();
    if let Ok(plan) = decode(&bytes) {
        assert_eq!(decode(&encode(&plan)).as_ref().ok(), Some(&plan));
        assert_eq!(Plan::parse(&plan.to_string()).as_ref().ok(), Some(&plan));
    }
});
