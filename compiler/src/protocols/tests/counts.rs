//! Costs beyond the specification's cases, and the expansion of the smallest programs as text.

use super::super::ExpandOptions;
use super::expanded;
use insta::assert_snapshot;
use mpcc_ir::plan::WeightsMode;
use mpcc_ir::views::cost::{Cost, by_origin, edges, total};

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
    assert_eq!(relu(64, 64, 4).0, "4 rounds, 105 bits each way, 445 dealt");
}

#[test]
fn a_relu_takes_hundreds_of_nodes() {
    let (_, nodes) = relu(25, 32, 4);
    assert!(nodes < 1000, "{nodes} nodes");
}

const CONV: &str = "program {
  %0 = input port port0 mask m0 : masked<32>[1x2x2x1]
  %1 = weight param w0 mask m1 : weight<32>[1x1x1x1]
  %2 = weight param w1 mask m2 : weight<32>[1]
  %3 = conv %0, %1, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32>[1x2x2x1]
  %4 = rescale %3 by 8 mask m3 : masked<20q-8>[1x2x2x1]
  %5 = reveal %4 port port0 : masked<20q-8>[1x2x2x1]
  return %5
}";

fn views(weights: WeightsMode) -> String {
    let (_, views) = expanded(CONV, &ExpandOptions { weights, ..ExpandOptions::default() });
    let costs: Vec<String> = by_origin(&views)
        .iter()
        .filter(|(_, c)| **c != Cost::default())
        .map(|(at, c)| format!("%{at}: {c}"))
        .collect();
    let edges = edges(&views);
    let weights = edges.weight_bits;
    format!("{views}\n{}; {}\nweights: {weights} bits", costs.join("\n"), total(&views))
}

#[test]
fn a_convolution_with_weights_of_p0() {
    assert_snapshot!(views(WeightsMode::Party0), @"
    views {
      %0 = random value 0 once false p0 false : mask<32>[1x2x2x1] @0
      %1 = input_delta %0 port port0 : delta<32>[1x2x2x1] @0
      %2 = weight_plain param w0 : share0<32>[1x1x1x1] @1
      %3 = random value 1 once true p0 true : mask<32>[1x1x1x1] @1
      %4 = weight_delta %3 param w0 : delta<32>[1x1x1x1] @1
      %5 = weight_plain param w1 : share0<32>[1] @2
      %6 = reshape %5 : share0<32>[1x1x1x1] @3
      %7 = expand %6 : share0<32>[1x2x2x1] @3
      %8 = conv %1, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : share0<32>[1x2x2x1] @3
      %9 = conv %0, %3 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : dealt<32>[1x2x2x1] @3
      %10 = deal %9 value 3 zeros 0 : mask<32>[1x2x2x1] @3
      %11 = conv %0, %4 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : share<32>[1x2x2x1] @3
      %12 = sub %10, %11 : share<32>[1x2x2x1] @3
      %13 = add %12, %7 : share<32>[1x2x2x1] @3
      %14 = add %8, %13 : share<32>[1x2x2x1] @3
      %15 = narrow %14 : share<28>[1x2x2x1] @4
      %16 = const value 255 : public<28>[1x2x2x1] @4
      %17 = at_p0 %16 : share0<28>[1x2x2x1] @4
      %18 = add %15, %17 : share<28>[1x2x2x1] @4
      %19 = shr %18 by 8 : share<28>[1x2x2x1] @4
      %20 = narrow %19 : share<20>[1x2x2x1] @4
      %21 = random value 4 once false p0 false : mask<20>[1x2x2x1] @4
      %22 = open %20, %21 : delta<20>[1x2x2x1] @4
      %23 = reveal %22, %21 port port0 : delta<20>[1x2x2x1] @5
      return %23
    }
    %3: 0 rounds, 0 bits each way, 128 dealt
    %4: 1 round, 80 bits each way, 0 dealt; 1 round, 80 bits each way, 128 dealt
    weights: 32 bits
    ");
}

#[test]
fn a_convolution_with_weights_of_an_outside_owner() {
    assert_snapshot!(views(WeightsMode::Owner), @"
    views {
      %0 = random value 0 once false p0 false : mask<32>[1x2x2x1] @0
      %1 = input_delta %0 port port0 : delta<32>[1x2x2x1] @0
      %2 = random value 1 once true p0 false : mask<32>[1x1x1x1] @1
      %3 = weight_delta %2 param w0 : delta<32>[1x1x1x1] @1
      %4 = at_p0 %3 : share0<32>[1x1x1x1] @1
      %5 = sub %4, %2 : share<32>[1x1x1x1] @1
      %6 = random value 2 once true p0 false : mask<32>[1] @2
      %7 = weight_delta %6 param w1 : delta<32>[1] @2
      %8 = at_p0 %7 : share0<32>[1] @2
      %9 = sub %8, %6 : share<32>[1] @2
      %10 = reshape %9 : share<32>[1x1x1x1] @3
      %11 = expand %10 : share<32>[1x2x2x1] @3
      %12 = conv %1, %5 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : share<32>[1x2x2x1] @3
      %13 = conv %0, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : dealt<32>[1x2x2x1] @3
      %14 = deal %13 value 3 zeros 0 : mask<32>[1x2x2x1] @3
      %15 = conv %0, %3 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : share<32>[1x2x2x1] @3
      %16 = sub %14, %15 : share<32>[1x2x2x1] @3
      %17 = add %16, %11 : share<32>[1x2x2x1] @3
      %18 = add %12, %17 : share<32>[1x2x2x1] @3
      %19 = narrow %18 : share<28>[1x2x2x1] @4
      %20 = const value 255 : public<28>[1x2x2x1] @4
      %21 = at_p0 %20 : share0<28>[1x2x2x1] @4
      %22 = add %19, %21 : share<28>[1x2x2x1] @4
      %23 = shr %22 by 8 : share<28>[1x2x2x1] @4
      %24 = narrow %23 : share<20>[1x2x2x1] @4
      %25 = random value 4 once false p0 false : mask<20>[1x2x2x1] @4
      %26 = open %24, %25 : delta<20>[1x2x2x1] @4
      %27 = reveal %26, %25 port port0 : delta<20>[1x2x2x1] @5
      return %27
    }
    %3: 0 rounds, 0 bits each way, 128 dealt
    %4: 1 round, 80 bits each way, 0 dealt; 1 round, 80 bits each way, 128 dealt
    weights: 64 bits
    ");
}

#[test]
fn a_convolution_with_public_weights() {
    assert_snapshot!(views(WeightsMode::Public), @"
    views {
      %0 = random value 0 once false p0 false : mask<32>[1x2x2x1] @0
      %1 = input_delta %0 port port0 : delta<32>[1x2x2x1] @0
      %2 = weight_plain param w0 : public<32>[1x1x1x1] @1
      %3 = weight_plain param w1 : public<32>[1] @2
      %4 = at_p0 %3 : share0<32>[1] @3
      %5 = reshape %4 : share0<32>[1x1x1x1] @3
      %6 = expand %5 : share0<32>[1x2x2x1] @3
      %7 = at_p0 %1 : share0<32>[1x2x2x1] @3
      %8 = conv %7, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : share0<32>[1x2x2x1] @3
      %9 = conv %0, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : mask<32>[1x2x2x1] @3
      %10 = sub %6, %9 : share<32>[1x2x2x1] @3
      %11 = add %8, %10 : share<32>[1x2x2x1] @3
      %12 = narrow %11 : share<28>[1x2x2x1] @4
      %13 = const value 255 : public<28>[1x2x2x1] @4
      %14 = at_p0 %13 : share0<28>[1x2x2x1] @4
      %15 = add %12, %14 : share<28>[1x2x2x1] @4
      %16 = shr %15 by 8 : share<28>[1x2x2x1] @4
      %17 = narrow %16 : share<20>[1x2x2x1] @4
      %18 = random value 1 once false p0 false : mask<20>[1x2x2x1] @4
      %19 = open %17, %18 : delta<20>[1x2x2x1] @4
      %20 = reveal %19, %18 port port0 : delta<20>[1x2x2x1] @5
      return %20
    }
    %4: 1 round, 80 bits each way, 0 dealt; 1 round, 80 bits each way, 0 dealt
    weights: 0 bits
    ");
}
