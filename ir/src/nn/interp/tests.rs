//! Each operation against a definition written out by hand, and the kernels against plain loops.

use super::*;
use crate::id::ParamId;
use crate::nn::{ClearOp, Input, Output, Param};
use crate::ssa::Program;
use crate::window::Window;

/// A graph from text: inputs in order of appearance, parameters given by their data.
fn graph(text: &str, params: &[&[f32]]) -> Graph {
    let program = Program::parse(text).expect("the test's program parses");
    let mut graph = Graph { program, ..Graph::default() };
    for id in graph.program.ids() {
        if let Op::Input { port } = graph.program[id].op {
            graph.inputs.push(Input { name: port.to_string(), value: id });
        }
        if let Op::Param { id: ParamId(at) } = graph.program[id].op {
            graph.params.push(Param {
                name: format!("w{at}"),
                shape: graph.program[id].ty.shape.clone(),
                data: params[at as usize].to_vec(),
                public: false,
            });
        }
    }
    let output = |value: &Id| Output { name: "y".into(), value: *value, clear: Vec::new() };
    graph.outputs = graph.program.outputs.iter().map(output).collect();
    graph
}

fn tensor(dims: &[usize], data: &[f32]) -> Tensor {
    Tensor::new(Shape::of(dims), data.to_vec()).expect("the test's data fill the shape")
}

/// Evaluates `line`, which defines `%1` from the input `%0`.
fn unary(dims: &[usize], x: &[f32], line: &str) -> Vec<f32> {
    let text =
        format!("nn {{ %0 = input port port0 : secret{} %1 = {line} return %1 }}", Shape::of(dims));
    let out = evaluate(&graph(&text, &[]), &[tensor(dims, x)]).expect("the test's program runs");
    out[0].data.clone()
}

/// Numbers without pattern in (-1, 1), the same on every run.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn element_wise_operations() {
    let x = [-4.0, -1.0, 0.0, 2.0, 7.0];
    let run = |line: &str| unary(&[5], &x, &format!("{line} : secret[5]"));
    assert_eq!(run("relu %0"), [0.0, 0.0, 0.0, 2.0, 7.0]);
    assert_eq!(run("scale %0 by -0.5"), [2.0, 0.5, 0.0, -1.0, -3.5]);
    assert_eq!(run("offset %0 by 1.5"), [-2.5, 0.5, 1.5, 3.5, 8.5]);
    assert_eq!(run("clip %0 lo -inf hi 6"), [-4.0, -1.0, 0.0, 2.0, 6.0]);
    assert_eq!(run("leaky_relu %0 alpha 0.25"), [-1.0, -0.25, 0.0, 2.0, 7.0]);
    assert_eq!(run("hard_sigmoid %0 alpha 0.25 beta 0.5"), [0.0, 0.25, 0.5, 1.0, 1.0]);
    assert_eq!(run("hard_swish %0"), [0.0, -1.0 / 3.0, 0.0, 5.0 / 3.0, 7.0]);
    assert_eq!(run("abs %0"), [4.0, 1.0, 0.0, 2.0, 7.0]);
    assert_eq!(run("pow %0 n 3"), [-64.0, -1.0, 0.0, 8.0, 343.0]);
}

#[test]
fn pairs_of_tensors() {
    let run = |op: &str| {
        let text = format!(
            "nn {{ %0 = input port port0 : secret[3] %1 = param id w0 : weight[3]
             %2 = {op} %0, %1 : secret[3] return %2 }}"
        );
        let graph = graph(&text, &[&[2.0, 3.0, -1.0]]);
        evaluate(&graph, &[tensor(&[3], &[5.0, -2.0, -4.0])]).unwrap()[0].data.clone()
    };
    assert_eq!(run("add"), [7.0, 1.0, -5.0]);
    assert_eq!(run("sub"), [3.0, -5.0, -3.0]);
    assert_eq!(run("mul"), [10.0, -6.0, 4.0]);
    assert_eq!(run("max"), [5.0, 3.0, -1.0]);
    assert_eq!(run("min"), [2.0, -2.0, -4.0]);
    assert_eq!(run("prelu"), [5.0, -6.0, 4.0]);
}

#[test]
fn moves_of_elements() {
    let x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    let run = |line: &str| unary(&[2, 3], &x, line);
    assert_eq!(run("reshape %0 : secret[3x2]"), x);
    assert_eq!(run("transpose %0 perm [1, 0] : secret[3x2]"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(run("slice %0 starts [1, 2] steps [-1, -2] : secret[2x2]"), [5.0, 3.0, 2.0, 0.0]);
    assert_eq!(
        run("pad %0 before [0, 1] after [0, 0] interior [1, 0] value 9 : secret[3x4]"),
        [9.0, 0.0, 1.0, 2.0, 9.0, 9.0, 9.0, 9.0, 9.0, 3.0, 4.0, 5.0]
    );
    assert_eq!(run("gather %0 axis 1 indices [2, 0, 2] : secret[2x3]"), [2., 0., 2., 5., 3., 5.]);
    assert_eq!(unary(&[2, 1], &[1.0, 2.0], "expand %0 : secret[2x2]"), [1.0, 1.0, 2.0, 2.0]);
    assert_eq!(
        run("concat %0, %0 axis 1 : secret[2x6]"),
        [0., 1., 2., 0., 1., 2., 3., 4., 5., 3., 4., 5.]
    );
    assert_eq!(unary(&[], &[3.0], "scale %0 by 2 : secret[]"), [6.0]);
}

#[test]
fn reductions_and_pooling() {
    let x = [1.0, 5.0, 3.0, 2.0, 4.0, 9.0];
    let run = |line: &str| unary(&[2, 3], &x, line);
    assert_eq!(run("reduce_sum %0 axes [1] : secret[2x1]"), [9.0, 15.0]);
    assert_eq!(run("reduce_max %0 axes [0] : secret[1x3]"), [2.0, 5.0, 9.0]);
    assert_eq!(run("reduce_mean %0 axes [0, 1] : secret[1x1]"), [4.0]);
    let pool = |op: &str, tail: &str| {
        let line = format!(
            "{op} %0 window 2x2 stride 1x1 dilate 1x1 pad [1, 0, 0, 0]{tail} : secret[1x1x2x2]"
        );
        unary(&[1, 1, 2, 3], &x.map(|x| -x), &line)
    };
    assert_eq!(pool("max_pool", ""), [-1.0, -3.0, -1.0, -3.0]);
    assert_eq!(pool("avg_pool", " count_pad true"), [-1.5, -2.0, -3.0, -5.25]);
    assert_eq!(pool("avg_pool", " count_pad false"), [-3.0, -4.0, -3.0, -5.25]);
}

#[test]
fn matrix_products_of_odd_sizes() {
    for (m, k, n) in [(1, 1, 1), (3, 5, 7), (5, 300, 17), (2, 513, 131), (7, 4, 1)] {
        let (a, b) = (noise(m * k, 1), noise(k * n, 2));
        let text = format!(
            "nn {{ %0 = input port port0 : secret[{m}x{k}] %1 = param id w0 : weight[{k}x{n}]
             %2 = matmul %0, %1 : secret[{m}x{n}] return %2 }}"
        );
        let out = &evaluate(&graph(&text, &[&b]), &[tensor(&[m, k], &a)]).unwrap()[0].data;
        for (at, found) in out.iter().enumerate() {
            let term = |i: usize| f64::from(a[at / n * k + i]) * f64::from(b[i * n + at % n]);
            let want: f64 = (0..k).map(term).sum();
            assert!((want - f64::from(*found)).abs() < 2e-5, "{m}x{k}x{n} at {at}");
        }
    }
}

#[test]
fn batched_matrix_product() {
    let text = "nn { %0 = input port port0 : secret[2x1x2] %1 = param id w0 : weight[2x2x1]
                %2 = matmul %0, %1 : secret[2x1x1] return %2 }";
    let graph = graph(text, &[&[1.0, 10.0, 100.0, 1000.0]]);
    let out = evaluate(&graph, &[tensor(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0])]).unwrap();
    assert_eq!(out[0].data, [21.0, 4300.0]);
}

#[test]
fn convolution_with_groups_strides_dilations_and_padding() {
    let (x, w, bias) = (noise(2 * 4 * 9 * 8, 3), noise(6 * 2 * 3 * 2, 4), noise(6, 5));
    let text = "nn { %0 = input port port0 : secret[2x4x9x8] %1 = param id w0 : weight[6x2x3x2]
                %2 = param id w1 : weight[6]
                %3 = conv %0, %1, %2 window 3x2 stride 2x1 dilate 1x3 pad [1, 2, 0, 1] groups 2
                   : secret[2x6x4x8] return %3 }";
    let out = evaluate(&graph(text, &[&w, &bias]), &[tensor(&[2, 4, 9, 8], &x)]).unwrap();
    let window = Window { kernel: [3, 2], strides: [2, 1], dilations: [1, 3], pads: [1, 2, 0, 1] };
    for at in 0..2 * 6 * 4 * 8 {
        let (n, o, oy, ox) = (at / 192, at / 32 % 6, at / 8 % 4, at % 8);
        let mut want = f64::from(bias[o]);
        for (c, ky, kx) in (0..12).map(|i| (i / 6, i / 2 % 3, i % 2)) {
            let y = window.input_at(0, oy, ky, 9);
            if let (Some(y), Some(x_at)) = (y, window.input_at(1, ox, kx, 8)) {
                let value = x[((n * 4 + o / 3 * 2 + c) * 9 + y) * 8 + x_at];
                want += f64::from(value) * f64::from(w[((o * 2 + c) * 3 + ky) * 2 + kx]);
            }
        }
        assert!((want - f64::from(out[0].data[at])).abs() < 1e-5, "element {at}");
    }
}

#[test]
fn depthwise_convolution() {
    let (x, w) = (noise(2 * 3 * 7 * 6, 6), noise(6 * 3 * 3, 7));
    for (stride, pads, [height, width]) in [(1, [1, 1, 1, 1], [7, 6]), (2, [2, 0, 1, 2], [4, 3])] {
        let window = Window { kernel: [3, 3], strides: [stride, stride], dilations: [1, 1], pads };
        let text = format!(
            "nn {{ %0 = input port port0 : secret[2x3x7x6] %1 = param id w0 : weight[6x1x3x3]
             %2 = conv %0, %1 window 3x3 stride {stride}x{stride} dilate 1x1 pad {pads:?} groups 3
                : secret[2x6x{height}x{width}] return %2 }}"
        );
        let out = evaluate(&graph(&text, &[&w]), &[tensor(&[2, 3, 7, 6], &x)]).unwrap();
        for (at, found) in out[0].data.iter().enumerate() {
            let (plane, oy, ox) = (at / (height * width), at / width % height, at % width);
            let term = |tap: usize| {
                let y = window.input_at(0, oy, tap / 3, 7)?;
                let x_at = window.input_at(1, ox, tap % 3, 6)?;
                Some(x[(plane / 2 * 7 + y) * 6 + x_at] * w[plane % 6 * 9 + tap])
            };
            let want: f32 = (0..9).filter_map(term).sum();
            assert!((want - found).abs() < 1e-5, "stride {stride}, element {at}");
        }
    }
}

#[test]
fn operations_after_the_reveal() {
    let x = tensor(&[2, 3], &[0.0, 3.0, 3.0, 1.0, 0.0, 1.0]);
    let first = apply_clear(&ClearOp::ArgMax { axis: 1, last: false }, x.clone()).unwrap();
    assert_eq!(first, tensor(&[2, 1], &[1.0, 0.0]));
    let last = apply_clear(&ClearOp::ArgMax { axis: 1, last: true }, x.clone()).unwrap();
    assert_eq!(last.data, [2.0, 2.0]);
    let soft = apply_clear(&ClearOp::Softmax { axis: 0 }, x.clone()).unwrap();
    assert!((soft.data[0] + soft.data[3] - 1.0).abs() < 1e-6 && soft.data[3] > 0.73);
    let sigmoid = apply_clear(&ClearOp::Sigmoid, x.clone()).unwrap();
    assert!((sigmoid.data[1] - 0.952_574).abs() < 1e-6);
    let flat = apply_clear(&ClearOp::Reshape { shape: Shape::of(&[6]) }, x.clone()).unwrap();
    assert_eq!(flat.shape, Shape::of(&[6]));
    let bad = apply_clear(&ClearOp::Softmax { axis: 2 }, x);
    assert!(matches!(bad, Err(EvalError::Clear { op: "softmax", .. })));
}

#[test]
fn what_does_not_fit_is_refused() {
    let text = "nn { %0 = input port port0 : secret[3] %1 = relu %0 : secret[3] return %1 }";
    let good = graph(text, &[]);
    assert_eq!(evaluate(&good, &[]), Err(EvalError::InputCount { want: 1, found: 0 }));
    let wrong = evaluate(&good, &[tensor(&[4], &[0.0; 4])]);
    assert!(matches!(wrong, Err(EvalError::InputShape { .. })));
    let mut bad = good;
    bad.program.nodes[1].ty.shape = Shape::of(&[4]);
    let wrong = evaluate(&bad, &[tensor(&[3], &[0.0; 3])]);
    assert!(matches!(wrong, Err(EvalError::Malformed(_))));
}

#[test]
fn values_are_shown_in_order() {
    let text = "nn { %0 = input port port0 : secret[2] %1 = relu %0 : secret[2]
                %2 = add %0, %1 : secret[2] return %2 }";
    let mut seen = Vec::new();
    let mut visit = |id: Id, value: &Tensor| seen.push((id.0, value.data.clone()));
    evaluate_all(&graph(text, &[]), &[tensor(&[2], &[-1.0, 1.0])], &mut visit).unwrap();
    let want = [(0, vec![-1.0, 1.0]), (1, vec![0.0, 1.0]), (2, vec![-1.0, 2.0])];
    assert_eq!(seen, want);
}

#[test]
#[ignore = "a measurement: cargo test --release -p mpcc-ir conv_rate -- --ignored --nocapture"]
fn conv_rate() {
    for (c, size, kernel) in [(64, 56, 3), (256, 56, 1), (512, 7, 3), (2048, 7, 1)] {
        let (x, w) = (noise(c * size * size, 1), noise(c * c * kernel * kernel, 2));
        let pad = kernel / 2;
        let text = format!(
            "nn {{ %0 = input port port0 : secret[1x{c}x{size}x{size}]
             %1 = param id w0 : weight[{c}x{c}x{kernel}x{kernel}]
             %2 = conv %0, %1 window {kernel}x{kernel} stride 1x1 dilate 1x1 pad [{pad}, {pad}, {pad}, {pad}]
                groups 1 : secret[1x{c}x{size}x{size}] return %2 }}"
        );
        let graph = graph(&text, &[&w]);
        let input = [tensor(&[1, c, size, size], &x)];
        let start = std::time::Instant::now();
        let out = evaluate(&graph, &input).unwrap();
        let rate = (w.len() * size * size) as f64 / start.elapsed().as_secs_f64() / 1e9;
        assert_eq!(out[0].data.len(), x.len());
        assert!(rate > 1.0, "{rate} G multiply-adds a second for {c}x{size}x{size} by {kernel}");
    }
}
