//! Models that cannot be used, and options that do not fit them.

use crate::site::{Site, onnx};
use insta::assert_snapshot;

/// The refusal by `compile`, which all other verbs that read a model must share.
fn refusal(site: &Site, model: &str) -> String {
    let said = site.refusal(&format!("compile {model}"));
    assert_eq!(said, site.refusal(&format!("run {model}")));
    let inspected = site.refusal(&format!("inspect {model}"));
    assert_eq!(said, inspected.replace("cannot inspect", "cannot compile"));
    said
}

#[test]
fn files_that_are_not_models() {
    let site = Site::new();
    assert_snapshot!(refusal(&site, "none.onnx"), @"1: error: cannot read `none.onnx`: No such file or directory (os error 2); check the path");
    std::fs::create_dir(site.path("folder.onnx")).unwrap();
    assert_snapshot!(refusal(&site, "folder.onnx"), @"1: error: cannot read `folder.onnx`: Is a directory (os error 21); check the path");
    site.write("empty.onnx", b"");
    assert_snapshot!(refusal(&site, "empty.onnx"), @"1: error: cannot compile `empty.onnx`: the file is empty; export or copy the model again");
    site.copy("x.npy", "x.onnx");
    assert_snapshot!(refusal(&site, "x.onnx"), @"1: error: cannot compile `x.onnx`: this is not an ONNX file (failed to decode Protobuf message: invalid tag value: 0); it may be truncated: fetch or export it again");
    let model = site.read("m.onnx");
    site.write("half.onnx", &model[..model.len() / 2]);
    assert_snapshot!(refusal(&site, "half.onnx"), @"1: error: cannot compile `half.onnx`: this is not an ONNX file (failed to decode Protobuf message: ModelProto.graph: buffer underflow); it may be truncated: fetch or export it again");
    // A field of a file format version and nothing else: whole as a message, but no model.
    site.write("stub.onnx", &[8, 8]);
    assert_snapshot!(refusal(&site, "stub.onnx"), @"1: error: cannot compile `stub.onnx`: the file holds no graph; it may be truncated or not an ONNX model: export it again");
}

#[test]
fn operators_that_cannot_run_privately_come_all_at_once() {
    let site = Site::new();
    let nodes = ["a = Relu x", "b = NonZero a", "c = LSTM a", "d = Relu c", "y = Frobnicate d"];
    site.write("odd.onnx", &onnx(&["x=1,4"], &nodes));
    let said = site.refusal("compile odd.onnx");
    assert_snapshot!(said, @r"
    1: error: cannot compile `odd.onnx`: 3 nodes of the model cannot be run privately
      NonZero `b`: the operator is not supported; compute it outside of the model, or see README.md for what is supported
      LSTM `c`: the operator is not supported; use convolutions in its place and train again
      Frobnicate `y`: the operator is not supported; compute it outside of the model, or see README.md for what is supported
    ");
    assert_eq!(said, site.refusal("run odd.onnx"));
    assert_snapshot!(site.stdout("inspect odd.onnx"), @r"
    producer    unknown
    opset       17
    parameters  0
    operators   Frobnicate 1, LSTM 1, NonZero 1, Relu 2
    runs privately: no
    3 nodes of the model cannot be run privately
      NonZero `b`: the operator is not supported; compute it outside of the model, or see README.md for what is supported
      LSTM `c`: the operator is not supported; use convolutions in its place and train again
      Frobnicate `y`: the operator is not supported; compute it outside of the model, or see README.md for what is supported
    ");
    assert_snapshot!(site.json("inspect odd.onnx --json"), @r#"{"inputs":["x"],"operators":{"Frobnicate":1,"LSTM":1,"NonZero":1,"Relu":2},"opset":17,"outputs":["y"],"parameters":0,"producer":"unknown","reason":"3 nodes of the model cannot be run privately\n  NonZero `b`: the operator is not supported; compute it outside of the model, or see README.md for what is supported\n  LSTM `c`: the operator is not supported; use convolutions in its place and train again\n  Frobnicate `y`: the operator is not supported; compute it outside of the model, or see README.md for what is supported","runs_privately":false}"#);
}

#[test]
fn open_shapes() {
    let site = Site::new();
    site.write("open.onnx", &onnx(&["x=batch,3,h,w", "z=n,1"], &["y = Add x z"]));
    assert_snapshot!(site.refusal("compile open.onnx"), @r"
    1: error: cannot compile `open.onnx`: the shapes of some inputs are open, and a private run needs fixed ones
      `x` is [batch,3,h,w]: for example, add --shape x=1,3,224,224
      `z` is [n,1]: for example, add --shape z=1,1
    ");
    assert_snapshot!(site.stdout("inspect open.onnx --shape x=1,3,8,8 --shape z=1,1"), @r"
    producer    unknown
    opset       17
    parameters  0
    operators   Add 1
    input       x [1x3x8x8]
    input       z [1x1]
    output      y [1x3x8x8]
    runs privately: yes
    ");
    site.stdout("compile open.onnx --shape x=1,3,8,8 --shape z=1,1");
}

#[test]
fn inputs_that_nothing_reads() {
    let site = Site::new();
    site.write("idle.onnx", &onnx(&["x=4", "z=4"], &["a = Mul z z", "y = Relu x"]));
    assert_snapshot!(site.refusal("compile idle.onnx"), @"1: error: cannot compile `idle.onnx`: no output depends on input `z`; remove it from the model");
}

#[test]
fn shapes_that_do_not_fit() {
    let site = Site::new();
    let refusal = |shape: &str| {
        let said = site.refusal(&format!("compile m.onnx --shape {shape}"));
        let inspected = site.refusal(&format!("inspect m.onnx --shape {shape}"));
        assert_eq!(said, inspected.replace("cannot inspect", "cannot compile"));
        said
    };
    assert_snapshot!(refusal("image=8,30"), @"1: error: cannot compile `m.onnx`: the model has no input `image`; its inputs are: input");
    assert_snapshot!(refusal("input=8,30,1"), @"1: error: cannot compile `m.onnx`: input `input` is [8,30] in the model, and [8,30,1] does not fit; correct the shape");
    assert_snapshot!(refusal("input=4,30"), @"1: error: cannot compile `m.onnx`: input `input` is [8,30] in the model, and [4,30] does not fit; correct the shape");
    assert_snapshot!(refusal("input"), @r"
    2: error: invalid value 'input' for '--shape <NAME=1,3,224,224>': write it as NAME=1,3,224,224

    For more information, try '--help'.
    ");
    assert_snapshot!(refusal("input=8,,30"), @r"
    2: error: invalid value 'input=8,,30' for '--shape <NAME=1,3,224,224>': `` is not an extent; write it as NAME=1,3,224,224

    For more information, try '--help'.
    ");
    assert_snapshot!(refusal("input=8,-30"), @r"
    2: error: invalid value 'input=8,-30' for '--shape <NAME=1,3,224,224>': `-30` is not an extent; write it as NAME=1,3,224,224

    For more information, try '--help'.
    ");
}

#[test]
fn figures_out_of_bounds() {
    let site = Site::new();
    let refusal = |option: &str| {
        let said = site.refusal(&format!("compile m.onnx {option}"));
        assert_eq!(said, site.refusal(&format!("run m.onnx {option}")));
        said
    };
    assert_snapshot!(refusal("--ring 16"), @r"
    2: error: invalid value '16' for '--ring <RING>'
      [possible values: auto, 32, 64]

    For more information, try '--help'.
    ");
    assert_snapshot!(refusal("--parties 1"), @r"
    2: error: invalid value '1' for '--parties <N>': 1 is not in 2..=16

    For more information, try '--help'.
    ");
    assert_snapshot!(refusal("--parties 99"), @r"
    2: error: invalid value '99' for '--parties <N>': 99 is not in 2..=16

    For more information, try '--help'.
    ");
    assert_snapshot!(refusal("--margin 60"), @r"
    2: error: invalid value '60' for '--margin <BITS>': 60 is not in 0..=16

    For more information, try '--help'.
    ");
    assert_snapshot!(refusal("--chunks 0"), @r"
    2: error: invalid value '0' for '--chunks <N>': 0 is not in 1..=1024

    For more information, try '--help'.
    ");
    assert_snapshot!(site.refusal("run m.onnx --runs 0"), @r"
    2: error: invalid value '0' for '--runs <R>': 0 is not in 1..=1000000

    For more information, try '--help'.
    ");
    assert_snapshot!(site.refusal("run m.onnx --threads 0"), @r"
    2: error: invalid value '0' for '--threads <T>': 0 is not in 1..=1024

    For more information, try '--help'.
    ");
}
