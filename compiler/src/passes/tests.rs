//! The whole pipeline on small networks.

use super::testing::{assert_same_meaning, graph};
use super::{PIPELINE, run_all};
use crate::calibrate::Noise;
use insta::assert_snapshot;

/// A network in the manner of a small `ResNet`: batch normalisation, pooling, a mean, a classifier.
const RESIDUAL: &str = "nn {
  name \"conv1\"
  name \"bn1\"
  name \"relu1\"
  name \"pool\"
  name \"conv2\"
  name \"mean\"
  name \"fc\"
  %0 = input port port0 : secret[1x3x8x8]
  %1 = param id w0 : weight[4x3x3x3]
  %2 = conv %0, %1 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : secret[1x4x8x8] @0
  %3 = param id w1 : weight[1x4x1x1] @1
  %4 = expand %3 : weight[1x4x8x8] @1
  %5 = mul %2, %4 : secret[1x4x8x8] @1
  %6 = add %5, %4 : secret[1x4x8x8] @1
  %7 = relu %6 : secret[1x4x8x8] @2
  %8 = max_pool %7 window 2x2 stride 2x2 dilate 1x1 pad [0, 0, 0, 0] : secret[1x4x4x4] @3
  %9 = param id w2 : weight[4x4x1x1]
  %10 = conv %8, %9 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x4x4x4] @4
  %11 = add %8, %10 : secret[1x4x4x4] @4
  %12 = clip %11 lo 0 hi 6 : secret[1x4x4x4] @4
  %13 = avg_pool %12 window 4x4 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] count_pad true : secret[1x4x1x1] @5
  %14 = reshape %13 : secret[1x4] @5
  %15 = param id w3 : weight[5x4]
  %16 = transpose %15 perm [1, 0] : weight[4x5]
  %17 = matmul %14, %16 : secret[1x5] @6
  %18 = param id w4 : weight[1x5]
  %19 = add %17, %18 : secret[1x5] @6
  return %19
}";

#[test]
fn a_residual_network() {
    let before = graph(RESIDUAL);
    let mut after = before.clone();
    run_all(&mut after);
    assert_same_meaning(&before, &after);
    assert_eq!(after.is_core(), Ok(()));
    assert_snapshot!(after.program, @r#"
    nn {
      name "conv1"
      name "bn1"
      name "relu1"
      name "pool"
      name "conv2"
      name "mean"
      name "fc"
      %0 = input port port0 : secret[1x3x8x8]
      %1 = param id w0 : weight[4x3x3x3] @0
      %2 = param id w1 : weight[4] @0
      %3 = conv %0, %1, %2 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : secret[1x4x8x8] @0
      %4 = max_pool %3 window 2x2 stride 2x2 dilate 1x1 pad [0, 0, 0, 0] : secret[1x4x4x4] @3
      %5 = relu %4 : secret[1x4x4x4] @2
      %6 = param id w2 : weight[4x4x1x1]
      %7 = conv %5, %6 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x4x4x4] @4
      %8 = add %5, %7 : secret[1x4x4x4] @4
      %9 = relu %8 : secret[1x4x4x4] @4
      %10 = offset %8 by -6 : secret[1x4x4x4] @4
      %11 = relu %10 : secret[1x4x4x4] @4
      %12 = sub %9, %11 : secret[1x4x4x4] @4
      %13 = reduce_sum %12 axes [2, 3] : secret[1x4x1x1] @5
      %14 = reshape %13 : secret[1x4] @5
      %15 = param id w3 : weight[4x5] @6
      %16 = matmul %14, %15 : secret[1x5] @6
      %17 = param id w4 : weight[1x5]
      %18 = add %16, %17 : secret[1x5] @6
      return %18
    }
    "#);
}

#[test]
fn the_pipeline_changes_nothing_the_second_time() {
    let mut once = graph(RESIDUAL);
    run_all(&mut once);
    let mut twice = once.clone();
    run_all(&mut twice);
    assert_eq!(once.program.to_string(), twice.program.to_string());
}

#[test]
fn every_composite_is_gone_and_every_pass_keeps_the_meaning() {
    let before = graph(
        "nn {
          %0 = input port port0 : secret[1x2x6x6]
          %1 = hard_swish %0 : secret[1x2x6x6]
          %2 = param id w0 : weight[1x2x1x1]
          %3 = expand %2 : weight[1x2x6x6]
          %4 = prelu %1, %3 : secret[1x2x6x6]
          %5 = avg_pool %4 window 3x3 stride 2x2 dilate 1x1 pad [1, 1, 1, 1] count_pad false : secret[1x2x3x3]
          %6 = leaky_relu %5 alpha 0.1 : secret[1x2x3x3]
          %7 = hard_sigmoid %6 alpha 0.2 beta 0.5 : secret[1x2x3x3]
          %8 = abs %6 : secret[1x2x3x3]
          %9 = min %7, %8 : secret[1x2x3x3]
          %10 = max %9, %6 : secret[1x2x3x3]
          %11 = pow %10 n 3 : secret[1x2x3x3]
          %12 = param id w1 : weight[3x2x2x2]
          %13 = conv %11, %12 window 2x2 stride 1x1 dilate 1x1 pad [0, 0, 1, 1] groups 1 : secret[1x3x3x3]
          %14 = reduce_mean %13 axes [2, 3] : secret[1x3x1x1]
          %15 = clip %14 lo -1 hi 1 : secret[1x3x1x1]
          return %15, %1
        }",
    );
    let mut after = before.clone();
    for (name, pass) in PIPELINE {
        pass(&mut after);
        assert!(after.verify().is_ok(), "after {name}: {:?}", after.verify());
        assert_same_meaning(&before, &after);
    }
    assert_eq!(after.is_core(), Ok(()));
}

/// Everybody may read the plan: its program must be the same whatever the private weights are.
#[test]
fn the_result_does_not_depend_on_private_values() {
    let mut seeded = graph(RESIDUAL);
    let (mut zero, mut other) = (seeded.clone(), seeded.clone());
    let mut noise = Noise::new(99);
    for param in &mut zero.params {
        param.data.fill(0.0);
    }
    for param in &mut other.params {
        param.data = noise.normal(param.data.len());
    }
    for graph in [&mut seeded, &mut zero, &mut other] {
        run_all(graph);
    }
    assert_eq!(seeded.program, zero.program);
    assert_eq!(seeded.program, other.program);
}
