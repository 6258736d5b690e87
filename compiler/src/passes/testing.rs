//! Helpers for the tests of passes: graphs from text, and the check that a pass keeps the meaning.

use super::Pass;
use crate::calibrate::{Noise, random_samples};
use mpcc_ir::nn::interp::{Tensor, evaluate};
use mpcc_ir::nn::{Graph, Input, Op, Output, Param, Visibility};
use mpcc_ir::ssa::Program;

/// How far an output may move, as a part of the largest output.
const TOLERANCE: f64 = 1e-5;

/// A graph from the text of its program, with seeded parameters.
pub(crate) fn graph(src: &str) -> Graph {
    let program = Program::parse(src).unwrap_or_else(|error| panic!("{error}\n{src}"));
    let mut graph = Graph { program, ..Graph::default() };
    let mut noise = Noise::new(1);
    for value in graph.program.ids() {
        let node = &graph.program[value];
        if let Op::Input { port } = node.op {
            graph.inputs.push(Input { name: port.to_string(), value });
        }
        if let Op::Param { id } = node.op
            && id.index() == graph.params.len()
        {
            let shape = node.ty.shape.clone();
            graph.params.push(Param {
                name: id.to_string(),
                data: noise.normal(shape.elements()),
                shape,
                public: node.ty.visibility == Visibility::Public,
            });
        }
    }
    let output = |(at, &value): (usize, &mpcc_ir::Id)| Output {
        name: format!("output{at}"),
        value,
        clear: Vec::new(),
    };
    graph.outputs = graph.program.outputs.iter().enumerate().map(output).collect();
    graph
}

/// The program that `pass` makes of `src`, after checking that it is well formed and that its
/// outputs on seeded inputs and parameters are the same.
pub(crate) fn after(pass: Pass, src: &str) -> String {
    after_with(pass, graph(src))
}

/// As [`after`], for a graph with parameters of the test's choice.
pub(crate) fn after_with(pass: Pass, mut graph: Graph) -> String {
    let before = graph.clone();
    pass(&mut graph);
    assert_same_meaning(&before, &graph);
    graph.program.to_string()
}

/// Checks that both graphs are well formed and give the same outputs on three seeded inputs.
pub(crate) fn assert_same_meaning(before: &Graph, after: &Graph) {
    before.verify().unwrap_or_else(|error| panic!("before the pass: {error}\n{}", before.program));
    after.verify().unwrap_or_else(|error| panic!("after the pass: {error}\n{}", after.program));
    for seed in 0..3 {
        let inputs = random_samples(before, seed);
        let want = evaluate(before, &inputs).expect("the program before the pass runs");
        let found = evaluate(after, &inputs).expect("the program after the pass runs");
        assert_eq!(want.len(), found.len(), "number of outputs");
        for (want, found) in want.iter().zip(&found) {
            assert_close(want, found, seed, after);
        }
    }
}

fn assert_close(want: &Tensor, found: &Tensor, seed: u64, after: &Graph) {
    assert_eq!(want.shape, found.shape);
    let most = want.data.iter().fold(1.0, |most, x| x.abs().max(most));
    for (at, (x, y)) in want.data.iter().zip(&found.data).enumerate() {
        let error = (f64::from(*x) - f64::from(*y)).abs();
        assert!(
            error <= TOLERANCE * f64::from(most),
            "element {at}, seed {seed}: {x} became {y}\n{}",
            after.program
        );
    }
}
