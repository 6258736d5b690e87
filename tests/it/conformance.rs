//! The ONNX operator cases, in the clear and privately; `docs/CONFORMANCE.md` counts them.

use mpcc_compiler::import::{ImportOptions, import};
use mpcc_tests::conformance::{Verdict, cases, judge_all, page};
use std::path::Path;

#[test]
fn operator_cases_agree_or_are_refused() {
    let outcomes = judge_all().unwrap();
    assert!(outcomes.len() > 400, "the archive holds {} cases", outcomes.len());
    let page = page(&outcomes);
    let wrong = |v: &Verdict| matches!(v, Verdict::Wrong(_));
    let wrong = outcomes.iter().filter(|o| wrong(&o.clear) || wrong(&o.private));
    let lines: Vec<_> =
        wrong.map(|o| format!("{}: {:?}, {:?}", o.case.name, o.clear, o.private)).collect();
    assert!(lines.is_empty(), "{}\n{page}", lines.join("\n"));
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
