//! Real models: what the importer makes of them agrees with what ONNX Runtime computes.

use mpcc_compiler::import::{ImportError, ImportOptions, import_path};
use mpcc_ir::nn::interp::{Tensor, evaluate};
use mpcc_tests::conformance::{Verdict, compare, tensor};
use std::path::{Path, PathBuf};

fn tensors(folder: &Path, kind: &str) -> Vec<Tensor> {
    let path = |k: usize| folder.join(format!("{kind}_{k}.npy"));
    let read = |path: PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        tensor(npyz::NpyFile::new(&bytes[..]).unwrap()).unwrap()
    };
    (0..).map(path).take_while(|p| p.exists()).map(read).collect()
}

/// Imports the model of a folder and compares it with the stored outputs; says what came of it.
fn check(folder: &Path) -> Verdict {
    let graph = match import_path(&folder.join("model.onnx"), &ImportOptions::default()) {
        Ok(graph) => graph,
        Err(error @ ImportError::Unsupported(_)) => return Verdict::Refused(error.to_string()),
        Err(error) => return Verdict::Refused(format!("{error}")),
    };
    if let Err(error) = graph.program.verify() {
        return Verdict::Wrong(error.to_string());
    }
    match evaluate(&graph, &tensors(folder, "input")) {
        Ok(outputs) => compare(&outputs, &tensors(folder, "output"), 1e-4),
        Err(error) => Verdict::Wrong(error.to_string()),
    }
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|p| p.join("model.onnx").exists()).collect();
    folders.sort();
    folders
}

#[test]
fn stored_models_import_and_agree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/real");
    let folders = folders(&root);
    assert!(folders.len() >= 4, "{} models below {}", folders.len(), root.display());
    for folder in folders {
        let verdict = check(&folder);
        assert!(matches!(verdict, Verdict::Agrees(_)), "{}: {verdict:?}", folder.display());
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the report is what a person runs this for")]
#[ignore = "set MPCC_MODELS to a folder of <id>/model.onnx with input_<k>.npy and output_<k>.npy"]
fn other_models_agree_or_are_refused() {
    let root = std::env::var("MPCC_MODELS").expect("MPCC_MODELS names a folder");
    let mut report = String::new();
    let mut wrong = 0;
    for folder in folders(Path::new(&root)) {
        let start = std::time::Instant::now();
        let verdict = check(&folder);
        wrong += usize::from(matches!(verdict, Verdict::Wrong(_)));
        let (name, seconds) =
            (folder.file_name().unwrap().display(), start.elapsed().as_secs_f64());
        report += &match verdict {
            Verdict::Agrees(error) => format!("{name}: agrees to {error:.1e}, {seconds:.1} s\n"),
            Verdict::Refused(text) => format!("{name}: refused: {text}\n"),
            Verdict::Wrong(text) => format!("{name}: WRONG: {text}\n"),
        };
    }
    eprintln!("{report}");
    assert_eq!(wrong, 0, "some models are wrong");
}
