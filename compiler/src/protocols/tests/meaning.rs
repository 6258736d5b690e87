//! What each masked operation means, after its expansion, for all owners of weights.

use super::super::ExpandOptions;
use super::{assert_reveals, revealed};

/// Operations that move or add, on two inputs `[2x3]`, as masked values and as shares.
const LOCAL: [(&str, &str, &[i64]); 12] = [
    ("add %x, %y", "[2x3]", &[11, 18, -33, 44, 50, -128]),
    ("sub %x, %y", "[2x3]", &[-9, -22, 27, -36, -50, 126]),
    ("scale %x by -3", "[2x3]", &[-3, 6, 9, -12, 0, 3]),
    ("offset %x by -5", "[2x3]", &[-4, -7, -8, -1, -5, -6]),
    ("sum %x axes [1]", "[2x1]", &[-4, 3]),
    ("reshape %x", "[3x2]", &[1, -2, -3, 4, 0, -1]),
    ("transpose %x perm [1, 0]", "[3x2]", &[1, 4, -2, 0, -3, -1]),
    ("slice %x starts [1, 2] steps [-1, -2]", "[2x2]", &[-1, 4, -3, 1]),
    (
        "pad %x before [0, 1] after [1, 0] interior [0, 1] value -7",
        "[3x6]",
        &[-7, 1, -7, -2, -7, -3, -7, 4, -7, 0, -7, -1, -7, -7, -7, -7, -7, -7],
    ),
    ("concat %x, %y axis 0", "[4x3]", &[1, -2, -3, 4, 0, -1, 10, 20, -30, 40, 50, -127]),
    ("gather %x axis 1 indices [2, 0, 2]", "[2x3]", &[-3, 1, -3, -1, 4, -1]),
    (
        "pad %x before [0, 0] after [0, 1] interior [0, 0] value 0",
        "[2x4]",
        &[1, -2, -3, 0, 4, 0, -1, 0],
    ),
];

const X: [i64; 6] = [1, -2, -3, 4, 0, -1];
const Y: [i64; 6] = [10, 20, -30, 40, 50, -127];

#[test]
fn local_operations_on_masked_values() {
    for (op, shape, want) in LOCAL {
        let op = op.replace("%x", "%0").replace("%y", "%1");
        let text = format!(
            "program {{
               %0 = input port port0 mask m0 : masked<8>[2x3]
               %1 = input port port1 mask m1 : masked<8>[2x3]
               %2 = {op} : masked<8>{shape}
               %3 = reveal %2 port port0 : masked<8>{shape}
               return %3
             }}"
        );
        assert_reveals(&text, &[&X, &Y], &[], &[want]);
    }
}

#[test]
fn local_operations_on_shares() {
    for (op, shape, want) in LOCAL {
        let op = op.replace("%x", "%2").replace("%y", "%3");
        let text = format!(
            "program {{
               %0 = input port port0 mask m0 : masked<8>[2x3]
               %1 = input port port1 mask m1 : masked<8>[2x3]
               %2 = to_shares %0 : shares<8>[2x3]
               %3 = to_shares %1 : shares<8>[2x3]
               %4 = {op} : shares<8>{shape}
               %5 = rescale %4 by 0 mask m2 : masked<8>{shape}
               %6 = reveal %5 port port0 : masked<8>{shape}
               return %6
             }}"
        );
        assert_reveals(&text, &[&X, &Y], &[], &[want]);
    }
}

/// Operations on weights before they are used, element-wise, as a factor and as a term.
#[test]
fn local_operations_on_weights() {
    for kind in ["weight", "public"] {
        for (op, shape, want) in LOCAL {
            if ["scale", "offset"].iter().any(|w| op.starts_with(w))
                || kind == "public" && op.contains("%y")
            {
                continue; // The masked level has no such operation.
            }
            let op = op.replace("%x", "%0").replace("%y", "%1");
            let masks = if kind == "weight" { ["m0", "m1"] } else { ["none"; 2] };
            let text = format!(
                "program {{
                   %0 = weight param w0 mask {} : {kind}<8>[2x3]
                   %1 = weight param w1 mask {} : {kind}<8>[2x3]
                   %2 = {op} : {kind}<8>{shape}
                   %3 = input port port0 mask m2 : masked<8>{shape}
                   %4 = mul %3, %2 : shares<8>{shape}
                   %5 = to_shares %3 : shares<8>{shape}
                   %6 = sub %5, %2 : shares<8>{shape}
                   %7 = rescale %4 by 0 mask m3 : masked<8>{shape}
                   %8 = rescale %6 by 0 mask m4 : masked<8>{shape}
                   %9 = reveal %7 port port0 : masked<8>{shape}
                   %10 = reveal %8 port port1 : masked<8>{shape}
                   return %9, %10
                 }}",
                masks[0], masks[1]
            );
            let x: Vec<i64> = (0..want.len() as i64).map(|i| i - 3).collect();
            let product: Vec<i64> =
                x.iter().zip(want).map(|(x, w)| i64::from((x * w) as i8)).collect();
            let difference: Vec<i64> =
                x.iter().zip(want).map(|(x, w)| i64::from((x - w) as i8)).collect();
            assert_reveals(&text, &[&x], &[&X, &Y], &[&product, &difference]);
        }
    }
}

#[test]
fn a_convolution_adds_its_bias() {
    for (kind, masks) in [("weight", ["m1", "m2"]), ("public", ["none"; 2])] {
        let text = format!(
            "program {{
               %0 = input port port0 mask m0 : masked<32>[1x2x2x2]
               %1 = weight param w0 mask {} : {kind}<32>[2x1x1x2]
               %2 = weight param w1 mask {} : {kind}<32>[2]
               %3 = conv %0, %1, %2 window 2x1 stride 1x1 dilate 1x1 pad [1, 0, 0, 0] groups 2 : shares<32>[1x2x2x2]
               %4 = rescale %3 by 0 mask m3 : masked<32>[1x2x2x2]
               %5 = reveal %4 port port0 : masked<32>[1x2x2x2]
               return %5
             }}",
            masks[0], masks[1]
        );
        // Each channel: tap 1 on the row itself, tap 0 on the row above (zero above the first).
        let x = [1, -5, 2, 6, 3, 7, 4, 1 << 20];
        let want = [
            20 + 100,
            15 - 9,
            40 + 100,
            -18 - 9,
            60 + 10 + 100,
            -21 - 5 - 9,
            80 + 20 + 100,
            (-3 << 20) + 6 - 9,
        ];
        assert_reveals(&text, &[&x], &[&[10, 1, 20, -3], &[100, -9]], &[&want]);
    }
}

#[test]
fn a_matrix_product_by_a_weight_and_by_a_value() {
    let text = "program {
      %0 = input port port0 mask m0 : masked<64>[2x1x2]
      %1 = input port port1 mask m1 : masked<64>[2x2x1]
      %2 = weight param w0 mask m2 : weight<64>[2x3]
      %3 = matmul %0, %2 : shares<64>[2x1x3]
      %4 = matmul %0, %1 : shares<64>[2x1x1]
      %5 = rescale %3 by 0 mask m3 : masked<64>[2x1x3]
      %6 = rescale %4 by 0 mask m4 : masked<64>[2x1x1]
      %7 = reveal %5 port port0 : masked<64>[2x1x3]
      %8 = reveal %6 port port1 : masked<64>[2x1x1]
      return %7, %8
    }";
    let big = 1 << 40;
    assert_reveals(
        text,
        &[&[1, -2, big, 0], &[5, 6, 7, 8]],
        &[&[1, 2, 3, 4, 5, -6]],
        &[&[-7, -8, 15, big, 2 * big, 3 * big], &[-7, 7 * big]],
    );
}

#[test]
fn a_rescale_is_off_by_half_a_unit_per_party() {
    let text = "program {
      %0 = input port port0 mask m0 : masked<32q8>[6]
      %1 = to_shares %0 : shares<32q8>[6]
      %2 = rescale %1 by 4 mask m1 : masked<20q4>[6]
      %3 = reveal %2 port port0 : masked<20q4>[6]
      return %3
    }";
    let x = [0, 7, 8, -9, (1 << 22) - 1, -(1 << 22)];
    for parties in [2, 3] {
        let options = ExpandOptions { parties, ..ExpandOptions::default() };
        let got = revealed(text, &options, &[&x], &[]);
        for (got, x) in got[0].iter().zip(x) {
            let error = (got * 16 - x).abs();
            assert!(error <= 8 * i64::from(parties), "{got} is {error} sixteenths off");
        }
    }
}

/// A quarter of a unit is rounded up a quarter of the time, whatever the number of parties.
#[test]
fn a_rescale_is_right_on_average() {
    let text = "program {
      %0 = input port port0 mask m0 : masked<32q8>[4096]
      %1 = to_shares %0 : shares<32q8>[4096]
      %2 = rescale %1 by 4 mask m1 : masked<20q4>[4096]
      %3 = reveal %2 port port0 : masked<20q4>[4096]
      return %3
    }";
    for parties in [2, 3] {
        for x in [-19, 0, 4, 9] {
            let options = ExpandOptions { parties, ..ExpandOptions::default() };
            let got = revealed(text, &options, &[&vec![x; 4096]], &[]);
            let mean = got[0].iter().sum::<i64>() as f64 / 4096.0;
            // Five standard deviations of the mean, and half of the last place that an odd loss leaves.
            let off = (mean - x as f64 / 16.0).abs();
            assert!(off < 5.0 * 0.5 / 64.0 + 1.0 / 32.0, "{parties} parties: {x}/16 gives {mean}");
        }
    }
}

/// Rings up to the word's, with and without a lift, in one, two and three levels of joining.
#[test]
fn a_relu_is_exact_in_every_ring() {
    for (n, k, block) in [(2, 2, 4), (3, 32, 4), (25, 32, 4), (31, 32, 4), (32, 32, 4)]
        .into_iter()
        .chain([(32, 64, 5), (33, 64, 4), (64, 64, 4), (64, 64, 1), (63, 64, 8)])
    {
        let text = format!(
            "program {{
               %0 = input port port0 mask m0 : masked<{n}>[8]
               %1 = relu %0 mask m1 : masked<{k}>[8]
               %2 = reveal %1 port port0 : masked<{k}>[8]
               return %2
             }}"
        );
        let top = i64::MAX >> (64 - n);
        let x = [0, 1, -1, top, -top, -top - 1, top / 2, -top / 3];
        let want: Vec<i64> = x.iter().map(|x| (*x).max(0)).collect();
        for parties in [2, 3] {
            let options = ExpandOptions { parties, block, ..ExpandOptions::default() };
            assert_eq!(revealed(&text, &options, &[&x], &[])[0], want, "n {n} k {k} block {block}");
        }
    }
}

#[test]
fn a_lift_is_exact_and_free_where_nothing_is_to_lift() {
    for (n, k) in [(2, 64), (20, 32), (31, 32), (63, 64), (32, 32)] {
        let text = format!(
            "program {{
               %0 = input port port0 mask m0 : masked<{n}>[5]
               %1 = lift %0 mask m1 : masked<{k}>[5]
               %2 = reveal %1 port port0 : masked<{k}>[5]
               return %2
             }}"
        );
        let top = (1_i64 << (n - 2)) - 1;
        let x = [0, top.min(1), -top.min(1), top, -top];
        assert_reveals(&text, &[&x], &[], &[&x]);
    }
}

#[test]
fn a_maximum_of_two_inputs() {
    let text = "program {
      %0 = input port port0 mask m0 : masked<32>[4]
      %1 = input port port1 mask m1 : masked<32>[4]
      %2 = sub %0, %1 : masked<32>[4]
      %3 = narrow %2 : masked<20>[4]
      %4 = relu %3 mask m2 : masked<32>[4]
      %5 = add %1, %4 : masked<32>[4]
      %6 = reveal %5 port port0 : masked<32>[4]
      return %6
    }";
    let (a, b) = ([1 << 30, -5, 0, 7], [(1 << 30) + 3, -6, 0, -(1 << 18)]);
    assert_reveals(text, &[&a, &b], &[], &[&[(1 << 30) + 3, -5, 0, 7]]);
}
