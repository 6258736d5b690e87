//! The rules about what may name what, read from the sources.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

/// All Rust sources below `folder`, with their text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.push((name, fs::read_to_string(&path).expect("a source is text")));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {folder}");
    found
}

/// The files below `folder` that contain `word` outside comments.
fn naming(folder: &str, word: &str) -> Vec<String> {
    let code =
        |text: &str| text.lines().any(|l| !l.trim_start().starts_with("//") && l.contains(word));
    let files = sources(folder).into_iter().filter(|(_, text)| code(text));
    files.map(|(name, _)| name).collect()
}

fn manifest(package: &str) -> String {
    fs::read_to_string(root().join(package).join("Cargo.toml"))
        .expect("every package has a manifest")
}

#[test]
fn dependencies_point_one_way() {
    let ir = manifest("ir");
    assert!(
        !ir.contains("mpcc-") || ir.matches("mpcc-").count() == ir.matches("\"mpcc-ir\"").count()
    );
    assert!(!ir.contains("tokio") && !ir.contains("tract"));
    let runtime = manifest("runtime");
    for foreign in ["tract", "prost", "mpcc-compiler"] {
        assert!(!runtime.contains(foreign), "the runtime depends on {foreign}");
    }
    assert!(manifest("compiler").contains("mpcc-runtime"));
}

#[test]
fn one_module_names_bincode() {
    assert_eq!(naming("ir", "bincode"), ["ir/src/codec.rs"]);
    for folder in ["compiler", "runtime"] {
        assert!(naming(folder, "bincode").is_empty());
    }
}

#[test]
fn tract_stays_behind_the_importer_and_the_clear_reference() {
    for file in naming("compiler/src", "tract_onnx") {
        let allowed = file.starts_with("compiler/src/import/") || file == "compiler/src/clear.rs";
        assert!(allowed, "{file} names tract");
    }
}

#[test]
fn unsafe_code_is_in_kernels_and_the_arena() {
    for folder in ["ir", "compiler", "runtime", "models"] {
        for file in naming(folder, "unsafe_code") {
            let allowed =
                file.starts_with("runtime/src/kernels/") || file == "runtime/src/arena.rs";
            assert!(allowed, "{file} allows unsafe code");
        }
    }
}

#[test]
fn secrets_have_no_debug_form() {
    let share = fs::read_to_string(root().join("runtime/src/share.rs")).expect("share.rs");
    assert!(!share.contains("Debug,") && !share.contains("Serialize"));
    let secrets = [
        ("ir/src/weights.rs", "Weights"),
        ("runtime/src/arena.rs", "Arena"),
        ("runtime/src/client.rs", "ClientRun"),
        ("runtime/src/client.rs", "Output"),
        ("runtime/src/mask.rs", "Masks"),
        ("runtime/src/net/frame.rs", "Frame"),
        ("runtime/src/packet.rs", "Packet"),
        ("runtime/src/params.rs", "Params"),
        ("runtime/src/payload.rs", "Payload"),
        ("runtime/src/serve/claims.rs", "ClaimKey"),
        ("runtime/src/share.rs", "Seed"),
        ("runtime/src/store.rs", "Session"),
    ];
    for (file, name) in secrets {
        let text = fs::read_to_string(root().join(file)).expect(file);
        let ends = [' ', '(', '<', ';'].map(|end| format!("struct {name}{end}"));
        let at = ends.iter().find_map(|declared| text.find(declared)).expect(name);
        // The attributes and comments directly above.
        let above = text[..at].rsplit("\n\n").next().unwrap_or_default();
        assert!(!above.contains("Debug") && !above.contains("Serialize"), "{file}: {name}");
    }
}
