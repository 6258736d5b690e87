//! Snapshots of small models, each with a check of its meaning.

use super::*;
use crate::calibrate::{calibrate, random_samples};
use crate::passes::testing::graph;
use insta::assert_snapshot;
use mpcc_ir::masked::interp::Truncation;
use mpcc_ir::nn::interp::evaluate;

/// A calibrated graph with seeded parameters.
fn calibrated(src: &str) -> Graph {
    let mut graph = graph(src);
    let samples: Vec<_> = (0..4).map(|seed| random_samples(&graph, seed)).collect();
    calibrate(&mut graph, &samples).unwrap();
    graph
}

/// Lowers in both rings and compares with the graph in the clear on fresh inputs, for 2 and 3 parties.
fn check(graph: &Graph) -> Lowered {
    let mut results = Vec::new();
    for (ring, parties) in [(RingChoice::R32, 2), (RingChoice::R32, 3), (RingChoice::R64, 2)] {
        let options = LowerOptions { ring, parties, ..LowerOptions::default() };
        let lowered = lower(graph, &options).unwrap();
        for seed in 10..13 {
            let inputs = random_samples(graph, seed);
            let want = evaluate(graph, &inputs).unwrap();
            let truncation = Truncation::Seeded { parties, seed };
            let found = lowered.evaluate(&inputs, truncation).unwrap();
            for ((want, found), error) in want.iter().zip(&found).zip(&lowered.report.output_error)
            {
                let pairs = want.data.iter().zip(&found.data);
                let worst = pairs.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
                let size = want.data.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                assert!(
                    worst <= *error,
                    "{ring:?}, {parties} parties: off by {worst} of {size}, predicted {error}\n{}",
                    lowered.program
                );
            }
        }
        results.push(lowered);
    }
    results.swap_remove(0)
}

fn lowered(src: &str) -> String {
    check(&calibrated(src)).program.to_string()
}

#[test]
fn a_convolution_is_opened_once_and_relu_lifts_it() {
    assert_snapshot!(lowered("nn {
        %0 = input port port0 : secret[1x1x8x8]
        %1 = param id w0 : weight[2x1x3x3]
        %2 = conv %0, %1 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : secret[1x2x8x8]
        %3 = relu %2 : secret[1x2x8x8]
        %4 = param id w1 : weight[2x2x1x1]
        %5 = conv %3, %4 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x2x8x8]
        return %5
    }"), @"
    program {
      %0 = input port port0 mask m0 : masked<32q13>[1x1x8x8]
      %1 = weight param w0 mask m1 : weight<32q12>[2x1x3x3]
      %2 = transpose %0 perm [0, 2, 3, 1] : masked<32q13>[1x8x8x1]
      %3 = transpose %1 perm [2, 3, 1, 0] : weight<32q12>[3x3x1x2]
      %4 = conv %2, %3 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : shares<32q25>[1x8x8x2]
      %5 = transpose %4 perm [0, 3, 1, 2] : shares<32q25>[1x2x8x8]
      %6 = rescale %5 by 15 mask m2 : masked<17q10>[1x2x8x8]
      %7 = relu %6 mask m3 : masked<32q10>[1x2x8x8]
      %8 = weight param w1 mask m4 : weight<32q15>[2x2x1x1]
      %9 = transpose %7 perm [0, 2, 3, 1] : masked<32q10>[1x8x8x2]
      %10 = transpose %8 perm [2, 3, 1, 0] : weight<32q15>[1x1x2x2]
      %11 = conv %9, %10 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32q25>[1x8x8x2]
      %12 = transpose %11 perm [0, 3, 1, 2] : shares<32q25>[1x2x8x8]
      %13 = rescale %12 by 11 mask m5 : masked<21q14>[1x2x8x8]
      %14 = reveal %13 port port0 : masked<21q14>[1x2x8x8]
      return %14
    }
    ");
}

#[test]
fn a_residual_sum_is_opened_once() {
    assert_snapshot!(lowered("nn {
        %0 = input port port0 : secret[1x2x4x4]
        %1 = relu %0 : secret[1x2x4x4]
        %2 = param id w0 : weight[2x2x1x1]
        %3 = param id w1 : weight[2]
        %4 = conv %1, %2, %3 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x2x4x4]
        %5 = add %4, %1 : secret[1x2x4x4]
        %6 = relu %5 : secret[1x2x4x4]
        %7 = param id w2 : weight[2x2x1x1]
        %8 = conv %6, %7 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x2x4x4]
        return %8
    }"), @"
    program {
      %0 = input port port0 mask m0 : masked<17q12>[1x2x4x4]
      %1 = relu %0 mask m1 : masked<32q12>[1x2x4x4]
      %2 = weight param w0 mask m2 : weight<32q15>[2x2x1x1]
      %3 = transpose %1 perm [0, 2, 3, 1] : masked<32q12>[1x4x4x2]
      %4 = transpose %2 perm [2, 3, 1, 0] : weight<32q15>[1x1x2x2]
      %5 = weight param w1 mask m3 : weight<32q27>[2]
      %6 = conv %3, %4, %5 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32q27>[1x4x4x2]
      %7 = transpose %6 perm [0, 3, 1, 2] : shares<32q27>[1x2x4x4]
      %8 = to_shares %1 : shares<32q12>[1x2x4x4]
      %9 = scale %8 by 32768 : shares<32q27>[1x2x4x4]
      %10 = add %7, %9 : shares<32q27>[1x2x4x4]
      %11 = rescale %10 by 13 mask m4 : masked<19q14>[1x2x4x4]
      %12 = relu %11 mask m5 : masked<32q14>[1x2x4x4]
      %13 = weight param w2 mask m6 : weight<32q13>[2x2x1x1]
      %14 = transpose %12 perm [0, 2, 3, 1] : masked<32q14>[1x4x4x2]
      %15 = transpose %13 perm [2, 3, 1, 0] : weight<32q13>[1x1x2x2]
      %16 = conv %14, %15 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32q27>[1x4x4x2]
      %17 = transpose %16 perm [0, 3, 1, 2] : shares<32q27>[1x2x4x4]
      %18 = rescale %17 by 11 mask m7 : masked<21q16>[1x2x4x4]
      %19 = reveal %18 port port0 : masked<21q16>[1x2x4x4]
      return %19
    }
    ");
}

#[test]
fn a_pool_after_a_convolution_stays_narrow() {
    assert_snapshot!(lowered("nn {
        %0 = input port port0 : secret[1x1x4x4]
        %1 = param id w0 : weight[1x1x1x1]
        %2 = conv %0, %1 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x1x4x4]
        %3 = max_pool %2 window 2x2 stride 2x2 dilate 1x1 pad [0, 0, 0, 0] : secret[1x1x2x2]
        %4 = relu %3 : secret[1x1x2x2]
        %5 = param id w1 : weight[1x1x1x1]
        %6 = conv %4, %5 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x1x2x2]
        return %6
    }"), @"
    program {
      %0 = input port port0 mask m0 : masked<32q13>[1x1x4x4]
      %1 = weight param w0 mask m1 : weight<32q18>[1x1x1x1]
      %2 = transpose %0 perm [0, 2, 3, 1] : masked<32q13>[1x4x4x1]
      %3 = transpose %1 perm [2, 3, 1, 0] : weight<32q18>[1x1x1x1]
      %4 = conv %2, %3 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32q31>[1x4x4x1]
      %5 = transpose %4 perm [0, 3, 1, 2] : shares<32q31>[1x1x4x4]
      %6 = rescale %5 by 12 mask m2 : masked<20q19>[1x1x4x4]
      %7 = slice %6 starts [0, 0, 0, 0] steps [1, 1, 1, 2] : masked<20q19>[1x1x4x2]
      %8 = slice %6 starts [0, 0, 0, 1] steps [1, 1, 1, 2] : masked<20q19>[1x1x4x2]
      %9 = sub %7, %8 : masked<20q19>[1x1x4x2]
      %10 = relu %9 mask m3 : masked<20q19>[1x1x4x2]
      %11 = add %10, %8 : masked<20q19>[1x1x4x2]
      %12 = slice %11 starts [0, 0, 0, 0] steps [1, 1, 2, 1] : masked<20q19>[1x1x2x2]
      %13 = slice %11 starts [0, 0, 1, 0] steps [1, 1, 2, 1] : masked<20q19>[1x1x2x2]
      %14 = sub %12, %13 : masked<20q19>[1x1x2x2]
      %15 = relu %14 mask m4 : masked<20q19>[1x1x2x2]
      %16 = add %15, %13 : masked<20q19>[1x1x2x2]
      %17 = narrow %16 : masked<19q19>[1x1x2x2]
      %18 = relu %17 mask m5 : masked<32q19>[1x1x2x2]
      %19 = weight param w1 mask m6 : weight<32q15>[1x1x1x1]
      %20 = transpose %18 perm [0, 2, 3, 1] : masked<32q19>[1x2x2x1]
      %21 = transpose %19 perm [2, 3, 1, 0] : weight<32q15>[1x1x1x1]
      %22 = conv %20, %21 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32q34>[1x2x2x1]
      %23 = transpose %22 perm [0, 3, 1, 2] : shares<32q34>[1x1x2x2]
      %24 = rescale %23 by 11 mask m7 : masked<21q23>[1x1x2x2]
      %25 = reveal %24 port port0 : masked<21q23>[1x1x2x2]
      return %25
    }
    ");
}

#[test]
fn padding_of_a_pool_is_below_the_range() {
    assert_snapshot!(lowered("nn {
        %0 = input port port0 : secret[1x1x3x3]
        %1 = max_pool %0 window 1x3 stride 1x2 dilate 1x1 pad [0, 1, 0, 1] : secret[1x1x3x2]
        return %1
    }"), @r"
    program {
      %0 = input port port0 mask m0 : masked<22q16>[1x1x3x3]
      %1 = pad %0 before [0, 0, 0, 1] after [0, 0, 0, 1] interior [0, 0, 0, 0] value -357693 : masked<22q16>[1x1x3x5]
      %2 = slice %1 starts [0, 0, 0, 0] steps [1, 1, 1, 2] : masked<22q16>[1x1x3x2]
      %3 = slice %1 starts [0, 0, 0, 1] steps [1, 1, 1, 2] : masked<22q16>[1x1x3x2]
      %4 = slice %1 starts [0, 0, 0, 2] steps [1, 1, 1, 2] : masked<22q16>[1x1x3x2]
      %5 = sub %2, %3 : masked<22q16>[1x1x3x2]
      %6 = relu %5 mask m1 : masked<22q16>[1x1x3x2]
      %7 = add %6, %3 : masked<22q16>[1x1x3x2]
      %8 = sub %7, %4 : masked<22q16>[1x1x3x2]
      %9 = relu %8 mask m2 : masked<22q16>[1x1x3x2]
      %10 = add %9, %4 : masked<22q16>[1x1x3x2]
      %11 = narrow %10 : masked<21q16>[1x1x3x2]
      %12 = reveal %11 port port0 : masked<21q16>[1x1x3x2]
      return %12
    }
    ");
}

#[test]
fn a_linear_bottleneck_is_lifted() {
    assert_snapshot!(lowered("nn {
        %0 = input port port0 : secret[4x4]
        %1 = param id w0 : weight[4x4]
        %2 = matmul %0, %1 : secret[4x4]
        %3 = param id w1 : weight[4x4]
        %4 = matmul %2, %3 : secret[4x4]
        return %4
    }"), @r"
    program {
      %0 = input port port0 mask m0 : masked<32q13>[4x4]
      %1 = weight param w0 mask m1 : weight<32q12>[4x4]
      %2 = matmul %0, %1 : shares<32q25>[4x4]
      %3 = rescale %2 by 13 mask m2 : masked<19q12>[4x4]
      %4 = lift %3 mask m3 : masked<32q12>[4x4]
      %5 = weight param w1 mask m4 : weight<32q13>[4x4]
      %6 = matmul %4, %5 : shares<32q25>[4x4]
      %7 = rescale %6 by 11 mask m5 : masked<21q14>[4x4]
      %8 = reveal %7 port port0 : masked<21q14>[4x4]
      return %8
    }
    ");
}

#[test]
fn products_of_secrets_share_the_bits() {
    assert_snapshot!(lowered("nn {
        %0 = input port port0 : secret[8]
        %1 = input port port1 : secret[8]
        %2 = mul %0, %1 : secret[8]
        %3 = scale %2 by 0.3 : secret[8]
        %4 = offset %3 by 0.5 : secret[8]
        return %4
    }"), @r"
    program {
      %0 = input port port0 mask m0 : masked<32q7>[8]
      %1 = input port port1 mask m1 : masked<32q7>[8]
      %2 = mul %0, %1 : shares<32q14>[8]
      %3 = scale %2 by 4915 : shares<32q28>[8]
      %4 = offset %3 by 134217728 : shares<32q28>[8]
      %5 = rescale %4 by 11 mask m2 : masked<21q17>[8]
      %6 = reveal %5 port port0 : masked<21q17>[8]
      return %6
    }
    ");
}

#[test]
fn the_mean_before_a_dense_layer_needs_no_opening() {
    assert_snapshot!(lowered("nn {
        %0 = input port port0 : secret[1x2x4x4]
        %1 = relu %0 : secret[1x2x4x4]
        %2 = reduce_sum %1 axes [2, 3] : secret[1x2x1x1]
        %3 = reshape %2 : secret[1x2]
        %4 = param id w0 : weight[2x3]
        %5 = matmul %3, %4 : secret[1x3]
        %6 = param id w1 : weight[3]
        %7 = reshape %6 : weight[1x3]
        %8 = add %5, %7 : secret[1x3]
        return %8
    }"), @r"
    program {
      %0 = input port port0 mask m0 : masked<17q12>[1x2x4x4]
      %1 = relu %0 mask m1 : masked<32q12>[1x2x4x4]
      %2 = sum %1 axes [2, 3] : masked<32q12>[1x2x1x1]
      %3 = reshape %2 : masked<32q12>[1x2]
      %4 = weight param w0 mask m2 : weight<32q13>[2x3]
      %5 = matmul %3, %4 : shares<32q25>[1x3]
      %6 = weight param w1 mask m3 : weight<32q25>[3]
      %7 = reshape %6 : weight<32q25>[1x3]
      %8 = add %5, %7 : shares<32q25>[1x3]
      %9 = rescale %8 by 11 mask m4 : masked<21q14>[1x3]
      %10 = reveal %9 port port0 : masked<21q14>[1x3]
      return %10
    }
    ");
}

/// Every core operation in some order, in forms that have to be converted.
#[test]
fn odd_combinations_keep_their_meaning() {
    for src in [
        // A maximum added to a product, multiplied afterwards.
        "nn {
        %0 = input port port0 : secret[4x4]
        %1 = param id w0 : weight[4x4]
        %2 = matmul %0, %1 : secret[4x4]
        %3 = reduce_max %2 axes [1] : secret[4x1]
        %4 = expand %3 : secret[4x4]
        %5 = matmul %0, %1 : secret[4x4]
        %6 = sub %5, %4 : secret[4x4]
        %7 = max %6, %0 : secret[4x4]
        %8 = mul %7, %7 : secret[4x4]
        return %8
        }",
        // Concatenation of a product, a ReLU and an input; a parameter subtracted and compared.
        "nn {
        %0 = input port port0 : secret[2x4]
        %1 = param id w0 : weight[4x4]
        %2 = matmul %0, %1 : secret[2x4]
        %3 = relu %2 : secret[2x4]
        %4 = concat %0, %2, %3 axis 0 : secret[6x4]
        %5 = param id w1 : weight[6x4]
        %6 = sub %5, %4 : secret[6x4]
        %7 = max %6, %5 : secret[6x4]
        %8 = relu %4 : secret[6x4]
        %9 = add %7, %8 : secret[6x4]
        %10 = transpose %9 perm [1, 0] : secret[4x6]
        %11 = slice %10 starts [3, 1] steps [-1, 2] : secret[2x3]
        %12 = pad %11 before [1, 0] after [0, 1] interior [1, 0] value 0.25 : secret[4x4]
        %13 = gather %12 axis 0 indices [0, 0, 3] : secret[3x4]
        return %13, %2
        }",
        // A parameter on the left of a product; constant factors.
        "nn {
        %0 = input port port0 : secret[4x3]
        %1 = param id w0 : weight[5x4]
        %2 = matmul %1, %0 : secret[5x3]
        %3 = scale %2 by -0.125 : secret[5x3]
        %4 = scale %0 by 3.7 : secret[4x3]
        %5 = concat %3, %4 axis 0 : secret[9x3]
        %6 = relu %5 : secret[9x3]
        %7 = reduce_max %6 axes [0, 1] : secret[1x1]
        return %7
        }",
        // A maximum of a ReLU, multiplied; padding is zero there.
        "nn {
        %0 = input port port0 : secret[1x1x5x5]
        %1 = relu %0 : secret[1x1x5x5]
        %2 = max_pool %1 window 3x3 stride 2x2 dilate 1x1 pad [1, 1, 1, 1] : secret[1x1x3x3]
        %3 = param id w0 : weight[2x1x3x3]
        %4 = conv %2, %3 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : secret[1x2x3x3]
        return %4
        }",
    ] {
        check(&calibrated(src));
    }
}
