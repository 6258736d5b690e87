//! Snapshots of small models.

use super::*;
use insta::assert_snapshot;
use mpcc_ir::nn::{Input, Output, Param};
use mpcc_ir::ssa::Program;

/// The graph of an nn text; parameters hold a fixed pattern of magnitude at most 0.5.
pub(super) fn graph(text: &str) -> Graph {
    let program: Program<mpcc_ir::nn::Nn> = Program::parse(text).unwrap();
    program.verify().unwrap();
    let mut graph = Graph { program, ..Graph::default() };
    for id in graph.program.ids() {
        match &graph.program[id].op {
            mpcc_ir::nn::Op::Input { .. } => {
                graph.inputs.push(Input { name: format!("in{}", id.0), value: id })
            }
            mpcc_ir::nn::Op::Param { .. } => {
                let ty = &graph.program[id].ty;
                let data =
                    (0..ty.shape.elements()).map(|i| ((i * 37 + 11) % 64) as f32 / 64.0 - 0.5);
                let public = ty.visibility == mpcc_ir::nn::Visibility::Public;
                graph.params.push(Param {
                    name: format!("w{}", id.0),
                    shape: ty.shape.clone(),
                    data: data.collect(),
                    public,
                });
            }
            _ => {}
        }
    }
    for id in &graph.program.outputs {
        graph.outputs.push(Output { name: format!("out{}", id.0), value: *id, clear: Vec::new() });
    }
    graph
}

fn lowered(text: &str) -> String {
    let options = LowerOptions { ring: RingChoice::R32, ..LowerOptions::default() };
    lower(&graph(text), &options).unwrap().program.to_string()
}

#[test]
fn a_convolution_is_opened_once_and_relu_lifts_it() {
    assert_snapshot!(lowered("nn {
        %0 = input port port0 : secret[1x1x8x8] in [-1, 1]
        %1 = param id w0 : weight[2x1x3x3]
        %2 = conv %0, %1 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : secret[1x2x8x8] in [-3, 3]
        %3 = relu %2 : secret[1x2x8x8] in [0, 3]
        %4 = param id w1 : weight[2x2x1x1]
        %5 = conv %3, %4 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x2x8x8] in [-3, 3]
        return %5
    }"), @"");
}
