//! The ONNX operator cases, imported and evaluated in the clear; `docs/CONFORMANCE.md` counts them.

use mpcc_compiler::import::{ImportOptions, import};
use mpcc_ir::nn::interp::evaluate;
use mpcc_tests::conformance::{Verdict, cases, run, table};
use std::path::Path;

const HEADER: &str = "\
# ONNX operator conformance

The backend node cases of the onnx package for the operators that mpcc imports, evaluated at the nn
level and compared with the reference to 1e-4 of the largest entry. Parameters that a real network
holds as constants are constants. `tests/conformance/make.py` makes the cases;
`UPDATE_DOCS=1 cargo test -p mpcc-tests --test it conformance` makes this page.

";

#[test]
fn operator_cases_agree_or_are_refused() {
    let cases = cases().unwrap();
    assert!(cases.len() > 400, "the archive holds {} cases", cases.len());
    let mut clear = |graph: &_, inputs: &[_]| evaluate(graph, inputs).map_err(|e| e.to_string());
    let results: Vec<_> = cases.iter().map(|c| (c, run(c, &mut clear, 1e-4))).collect();
    let wrong: Vec<_> = results.iter().filter(|(_, v)| matches!(v, Verdict::Wrong(_))).collect();
    let lines: Vec<_> = wrong.iter().map(|(c, v)| format!("{}: {v:?}", c.name)).collect();
    assert!(wrong.is_empty(), "{}\n{}", lines.join("\n"), table(&results));
    let page = format!("{HEADER}{}", table(&results));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFORMANCE.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == page, "docs/CONFORMANCE.md is out of date: set UPDATE_DOCS=1\n{page}");
}

/// Files with a few bytes changed are accepted or refused; a panic of the importer would fail this.
#[test]
fn mutated_cases_do_not_panic() {
    let mut state = 1u64;
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut imported, mut refused) = (0, 0);
    for case in cases().unwrap() {
        for _ in 0..20 {
            let mut bytes = case.model.clone();
            for _ in 0..=next(3) {
                let at = next(bytes.len());
                bytes[at] =
                    [0, 1, 2, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)][next(8)];
            }
            match import(&bytes, &ImportOptions::default()) {
                Ok(graph) => {
                    graph.program.verify().unwrap();
                    imported += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(imported > 500 && refused > 500, "{imported} imported, {refused} refused");
}
