//! The models that `mpcc-models` builds: a private run of each against tract in the clear, and what
//! every layer costs.

use insta::assert_snapshot;
use mpcc_compiler::clear;
use mpcc_compiler::compile::{CompileOptions, Compiled, compile};
use mpcc_ir::Shape;
use mpcc_ir::nn::interp::Tensor;
use mpcc_ir::plan::{Message, MessageKind, Phase, Plan, Role};
use mpcc_models::{Model, full, small};
use mpcc_runtime::sim::{SimOptions, run};
use std::fmt::Write as _;

const SEED: u64 = 1;

fn sample(model: &Model, seed: u64) -> Tensor {
    Tensor { shape: Shape::of(&model.input), data: model.sample(seed) }
}

fn compiled(model: &Model, samples: u64) -> Compiled {
    let samples = (0..samples).map(|seed| vec![sample(model, seed)]).collect();
    // Rounds of a layer depend on how it is split; costs of a fixed split do not depend on a profile.
    let chunks = Some(4);
    let name = model.name.clone();
    let options = CompileOptions { name, samples, chunks, ..CompileOptions::default() };
    compile(&model.onnx, &options, &mut |_| ()).expect("it compiles")
}

/// Per layer and in total: rounds, bytes from one compute party to another, bytes of corrections.
fn costs(plan: &Plan) -> String {
    let mut table = String::new();
    let mut row = |name: &str, cells: [String; 3]| {
        let [rounds, online, corrections] = cells;
        let _ = writeln!(table, "{name:<24}{rounds:>7}{online:>11}{corrections:>13}");
    };
    row("", ["rounds", "bytes", "corrections"].map(str::to_owned));
    for layer in plan.layers.iter().filter(|layer| layer.online_bytes + layer.correction_bytes > 0)
    {
        let cells = [u64::from(layer.rounds), layer.online_bytes, layer.correction_bytes];
        row(&layer.name, cells.map(|cell| cell.to_string()));
    }
    let bytes = |wanted: &dyn Fn(&Message) -> bool| -> u64 {
        plan.messages.iter().filter(|m| wanted(m)).map(|m| m.bytes).sum()
    };
    let pair = (Role::Party(1), Role::Party(0));
    let online = bytes(&|m| m.kind == MessageKind::Open && (m.from, m.to) == pair);
    let corrections = bytes(&|m| m.kind == MessageKind::Correction && m.phase == Phase::Offline);
    let totals = [u64::from(plan.rounds()), online, corrections];
    row("in total", totals.map(|cell| cell.to_string()));
    table
}

fn largest(values: &[f32]) -> usize {
    let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(at, _)| at)
}

#[test]
fn small_models_agree_with_the_clear_run() {
    for build in small::ALL {
        let model = build(SEED);
        let Compiled { plan, weights, .. } = compiled(&model, 4);
        let input = sample(&model, 99);
        let expected =
            clear::run(&model.onnx, std::slice::from_ref(&input)).expect("tract runs it");
        let outcome = run(&plan, &weights, &[input.data], SimOptions::default()).expect("it runs");
        let (found, expected) = (&outcome.outputs[0].values, &expected[0].data);
        assert_eq!(found.len(), expected.len(), "{}", model.name);
        let scale = expected.iter().fold(0_f32, |a, b| a.max(b.abs()));
        let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0_f32, f32::max);
        assert!(error < 0.02 * scale, "{}: {error} of {scale}", model.name);
        assert_eq!(largest(found), largest(expected), "{}", model.name);
        assert_eq!(outcome.rounds, plan.rounds(), "{}", model.name);
    }
}

#[test]
fn costs_of_lenet() {
    assert_snapshot!(costs(&compiled(&small::lenet(SEED), 1).plan), @"
                             rounds      bytes  corrections
    conv1                         0          0        18816
    relu1                         4      23520       105840
    conv2                         2       4704        10516
    relu2                         4       8000        36000
    gemm1                         2       1600         1880
    relu3                         4        600         2700
    gemm2                         0          0          336
    relu4                         4        424         1927
    gemm3                         0          0           40
    in total                     20      56251       178055
    ");
}

#[test]
fn costs_of_a_small_resnet() {
    assert_snapshot!(costs(&compiled(&small::small_resnet(SEED), 1).plan), @"
                             rounds      bytes  corrections
    conv1                         0          0        65536
    relu1                         4      81920       368640
    conv2                         0          0        65536
    relu2                         4      81920       368640
    conv3                         0          0        65536
    relu3                         4      81920       368640
    conv4                         0          0        32768
    relu4                         4      40960       184320
    conv5                         0          0        32768
    conv6                         0          0        32768
    relu5                         4      40960       184320
    conv7                         0          0        16384
    relu6                         4      20480        92160
    conv8                         0          0        16384
    conv9                         0          0        16384
    relu7                         4      19456        87040
    gemm1                         0          0           40
    in total                     28     522267      1997864
    ");
}

#[test]
fn costs_of_a_small_mobilenet() {
    assert_snapshot!(costs(&compiled(&small::small_mobilenet(SEED), 1).plan), @"
                             rounds      bytes  corrections
    conv1                         0          0        16384
    hardswish1                    4      72192       205824
    conv2                         3      25600        47104
    clip1                         4      83968       380928
    conv3                         0          0        32768
    clip2                         4      83968       380928
    conv4                         0          0        16384
    conv5                         3      26112        62464
    hardswish2                    4     250368       648192
    conv6                         3      75264        58368
    conv7                         2        192          204
    relu1                         4         64          307
    conv8                         0          0          192
    hardsigmoid1                  4        582         2160
    mul1                          2      19968        21504
    hardswish3                    5      62592       162048
    conv9                         3      18432        18432
    gemm1                         2         96          118
    in total                     40     758534      2054309
    ");
}

#[test]
fn costs_of_a_small_vgg() {
    assert_snapshot!(costs(&compiled(&small::small_vgg(SEED), 1).plan), @"
                             rounds      bytes  corrections
    conv1                         0          0        65536
    relu1                         4      81920       368640
    conv2                         0          0        65536
    relu2                         4      20480       100864
    maxpool1                      7      79872       188928
    conv3                         0          0        32768
    relu3                         4      40960       184320
    conv4                         0          0        32768
    relu4                         4      10240        48896
    maxpool2                      7      36608        80640
    conv5                         0          0        16384
    relu5                         4       5120        24448
    maxpool3                      7      18304        40320
    gemm1                         0          0          512
    relu6                         4        640         2880
    gemm2                         0          0           40
    in total                     42     346667      1253480
    ");
}

#[test]
fn costs_of_resnet50() {
    let model = full::resnet50(SEED);
    assert_snapshot!("resnet50", costs(&compiled(&model, 1).plan));
}

#[test]
#[ignore = "needs 8 GB: cargo test --release --workspace --test it vgg16 -- --ignored"]
fn costs_of_vgg16() {
    let model = full::vgg16(SEED);
    assert_snapshot!("vgg16", costs(&compiled(&model, 1).plan));
}
