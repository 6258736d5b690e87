//! Any bytes as an ONNX file: refused, or a graph that verifies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpcc_compiler::import::{ImportOptions, Limits, import};
use std::panic::{catch_unwind, set_hook};
use std::process::abort;

// libFuzzer's hook ends the process at every panic, also at one inside tract, which the importer
// catches and reports as a refusal. So only what leaves the importer counts.
fuzz_target!(init: set_hook(Box::new(|info| eprintln!("{info}"))), |bytes: &[u8]| {
    if catch_unwind(|| check(bytes)).is_err() {
        abort();
    }
});

fn check(bytes: &[u8]) {
    if let Ok(graph) = import(bytes, &options()) {
        graph.verify().expect("what is imported verifies");
    }
}

/// Low, so that a file that finds a way around them is seen by its memory and time.
fn options() -> ImportOptions {
    let limits = Limits {
        file_bytes: 1 << 20,
        nodes: 256,
        tensor_elements: 1 << 16,
        total_elements: 1 << 20,
        stored_elements: 1 << 18,
    };
    ImportOptions { shapes: Vec::new(), limits }
}
