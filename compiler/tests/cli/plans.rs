//! Plans and weights that cannot be used.

use crate::site::{Site, blur, onnx, stored};
use insta::assert_snapshot;

/// The refusal by `explain`, which `run` must share.
fn refusal(site: &Site, plan: &str) -> String {
    let said = site.refusal(&format!("explain {plan}"));
    assert_eq!(said, site.refusal(&format!("run {plan}")));
    said
}

#[test]
fn files_that_are_not_plans() {
    let site = Site::compiled();
    assert_snapshot!(refusal(&site, "none.plan"), @"1: error: cannot use `none.plan`: cannot read the plan; check that the file exists and may be read: No such file or directory (os error 2)");
    assert_snapshot!(refusal(&site, "."), @"1: error: cannot use `.`: cannot read the plan; check that the file exists and may be read: Is a directory (os error 21)");
    assert_snapshot!(site.refusal("explain m.onnx"), @"1: error: cannot use `m.onnx`: not a plan: it does not begin with `mpccplan`; give a file that `mpcc compile` wrote");
    assert_snapshot!(refusal(&site, "x.npy"), @"1: error: cannot use `x.npy`: not a plan: it does not begin with `mpccplan`; give a file that `mpcc compile` wrote");
    assert_snapshot!(refusal(&site, "m.weights"), @"1: error: cannot use `m.weights`: not a plan: it does not begin with `mpccplan`; give a file that `mpcc compile` wrote");
}

#[test]
fn plans_that_are_damaged_or_of_another_version() {
    let site = Site::compiled();
    let plan = site.read("m.plan");
    let damaged = "1: error: cannot use `bad.plan`: the plan is damaged: its digest does not match \
                   its contents; copy the file again";
    for length in [10, 12, 40, 44, plan.len() / 2, plan.len() - 1] {
        site.write("bad.plan", &plan[..length]);
        assert_eq!(refusal(&site, "bad.plan"), damaged, "{length} bytes");
    }
    for at in [12, 44, plan.len() / 3, plan.len() - 1] {
        let mut mutated = plan.clone();
        mutated[at] ^= 1;
        site.write("bad.plan", &mutated);
        assert_eq!(refusal(&site, "bad.plan"), damaged, "byte {at}");
    }
    let mut newer = plan;
    newer[8] = 200;
    site.write("bad.plan", &newer);
    assert_snapshot!(refusal(&site, "bad.plan"), @"1: error: cannot use `bad.plan`: plan format 200, but this build reads format 3: compile the model again with this build, or use the build that wrote the plan");
}

#[test]
fn weights_that_do_not_belong_to_the_plan() {
    let site = Site::compiled();
    let weights = site.read("m.weights");
    let refusal = || site.refusal("run m.plan -i @x.npy");
    std::fs::remove_file(site.path("m.weights")).unwrap();
    assert_snapshot!(refusal(), @"1: error: cannot start P0: cannot read the weights `m.weights`: check that the file exists and may be read: No such file or directory (os error 2)");
    site.write("m.weights", b"");
    assert_snapshot!(refusal(), @"1: error: cannot start P0: `m.weights` does not begin with `mpccwght`: give the weights file that `mpcc compile` wrote beside the plan");
    site.write("m.weights", &weights[..weights.len() / 2]);
    assert_snapshot!(refusal(), @"1: error: cannot start P0: `m.weights` ends too early or has bytes after its end: copy the file again");
    let mut mutated = weights.clone();
    mutated[100] ^= 1;
    site.write("m.weights", &mutated);
    assert_snapshot!(refusal(), @"1: error: cannot start P0: `m.weights` is damaged: its digest does not match its contents; copy the file again");
    site.stdout("compile m.onnx --calibrate x.npy --margin 1 --ring 32 -o other.plan");
    site.copy("other.weights", "m.weights");
    assert_snapshot!(refusal(), @"1: error: cannot start P0: `m.weights` holds the weights of another model or compilation; use the files of one `mpcc compile`");
    site.stdout("compile m.onnx --calibrate x.npy --ring 64 -o wide.plan");
    site.copy("wide.weights", "m.weights");
    assert_snapshot!(refusal(), @"1: error: cannot start P0: `m.weights` has 64-bit words, the plan 32-bit ones: it belongs to another plan; use the files of one `mpcc compile`");
    site.write("m.weights", &weights);
    site.stdout("run m.plan -i @x.npy");
}

#[test]
fn options_for_compiling_have_no_use_with_a_plan() {
    let site = Site::compiled();
    assert_snapshot!(site.refusal("run m.plan --calibrate x.npy"), @"1: error: `m.plan` is compiled already, so --calibrate has no effect; remove it, or give an ONNX file");
    assert_snapshot!(site.refusal("run m.plan --parties 3"), @"1: error: `m.plan` is compiled already, so --parties has no effect; remove it, or give an ONNX file");
}

/// Also where they ask for what is so without them, for the plan may be another.
#[test]
fn options_that_a_plan_cannot_follow() {
    let site = Site::compiled();
    for option in [
        "--depth 1",
        "--link lan",
        "--ring auto",
        "--schedule pipelined",
        "--parties 2",
        "--margin 2",
    ] {
        let name = option.split(' ').next().unwrap();
        for verb in ["run", "bench"] {
            assert_eq!(
                site.refusal(&format!("{verb} m.plan {option}")),
                format!(
                    "1: error: `m.plan` is compiled already, so {name} has no effect; remove it, or give an ONNX file"
                )
            );
        }
    }
    assert_snapshot!(site.refusal("compile m.onnx --schedule sequential --chunks 8"), @"1: error: cannot compile `m.onnx`: --chunks has no effect with --schedule sequential, which splits no further than it must; remove one of them");
}

#[test]
fn plans_for_others_than_those_who_run_them() {
    let site = Site::new();
    site.stdout("compile m.onnx --calibrate x.npy --link lan1g --threads 3");
    let predicted = |verb: &str| {
        let said = site.stdout(&format!("{verb} m.plan -i @x.npy --runs 1"));
        blur(said.lines().find(|line| line.starts_with("predicted")).unwrap())
    };
    assert_snapshot!(predicted("run"), @"predicted online: # s with 1 in flight, # s alone, and at least # s (schedule pipelined, link lan1g, 3 threads a role on a host of its own; measured on one host over loopback with 1 thread)");
    assert_snapshot!(predicted("bench"), @"predicted online: # s with 1 in flight, # s alone, and at least # s (schedule pipelined, link lan1g, 3 threads a role on a host of its own; measured on one host over loopback with 1 thread)");
}

#[test]
fn references_with_other_inputs() {
    let site = Site::compiled();
    let refusal = |model: &str| site.refusal(&format!("run m.plan -i @x.npy --compare {model}"));
    let stored = |name: &str| stored(name).join("model.onnx").display().to_string();
    assert_snapshot!(refusal(&stored("mnist-mlp")), @"1: error: cannot compare with `mnist-mlp/model.onnx`: input `input` is [1,1,28,28] in the model, and [8,30] does not fit; correct the shape");
    assert_snapshot!(refusal("none.onnx"), @"1: error: cannot read `none.onnx`: No such file or directory (os error 2); check the path");
    site.copy("x.npy", "x.onnx");
    assert_snapshot!(refusal("x.onnx"), @"1: error: cannot compare with `x.onnx`: this is not an ONNX file (failed to decode Protobuf message: invalid tag value: 0); it may be truncated: fetch or export it again");
    site.write("two.onnx", &onnx(&["input=8,30", "b=1"], &["y = Add input b"]));
    assert_snapshot!(refusal("two.onnx"), @"1: error: cannot compare with `two.onnx`: input `b` is not among those given; use a model with the same inputs");
    site.write("other.onnx", &onnx(&["image=8,30"], &["y = Relu image"]));
    assert_snapshot!(refusal("other.onnx"), @"1: error: cannot compare with `other.onnx`: the model has no input `input`; its inputs are: image");
}

#[test]
fn stored_outputs_that_do_not_fit() {
    let site = Site::compiled();
    let refusal = |file: &str| site.refusal(&format!("run m.plan -i @x.npy --compare {file}"));
    assert_snapshot!(refusal("none.npy"), @"1: error: cannot read `none.npy`; check the path: No such file or directory (os error 2)");
    assert_snapshot!(refusal("x.npy"), @"1: error: cannot compare with `x.npy`: its output `output` has shape [8x30], and the plan's [8x1]");
    site.arrays("y.npz", &[("scores", &[8, 1], &[0.0; 8])]);
    assert_snapshot!(refusal("y.npz"), @"1: error: `y.npz` has no array `output`, only `scores`; name its arrays as the model does");
    site.arrays("y.npz", &[("output", &[8, 1], &[0.0; 8])]);
    assert_snapshot!(site.refusal("run m.plan --compare y.npz"), @"1: error: stored outputs belong to certain inputs: give those with -i");
}
