//! Arrays that people give as inputs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpcc_runtime::tensors::parse_npy;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((shape, values)) = parse_npy(bytes, Path::new("x.npy")) {
        assert_eq!(shape.elements(), values.len());
    }
});
