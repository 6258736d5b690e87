//! Where results go: refused before the work, and never in place of something good.

use crate::site::Site;
use insta::assert_snapshot;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn plans() {
    let site = Site::new();
    let refusal = |output: &str| site.refusal(&format!("compile m.onnx -o {output}"));
    assert_snapshot!(refusal("none/m.plan"), @"1: error: cannot write `none/m.plan`; check the directory and the free space: No such file or directory (os error 2)");
    assert_snapshot!(refusal("m.onnx/m.plan"), @"1: error: cannot write `m.onnx/m.plan`; check the directory and the free space: Not a directory (os error 20)");
    assert_snapshot!(refusal("m.onnx"), @"1: error: `m.onnx` is no name for a plan; give -o a name that ends in .plan");
    assert_snapshot!(refusal("m.weights"), @"1: error: `m.weights` is no name for a plan; give -o a name that ends in .plan");
    assert_snapshot!(refusal("m"), @"1: error: `m` is no name for a plan; give -o a name that ends in .plan");
    std::fs::create_dir(site.path("folder.plan")).unwrap();
    assert_snapshot!(refusal("folder.plan"), @"1: error: cannot write `folder.plan`; check the directory and the free space: is a directory");
}

#[test]
fn results() {
    let site = Site::compiled();
    let refusal = |output: &str| site.refusal(&format!("run m.plan -o {output}"));
    assert_snapshot!(refusal("none/y.npz"), @"1: error: cannot write `none/y.npz`; check the directory and the free space: No such file or directory (os error 2)");
    assert_snapshot!(refusal("y.txt"), @"1: error: `y.txt` cannot take 1 output(s); give a name that ends in .npz or .npy");
    assert_snapshot!(refusal("y"), @"1: error: `y` cannot take 1 output(s); give a name that ends in .npz or .npy");
    std::fs::create_dir(site.path("folder.npz")).unwrap();
    assert_snapshot!(refusal("folder.npz"), @"1: error: cannot write `folder.npz`; check the directory and the free space: is a directory");
}

#[test]
fn profiles() {
    let site = Site::new();
    std::fs::create_dir(site.path("folder.toml")).unwrap();
    let refusals = ["none/l.toml", "folder.toml", "m.onnx", "x.npy"].map(|output| {
        let machine = site.refusal(&format!("profile machine -o {output}"));
        let link = site.refusal(&format!("profile link 127.0.0.1:9 -o {output}"));
        assert_eq!(machine.replace("a machine", "a link"), link);
        machine
    });
    assert_snapshot!(refusals.join("\n"), @"
    1: error: cannot write `none/l.toml`; check the directory and the free space: No such file or directory (os error 2)
    1: error: cannot write `folder.toml`; check the directory and the free space: is a directory
    1: error: `m.onnx` is something else than a profile of a machine; give -o a name that is free
    1: error: `x.npy` is something else than a profile of a machine; give -o a name that is free
    ");
    assert_snapshot!(site.refusal("profile link 127.0.0.1:9 -o lan"), @"1: error: --link lan is not a file but a link of that name; choose another name");
}

#[test]
fn a_folder_that_is_closed() {
    let site = Site::compiled();
    let folder = site.path("closed");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(folder.join("probe"), b"").is_ok() {
        return; // The superuser may write everywhere.
    }
    assert!(site.refusal("compile m.onnx -o closed/m.plan").contains("cannot write"));
    assert!(site.refusal("run m.plan -o closed/y.npz").contains("cannot write"));
}

/// [`Site::refusal`] compares all files before and after.
#[test]
fn a_failure_leaves_earlier_results() {
    let site = Site::compiled();
    site.write("y.npz", b"an earlier result");
    site.write("half.onnx", &site.read("m.onnx")[..3000]);
    site.refusal("compile half.onnx -o m.plan");
    site.refusal("compile m.onnx --calibrate y.npz -o m.plan");
    std::fs::remove_file(site.path("m.weights")).unwrap();
    site.refusal("run m.plan -o y.npz");
    site.refusal("run m.plan -i @y.npz -o y.npz");
}

#[test]
fn a_success_replaces_them() {
    let site = Site::compiled();
    site.write("y.npy", b"an earlier result");
    site.stdout("run m.plan -i @x.npy -o y.npy");
    let shape = mpcc_runtime::tensors::read_npy(&site.path("y.npy")).unwrap().0;
    assert_eq!(shape.to_string(), "[8x1]");
}
