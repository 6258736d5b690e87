//! Samples and inputs that do not fit.

use crate::site::{Site, onnx};
use insta::assert_snapshot;

/// A site with arrays for the 8 by 30 input of its model, each wrong in its own way, and a model of two inputs.
fn with_bad_arrays(site: Site) -> Site {
    let fine = vec![0.5; 240];
    let with = |value: f32| {
        let mut values = fine.clone();
        values[31] = value;
        values
    };
    site.arrays("flat.npy", &[("", &[240], &fine)]);
    site.arrays("turned.npy", &[("", &[30, 8], &fine)]);
    site.arrays("nan.npy", &[("", &[8, 30], &with(f32::NAN))]);
    site.arrays("inf.npy", &[("", &[8, 30], &with(f32::INFINITY))]);
    site.arrays("far.npy", &[("", &[8, 30], &with(1e9))]);
    site.arrays("named.npz", &[("image", &[8, 30], &fine), ("label", &[1], &[0.0])]);
    npyz::to_file_1d(site.path("flags.npy"), [true, false]).unwrap();
    let whole = site.read("x.npy");
    site.write("half.npy", &whole[..whole.len() / 2]);
    site.write("half.npz", b"PK\x03\x04");
    site.write("two.onnx", &onnx(&["a=1,4", "b=1,4"], &["y = Add a b"]));
    site
}

#[test]
fn samples() {
    let site = with_bad_arrays(Site::new());
    let refusal = |file: &str| site.refusal(&format!("compile m.onnx --calibrate {file}"));
    assert_snapshot!(refusal("none.npz"), @"1: error: cannot compile `m.onnx`: cannot calibrate with `none.npz`: cannot read `none.npz`; check the path: No such file or directory (os error 2)");
    assert_snapshot!(refusal("turned.npy"), @"1: error: cannot compile `m.onnx`: cannot calibrate with `turned.npy`: input `input`: an array of shape [30x8] does not hold samples of shape [8x30]; give one sample, or several along the first axis");
    assert_snapshot!(refusal("flat.npy"), @"1: error: cannot compile `m.onnx`: cannot calibrate with `flat.npy`: input `input`: an array of shape [240] does not hold samples of shape [8x30]; give one sample, or several along the first axis");
    assert_snapshot!(refusal("named.npz"), @"1: error: cannot compile `m.onnx`: cannot calibrate with `named.npz`: `named.npz` has no array `input`, only `image`, `label`; name its arrays as the model does");
    assert_snapshot!(refusal("flags.npy"), @"1: error: cannot compile `m.onnx`: cannot calibrate with `flags.npy`: `flags.npy` holds '|b1'; save it as numbers, x.astype('float32')");
    assert_snapshot!(refusal("nan.npy"), @"1: error: cannot compile `m.onnx`: calibration sample 0: input `input` holds an entry that is not finite; remove it");
    assert_snapshot!(refusal("inf.npy"), @"1: error: cannot compile `m.onnx`: calibration sample 0: input `input` holds an entry that is not finite; remove it");
    assert_snapshot!(refusal("half.npy"), @"1: error: cannot compile `m.onnx`: cannot calibrate with `half.npy`: `half.npy` is not a whole .npy file; save it again with numpy: failed to fill whole buffer");
    assert_snapshot!(refusal("half.npz"), @"1: error: cannot compile `m.onnx`: cannot calibrate with `half.npz`: `half.npz` is not a whole .npz file; save it again with numpy: invalid Zip archive: Invalid zip header");
    assert_snapshot!(refusal("m.onnx"), @"1: error: cannot compile `m.onnx`: cannot calibrate with `m.onnx`: `m.onnx` is not a whole .npy file; save it again with numpy: magic not found for NPY file");
}

#[test]
fn samples_of_several_inputs() {
    let site = with_bad_arrays(Site::new());
    let refusal = |file: &str| site.refusal(&format!("compile two.onnx --calibrate {file}"));
    assert_snapshot!(refusal("x.npy"), @"1: error: cannot compile `two.onnx`: cannot calibrate with `x.npy`: the model has several inputs: give an .npz with an array for each");
    site.arrays("uneven.npz", &[("a", &[2, 4], &[0.0; 8]), ("b", &[3, 4], &[0.0; 12])]);
    assert_snapshot!(refusal("uneven.npz"), @"1: error: cannot compile `two.onnx`: cannot calibrate with `uneven.npz`: it has 2 samples of input `a` and 3 of input `b`; give as many of each");
    site.arrays("even.npz", &[("a", &[2, 4], &[1.0; 8]), ("b", &[2, 1, 4], &[-1.0; 8])]);
    site.stdout("compile two.onnx --calibrate even.npz");
    assert_snapshot!(site.refusal("run two.plan -i a=@even.npz"), @"1: error: `even.npz` has shape [2x4], but input `a` wants [1x4]; give data of that shape");
    site.arrays("a.npy", &[("", &[4], &[0.5; 4])]);
    assert_snapshot!(site.refusal("run two.plan -i a=@a.npy"), @"1: error: input `b` is missing; give -i b=@file.npy");
    assert_snapshot!(site.refusal("run two.plan -i a=@a.npy -i a=@a.npy"), @"1: error: input `a` comes twice; give it once");
    assert_snapshot!(site.refusal("run two.plan -i @a.npy"), @"1: error: `@a.npy` is not an input; write name=@file.npy, or @file.npz with one array per input");
}

#[test]
fn inputs() {
    let site = with_bad_arrays(Site::compiled());
    let refusal = |input: &str| site.refusal(&format!("run m.plan -i {input}"));
    assert_snapshot!(refusal("image=@x.npy"), @"1: error: the model has no input `image`; it has `input`");
    assert_snapshot!(refusal("input=x.npy"), @"1: error: `input=x.npy` is not an input; write name=@file.npy, or @file.npz with one array per input");
    assert_snapshot!(refusal("input=@none.npy"), @"1: error: cannot read `none.npy`; check the path: No such file or directory (os error 2)");
    assert_snapshot!(refusal("input=@turned.npy"), @"1: error: `turned.npy` has shape [30x8], but input `input` wants [8x30]; give data of that shape");
    assert_snapshot!(refusal("@named.npz"), @"1: error: `named.npz` has no array `input`, only `image`, `label`; name its arrays as the model does");
    assert_snapshot!(refusal("input=@flags.npy"), @"1: error: `flags.npy` holds '|b1'; save it as numbers, x.astype('float32')");
    assert_snapshot!(refusal("input=@nan.npy"), @"1: error: input `input`, element 31: not a finite number; clean the data first");
    assert_snapshot!(refusal("input=@inf.npy"), @"1: error: input `input`, element 31: not a finite number; clean the data first");
    assert_snapshot!(refusal("input=@far.npy"), @"1: error: input `input`, element 31: outside -3377.60009765625..3377.60009765625, the range that the plan was compiled for; calibrate with such data and compile again");
    assert_snapshot!(refusal("input=@half.npy"), @"1: error: `half.npy` is not a whole .npy file; save it again with numpy: failed to fill whole buffer");
    assert_snapshot!(refusal("@half.npz"), @"1: error: `half.npz` is not a whole .npz file; save it again with numpy: invalid Zip archive: Invalid zip header");
}
