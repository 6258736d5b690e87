//! Costs beyond the specification's cases, and the expansion of the smallest programs as text.

use super::super::ExpandOptions;
use super::expanded;
use insta::assert_snapshot;
use mpcc_ir::plan::WeightsMode;
use mpcc_ir::views::cost::{by_origin, edges, total};

/// Cost of a ReLU of one element.
fn relu(n: u8, k: u8, block: u8) -> (String, usize) {
    let text = format!(
        "program {{
           %0 = input port port0 mask m0 : masked<{n}>[1]
           %1 = relu %0 mask m1 : masked<{k}>[1]
           %2 = reveal %1 port port0 : masked<{k}>[1]
           return %2
         }}"
    );
    let (_, views) = expanded(&text, &ExpandOptions { block, ..ExpandOptions::default() });
    (total(&views).to_string(), views.nodes.len())
}

#[test]
fn a_relu_costs_what_the_protocols_say() {
    assert_eq!(relu(25, 32, 4).0, "3 rounds, 44 bits each way, 284 dealt");
}

#[test]
fn beyond_six_blocks_a_round_saves_corrections() {
    // In one level these would be 80 online bits and 736 corrections in three rounds.
    assert_eq!(relu(32, 64, 4).0, "4 rounds, 85 bits each way, 389 dealt");
    assert_eq!(relu(64, 64, 4).0, "4 rounds, 105 bits each way, 437 dealt");
}

#[test]
fn a_relu_takes_hundreds_of_nodes() {
    let (_, nodes) = relu(25, 32, 4);
    assert!(nodes < 700, "{nodes} nodes");
}

const CONV: &str = "program {
  %0 = input port port0 mask m0 : masked<32>[1x1x2x2]
  %1 = weight param w0 mask m1 : weight<32>[1x1x1x1]
  %2 = weight param w1 mask m2 : weight<32>[1]
  %3 = conv %0, %1, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32>[1x1x2x2]
  %4 = rescale %3 by 8 mask m3 : masked<20q-8>[1x1x2x2]
  %5 = reveal %4 port port0 : masked<20q-8>[1x1x2x2]
  return %5
}";

fn views(weights: WeightsMode) -> String {
    let (_, views) = expanded(CONV, &ExpandOptions { weights, ..ExpandOptions::default() });
    let costs: Vec<String> = by_origin(&views).iter().map(|(at, c)| format!("%{at}: {c}")).collect();
    let edges = edges(&views);
    let weights = edges.weight_bits;
    format!("{views}\n{}; {}\nweights: {weights} bits", costs.join("\n"), total(&views))
}

#[test]
fn a_convolution_with_weights_of_p0() {
    assert_snapshot!(views(WeightsMode::Party0), @"");
}

#[test]
fn a_convolution_with_weights_of_an_outside_owner() {
    assert_snapshot!(views(WeightsMode::Owner), @"");
}

#[test]
fn a_convolution_with_public_weights() {
    assert_snapshot!(views(WeightsMode::Public), @"");
}
