//! Any bytes as the weights of a fixed plan, as they are or under the right digest: refused, or
//! weights of the plan's lengths that write back to the same file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpcc_ir::plan::{ParamInfo, Plan, WeightsMode, Word};
use mpcc_ir::weights::Weights;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Read and written again for each input.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    // In memory, where the system has such a folder.
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    folder.join(format!("mpcc-fuzz-{}.weights", std::process::id()))
});

fuzz_target!(|bytes: &[u8]| {
    read(bytes, [0; 32]);
    let digest = *blake3::hash(bytes).as_bytes();
    read(&[bytes, &digest].concat(), digest);
});

fn read(bytes: &[u8], weights_digest: [u8; 32]) {
    std::fs::write(&*FILE, bytes).expect("the folder for temporary files can be written");
    let plan = Plan { weights_digest, ..plan() };
    if let Ok(weights) = Weights::read(&FILE, &plan) {
        let lengths: Vec<usize> = weights.params.iter().map(Vec::len).collect();
        assert_eq!(lengths, [8, 0, 12]);
        assert_eq!(weights.digest(), weights_digest);
    }
}

/// Three parameters; the second one is public, so the file has no bytes for it.
fn plan() -> Plan {
    let param = |name: &str, elements, public| ParamInfo {
        name: name.to_owned(),
        elements,
        frac: 8,
        public,
        masked: vec![],
        mask: None,
    };
    Plan { params: vec![param("w", 2, None), param("scale", 1, Some(vec![1])), param("b", 3, None)], ..Plan::empty(Word::W32, 2, WeightsMode::Party0) }
}
