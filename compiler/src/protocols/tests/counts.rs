//! Costs beyond the specification's cases, and the expansion of the smallest programs as text.

use super::super::ExpandOptions;
use super::expanded;
use insta::assert_snapshot;
use mpcc_ir::plan::WeightsMode;
use mpcc_ir::views::cost::{Cost, by_origin, edges, total};

/// Cost of a program with blocks of `block` bits, and its nodes.
fn cost(text: &str, block: u8) -> (String, usize) {
    let (_, views) = expanded(text, &ExpandOptions { block, ..ExpandOptions::default() });
    (total(&views).to_string(), views.nodes.len())
}

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
    cost(&text, block)
}

#[test]
fn a_relu_costs_27_corrections_less_than_the_protocols_say() {
    // Sums of products are shared instead of the products: 284 less 26, and none for the mask's top bit.
    assert_eq!(relu(25, 32, 4).0, "3 rounds, 44 bits each way, 257 dealt");
}

/// Cost of a rescale to two elements of `n` bits, and of an activation of `%5`, which `between` gives.
fn rescaled(n: u8, between: &str, activation: &str) -> String {
    let text = format!(
        "program {{
           %0 = input port port0 mask m0 : masked<32>[2]
           %1 = to_shares %0 : shares<32>[2]
           %2 = rescale %1 by 7 mask m1 : masked<{n}q-7>[2]
           {between}
           %6 = {activation} %5 mask m2 : masked<32q-7>[2]
           %7 = reveal %6 port port0 : masked<32q-7>[2]
           return %7
         }}"
    );
    cost(&text.replace("MASKED", &format!("masked<{n}q-7>[2]")), 4).0
}

#[test]
fn the_rest_of_a_wide_mask_is_lifted_by_its_high_bits() {
    let moved = "%3 = slice %2 starts [0] steps [1] : MASKED
                 %4 = scale %3 by -3 : MASKED
                 %5 = sub %4, %3 : MASKED";
    // Of two elements: 25 less than the 257 of a mask that is lifted whole; the rescale opens 2 x 25 bits.
    assert_eq!(rescaled(25, moved, "relu"), "4 rounds, 138 bits each way, 464 dealt");
    assert_eq!(rescaled(17, moved, "relu"), "4 rounds, 114 bits each way, 360 dealt");
    // 7 + 7 instead of 32 + 7.
    assert_eq!(rescaled(25, moved, "lift"), "2 rounds, 114 bits each way, 28 dealt");
}

#[test]
fn beyond_six_blocks_a_round_saves_corrections() {
    // In one level these would be 80 online bits and 736 corrections in three rounds.
    assert_eq!(relu(32, 64, 4).0, "4 rounds, 85 bits each way, 385 dealt");
    assert_eq!(relu(64, 64, 4).0, "4 rounds, 105 bits each way, 425 dealt");
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
      %8 = at_p0 %1 : share0<32>[1x2x2x1] @0
      %9 = of_p0 %0 : share0<32>[1x2x2x1] @0
      %10 = sub %8, %9 : share0<32>[1x2x2x1] @0
      %11 = conv %10, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : share0<32>[1x2x2x1] @3
      %12 = without_p0 %0 : mask<32>[1x2x2x1] @3
      %13 = conv %12, %3 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : dealt<32>[1x2x2x1] @3
      %14 = deal %13 value 3 zeros 0 : mask<32>[1x2x2x1] @3
      %15 = conv %12, %4 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : share<32>[1x2x2x1] @3
      %16 = sub %14, %15 : share<32>[1x2x2x1] @3
      %17 = add %16, %7 : share<32>[1x2x2x1] @3
      %18 = add %11, %17 : share<32>[1x2x2x1] @3
      %19 = narrow %18 : share<28>[1x2x2x1] @4
      %20 = const value 255 : public<28>[1x2x2x1] @4
      %21 = at_p0 %20 : share0<28>[1x2x2x1] @4
      %22 = add %19, %21 : share<28>[1x2x2x1] @4
      %23 = shr %22 by 8 : share<28>[1x2x2x1] @4
      %24 = narrow %23 : share<20>[1x2x2x1] @4
      %25 = random value 4 once false p0 false : mask<32>[1x2x2x1] @4
      %26 = narrow %25 : mask<20>[1x2x2x1] @4
      %27 = open %24, %26 : delta<20>[1x2x2x1] @4
      %28 = reveal %27, %26 port port0 : delta<20>[1x2x2x1] @5
      return %28
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
      %5 = of_p0 %2 : share0<32>[1x1x1x1] @1
      %6 = sub %4, %5 : share0<32>[1x1x1x1] @1
      %7 = without_p0 %2 : mask<32>[1x1x1x1] @1
      %8 = sub %6, %7 : share<32>[1x1x1x1] @1
      %9 = random value 2 once true p0 false : mask<32>[1] @2
      %10 = weight_delta %9 param w1 : delta<32>[1] @2
      %11 = at_p0 %10 : share0<32>[1] @2
      %12 = of_p0 %9 : share0<32>[1] @2
      %13 = sub %11, %12 : share0<32>[1] @2
      %14 = without_p0 %9 : mask<32>[1] @2
      %15 = sub %13, %14 : share<32>[1] @2
      %16 = reshape %15 : share<32>[1x1x1x1] @3
      %17 = expand %16 : share<32>[1x2x2x1] @3
      %18 = conv %1, %8 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : share<32>[1x2x2x1] @3
      %19 = conv %0, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : dealt<32>[1x2x2x1] @3
      %20 = deal %19 value 3 zeros 0 : mask<32>[1x2x2x1] @3
      %21 = conv %0, %3 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : share<32>[1x2x2x1] @3
      %22 = sub %20, %21 : share<32>[1x2x2x1] @3
      %23 = add %22, %17 : share<32>[1x2x2x1] @3
      %24 = add %18, %23 : share<32>[1x2x2x1] @3
      %25 = narrow %24 : share<28>[1x2x2x1] @4
      %26 = const value 255 : public<28>[1x2x2x1] @4
      %27 = at_p0 %26 : share0<28>[1x2x2x1] @4
      %28 = add %25, %27 : share<28>[1x2x2x1] @4
      %29 = shr %28 by 8 : share<28>[1x2x2x1] @4
      %30 = narrow %29 : share<20>[1x2x2x1] @4
      %31 = random value 4 once false p0 false : mask<32>[1x2x2x1] @4
      %32 = narrow %31 : mask<20>[1x2x2x1] @4
      %33 = open %30, %32 : delta<20>[1x2x2x1] @4
      %34 = reveal %33, %32 port port0 : delta<20>[1x2x2x1] @5
      return %34
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
      %7 = at_p0 %1 : share0<32>[1x2x2x1] @0
      %8 = of_p0 %0 : share0<32>[1x2x2x1] @0
      %9 = sub %7, %8 : share0<32>[1x2x2x1] @0
      %10 = conv %9, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : share0<32>[1x2x2x1] @3
      %11 = without_p0 %0 : mask<32>[1x2x2x1] @3
      %12 = conv %11, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : mask<32>[1x2x2x1] @3
      %13 = sub %6, %12 : share<32>[1x2x2x1] @3
      %14 = add %10, %13 : share<32>[1x2x2x1] @3
      %15 = narrow %14 : share<28>[1x2x2x1] @4
      %16 = const value 255 : public<28>[1x2x2x1] @4
      %17 = at_p0 %16 : share0<28>[1x2x2x1] @4
      %18 = add %15, %17 : share<28>[1x2x2x1] @4
      %19 = shr %18 by 8 : share<28>[1x2x2x1] @4
      %20 = narrow %19 : share<20>[1x2x2x1] @4
      %21 = random value 1 once false p0 false : mask<32>[1x2x2x1] @4
      %22 = narrow %21 : mask<20>[1x2x2x1] @4
      %23 = open %20, %22 : delta<20>[1x2x2x1] @4
      %24 = reveal %23, %22 port port0 : delta<20>[1x2x2x1] @5
      return %24
    }
    %4: 1 round, 80 bits each way, 0 dealt; 1 round, 80 bits each way, 0 dealt
    weights: 0 bits
    ");
}
