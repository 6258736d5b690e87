//! Random graphs through the whole pipeline: combinations that nobody thought of.

use super::PIPELINE;
use super::testing::graph;
use crate::calibrate::random_samples;
use mpcc_ir::Shape;
use mpcc_ir::nn::Graph;
use mpcc_ir::nn::interp::{evaluate, evaluate_all};
use std::fmt::Write as _;

/// Writes the text of a random graph over images of one batch item.
struct Writer {
    state: u64,
    text: String,
    /// Shape of every value; empty for parameters and their expansions.
    shapes: Vec<Vec<usize>>,
    params: usize,
}

impl Writer {
    fn below(&mut self, n: usize) -> usize {
        self.state =
            self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.state >> 33) as usize % n
    }

    fn push(&mut self, line: &str, visibility: &str, shape: &[usize]) -> usize {
        let id = self.shapes.len();
        let _ = writeln!(self.text, "%{id} = {line} : {visibility}{}", Shape::of(shape));
        self.shapes.push(if visibility == "secret" { shape.to_vec() } else { Vec::new() });
        id
    }

    fn param(&mut self, shape: &[usize]) -> (usize, &'static str) {
        let visibility = if self.below(3) == 0 { "public" } else { "weight" };
        self.params += 1;
        (self.push(&format!("param id w{}", self.params - 1), visibility, shape), visibility)
    }

    /// A secret value, rather a late one.
    fn value(&mut self) -> (usize, Vec<usize>) {
        loop {
            let back = self.below(6).min(self.shapes.len() - 1);
            let id = self.shapes.len() - 1 - back;
            if !self.shapes[id].is_empty() {
                return (id, self.shapes[id].clone());
            }
        }
    }

    fn step(&mut self) {
        let (x, s) = self.value();
        let (c, h, w) = (s[1], s[2], s[3]);
        match self.below(18) {
            0..=2 => {
                let ops =
                    ["relu", "abs", "hard_swish", "relu", "leaky_relu", "clip", "hard_sigmoid"];
                let fields =
                    ["", "", "", "", " alpha 0.25", " lo -0.5 hi 0.75", " alpha 0.25 beta 0.5"];
                let pick = self.below(ops.len());
                self.push(&format!("{} %{x}{}", ops[pick], fields[pick]), "secret", &s);
            }
            3 => {
                self.push(&format!("scale %{x} by -0.5"), "secret", &s);
            }
            4 => {
                self.push(&format!("scale %{x} by 1.5"), "secret", &s);
            }
            5 => {
                self.push(&format!("offset %{x} by 0.25"), "secret", &s);
            }
            6..=9 => self.with_param(x, &s),
            10 => {
                let same = (0..self.shapes.len()).rev().filter(|i| self.shapes[*i] == s);
                let same: Vec<usize> = same.take(4).collect();
                let y = same[self.below(same.len())];
                let op = ["add", "sub", "max", "min", "mul"][self.below(5)];
                self.push(&format!("{op} %{x}, %{y}"), "secret", &s);
            }
            11 | 12 => self.conv(x, &s),
            13 if h > 2 && w > 2 => {
                let pad = self.below(2);
                let op = ["max_pool", "avg_pool"][self.below(2)];
                let tail = if op == "avg_pool" {
                    [" count_pad true", " count_pad false"][self.below(2)]
                } else {
                    ""
                };
                let out = [1, c, (h + 2 * pad - 2) / 2 + 1, (w + 2 * pad - 2) / 2 + 1];
                let line = format!(
                    "{op} %{x} window 2x2 stride 2x2 dilate 1x1 pad [{pad}, {pad}, {pad}, {pad}]{tail}"
                );
                self.push(&line, "secret", &out);
            }
            14 => {
                let line = format!("transpose %{x} perm [0, 1, 3, 2]");
                self.push(&line, "secret", &[1, c, w, h]);
            }
            15 => {
                self.push(&format!("reshape %{x}"), "secret", &[1, c, 1, h * w]);
            }
            16 if h * w > 1 => {
                let op = ["reduce_sum", "reduce_mean", "reduce_max"][self.below(3)];
                let least = self.push(&format!("{op} %{x} axes [2, 3]"), "secret", &[1, c, 1, 1]);
                if self.below(2) == 0 {
                    self.push(&format!("expand %{least}"), "secret", &s);
                }
            }
            17 if h * w < 100 => {
                let value = ["0", "1"][self.below(2)];
                let line = format!(
                    "pad %{x} before [0, 0, 1, 0] after [0, 0, 0, 1] interior [0, 0, 0, 0] value {value}"
                );
                self.push(&line, "secret", &[1, c, h + 1, w + 1]);
            }
            _ => {
                let line = format!("gather %{x} axis 1 indices [0, {}]", c - 1);
                self.push(&line, "secret", &[1, 2, h, w]);
            }
        }
    }

    /// An element-wise operation with an expanded parameter, or a product with a matrix.
    fn with_param(&mut self, x: usize, s: &[usize]) {
        let small =
            [[1, s[1], 1, 1], [1, 1, 1, 1], [1, 1, 1, s[3]], [1, s[1], s[2], s[3]]][self.below(4)];
        if self.below(5) == 0 {
            let columns = 1 + self.below(3);
            let (weight, _) = self.param(&[s[3], columns]);
            self.push(&format!("matmul %{x}, %{weight}"), "secret", &[1, s[1], s[2], columns]);
            return;
        }
        let (mut p, visibility) = self.param(&small);
        if small != s {
            p = self.push(&format!("expand %{p}"), visibility, s);
        }
        let op = ["mul", "add", "sub", "max", "prelu", "mul"][self.below(6)];
        let mirrored = op != "prelu" && self.below(3) == 0;
        let (a, b) = if mirrored { (p, x) } else { (x, p) };
        self.push(&format!("{op} %{a}, %{b}"), "secret", s);
    }

    fn conv(&mut self, x: usize, s: &[usize]) {
        let groups = if self.below(2) == 0 && s[1] <= 4 { s[1] } else { 1 };
        let (out, kernel) = (groups * (1 + self.below(2)), (1 + self.below(2)).min(s[2]).min(s[3]));
        let pad = self.below(2);
        let (weight, _) = self.param(&[out, s[1] / groups, kernel, kernel]);
        let bias = if self.below(2) == 0 {
            let (bias, _) = self.param(&[out]);
            format!(", %{bias}")
        } else {
            String::new()
        };
        let line = format!(
            "conv %{x}, %{weight}{bias} window {kernel}x{kernel} stride 1x1 dilate 1x1 \
             pad [{pad}, 0, 0, {pad}] groups {groups}"
        );
        self.push(&line, "secret", &[1, out, s[2] + pad + 1 - kernel, s[3] + pad + 1 - kernel]);
    }
}

fn random_graph(seed: u64) -> Graph {
    let mut writer = Writer {
        state: seed.wrapping_mul(0x9e37_79b9),
        text: String::new(),
        shapes: vec![],
        params: 0,
    };
    writer.push("input port port0", "secret", &[1, 2, 4, 4]);
    for _ in 0..14 {
        writer.step();
    }
    let (last, _) = writer.value();
    let (other, _) = writer.value();
    graph(&format!("nn {{ {} return %{last}, %{other} }}", writer.text))
}

/// The largest magnitude that any value takes, which rounding errors are a part of.
fn magnitude(graph: &Graph, seed: u64) -> f32 {
    let mut most = 1.0f32;
    let mut visit = |_, tensor: &mpcc_ir::nn::interp::Tensor| {
        most = tensor.data.iter().fold(most, |most, x| most.max(x.abs()));
    };
    evaluate_all(graph, &random_samples(graph, seed), &mut visit).expect("the graph runs");
    most
}

#[test]
fn random_graphs_keep_their_meaning() {
    for seed in 0..400 {
        let before = random_graph(seed);
        let inputs = random_samples(&before, seed);
        let want = evaluate(&before, &inputs).unwrap_or_else(|e| panic!("{e}\n{}", before.program));
        let mut after = before.clone();
        for (name, pass) in PIPELINE {
            let last = after.clone();
            pass(&mut after);
            let place = || format!("seed {seed}, {name}:\n{}\n{}", last.program, after.program);
            assert_eq!(after.verify(), Ok(()), "{}", place());
            let found = evaluate(&after, &inputs).expect("a verified graph runs");
            let tolerance = 2e-5 * magnitude(&before, seed).max(magnitude(&after, seed));
            for (want, found) in want.iter().zip(&found) {
                assert_eq!(want.shape, found.shape, "{}", place());
                let near =
                    want.data.iter().zip(&found.data).all(|(x, y)| (x - y).abs() <= tolerance);
                assert!(near, "{}", place());
            }
        }
        assert_eq!(after.is_core(), Ok(()), "seed {seed}");
    }
}
