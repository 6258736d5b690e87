//! Tests of the container and its text form, on programs of all levels; a failing case per rule of types.

use crate::Id;
use crate::masked::{Masked, MaskedProgram};
use crate::nn::Nn;
use crate::ssa::{Level, Program};
use crate::views::Views;
use insta::assert_snapshot;

const RESIDUAL: &str = "program {
  name \"conv1\"
  name \"add\"
  %0 = input port port0 mask m0 : masked<32q12>[2x3]
  %1 = weight param w0 mask m1 : weight<32q8>[3x5] @0
  %2 = matmul %0, %1 : shares<32q20>[2x5] @0
  %3 = rescale %2 by 8 mask m2 : masked<20q12>[2x5] @1
  %4 = sum %3 axes [1] : masked<20q12>[2x1] @1
  %5 = reveal %3 port port0 : masked<20q12>[2x5]
  return %5
}";

#[test]
fn a_program_prints_as_it_reads() {
    let program = MaskedProgram::parse(RESIDUAL).unwrap();
    assert_eq!(program.verify(), Ok(()));
    assert_eq!(program.to_string(), RESIDUAL);
    assert_eq!(program.use_counts(), [1, 1, 1, 2, 0, 1]);
}

#[test]
fn white_space_and_comments_do_not_matter() {
    let spread = RESIDUAL.replace(' ', "\n ; a comment } %7\n\t");
    assert_eq!(MaskedProgram::parse(&spread), MaskedProgram::parse(RESIDUAL));
}

#[test]
fn dead_nodes_go_and_the_rest_is_renumbered() {
    let mut program = MaskedProgram::parse(RESIDUAL).unwrap();
    program.outputs = vec![Id(2)];
    let renamed = program.remove_dead(|_| false);
    assert_eq!(renamed, [Some(Id(0)), Some(Id(1)), Some(Id(2)), None, None, None]);
    let mut program = MaskedProgram::parse(RESIDUAL).unwrap();
    program.outputs = vec![];
    program.remove_dead(|op| matches!(op, crate::masked::Op::Sum { .. }));
    program.names.clear();
    assert_snapshot!(program, @r"
    program {
      %0 = input port port0 mask m0 : masked<32q12>[2x3]
      %1 = weight param w0 mask m1 : weight<32q8>[3x5] @0
      %2 = matmul %0, %1 : shares<32q20>[2x5] @0
      %3 = rescale %2 by 8 mask m2 : masked<20q12>[2x5] @1
      %4 = sum %3 axes [1] : masked<20q12>[2x1] @1
      return
    }
    ");
}

fn refusal<L: Level>(text: &str) -> String {
    Program::<L>::parse(text).unwrap_err().to_string()
}

#[test]
fn errors_name_line_and_column() {
    let change = |from, to| refusal::<Masked>(&RESIDUAL.replacen(from, to, 1));
    assert_snapshot!(change("rescale", "rescle"), @"line 7, column 18: unknown operation `rescle`");
    assert_snapshot!(change("%3 =", "%4 ="), @"line 7, column 5: expected %3");
    assert_snapshot!(change("by 8", "by 800"), @"line 7, column 22: bad number `800`");
    assert_snapshot!(change("mask m2", "mask %2"), @"line 7, column 29: expected `m`");
    assert_snapshot!(change("masked<20q12>[2x5]", "masked<70q12>[2x5]"), @"line 7, column 43: a ring has 1 to 64 bits");
    assert_snapshot!(change("[2x5]", "[2,5]"), @"line 6, column 39: expected `x`");
    assert_snapshot!(change("name \"add\"", "name \"add"), @"line 11, column 2: string is not closed");
    assert_snapshot!(refusal::<Masked>("program { return"), @"line 1, column 17: expected `}`");
    assert_snapshot!(refusal::<Masked>("program { return } nn"), @"line 1, column 20: text after the program");
    assert_snapshot!(refusal::<Nn>("program { return }"), @"line 1, column 1: expected `nn`");
}

/// What the verifier says about a program whose last node breaks a rule.
fn broken<L: Level>(nodes: &str) -> String {
    let text = format!("{} {{ {nodes} return }}", L::KEYWORD);
    Program::<L>::parse(&text).unwrap().verify().unwrap_err().to_string()
}

#[test]
fn operands_come_first_and_outputs_exist() {
    assert_snapshot!(broken::<Masked>("%0 = narrow %0 : masked<8>[2]"), @"%0 = narrow: operand %0 is not defined before it is used");
    let text = RESIDUAL.replace("return %5", "return %6");
    assert_snapshot!(MaskedProgram::parse(&text).unwrap().verify().unwrap_err(), @"return %6: no such value");
}

#[test]
fn the_nn_level_checks_shapes_and_visibility() {
    let x = "%0 = input port port0 : secret[2x3]";
    let say = |node: &str| broken::<Nn>(&format!("{x} {node}"));
    assert_snapshot!(say("%1 = relu %0 : secret[3x2]"), @"%1 = relu: the result's shape is [2x3]");
    assert_snapshot!(say("%1 = relu %0 : public[2x3]"), @"%1 = relu: a secret operand gives a secret result");
    assert_snapshot!(say("%1 = add %0 : secret[2x3]"), @"%1 = add: wrong number of operands");
    assert_snapshot!(say("%1 = matmul %0, %0 : secret[2x3]"), @"%1 = matmul: [2x3] and [2x3] do not multiply");
    assert_snapshot!(say("%1 = transpose %0 perm [0, 0] : secret[2x3]"), @"%1 = transpose: not a permutation of the axes");
    assert_snapshot!(say("%1 = reshape %0 : secret[7]"), @"%1 = reshape: 6 elements do not reshape to [7]");
    assert_snapshot!(say("%1 = slice %0 starts [0, 1] steps [1, 1] : secret[2x3]"), @"%1 = slice: axis 1 is cut out of range");
    assert_snapshot!(say("%1 = gather %0 axis 1 indices [3] : secret[2x1]"), @"%1 = gather: index out of range");
    assert_snapshot!(say("%1 = concat %0, %0 axis 2 : secret[2x6]"), @"%1 = concat: axis out of range");
}

#[test]
fn the_masked_level_checks_kinds_and_formats() {
    let x = "%0 = input port port0 mask m0 : masked<32q8>[2]
             %1 = to_shares %0 : shares<32q8>[2]";
    let say = |node: &str| broken::<Masked>(&format!("{x} {node}"));
    assert_snapshot!(say("%2 = rescale %0 by 4 mask m1 : masked<20q4>[2]"), @"%2 = rescale: kinds or formats do not fit: (masked<32q8>[2]) to masked<20q4>[2]");
    assert_snapshot!(say("%2 = rescale %1 by 4 mask m1 : masked<29q4>[2]"), @"%2 = rescale: kinds or formats do not fit: (shares<32q8>[2]) to masked<29q4>[2]");
    assert_snapshot!(say("%2 = add %0, %1 : shares<32q8>[2]"), @"%2 = add: kinds or formats do not fit: (masked<32q8>[2], shares<32q8>[2]) to shares<32q8>[2]");
    assert_snapshot!(say("%2 = mul %0, %0 : shares<32q8>[2]"), @"%2 = mul: kinds or formats do not fit: (masked<32q8>[2], masked<32q8>[2]) to shares<32q8>[2]");
    assert_snapshot!(say("%2 = reveal %1 port port0 : shares<32q8>[2]"), @"%2 = reveal: kinds or formats do not fit: (shares<32q8>[2]) to shares<32q8>[2]");
    assert_snapshot!(say("%2 = lift %0 mask m1 : masked<16q8>[2]"), @"%2 = lift: kinds or formats do not fit: (masked<32q8>[2]) to masked<16q8>[2]");
}

#[test]
fn the_views_level_checks_who_knows_what() {
    let m = "%0 = random value 0 once false p0 false : mask<32>[2]
             %1 = input_delta %0 port port0 : delta<32>[2]
             %2 = mul %0, %1 : share<32>[2]";
    let say = |node: &str| broken::<Views>(&format!("{m} {node}"));
    assert_snapshot!(say("%3 = mul %0, %0 : share<32>[2]"), @"%3 = mul: views do not fit: (mask<32>[2], mask<32>[2]) to share<32>[2]");
    assert_snapshot!(say("%3 = add %1, %1 : mask<32>[2]"), @"%3 = add: views do not fit: (delta<32>[2], delta<32>[2]) to mask<32>[2]");
    assert_snapshot!(say("%3 = mul %0, %1 : dealt<32>[2]"), @"%3 = mul: views do not fit: (mask<32>[2], delta<32>[2]) to dealt<32>[2]");
    assert_snapshot!(say("%3 = open %2, %2 : delta<32>[2]"), @"%3 = open: views do not fit: (share<32>[2], share<32>[2]) to delta<32>[2]");
    assert_snapshot!(say("%3 = bit_at %1 index 32 : delta<bit>[2]"), @"%3 = bit_at: elements do not fit delta<bit>[2]");
    assert_snapshot!(say("%3 = reveal %2, %0 port port0 : delta<32>[2]"), @"%3 = reveal: views do not fit: (share<32>[2], mask<32>[2]) to delta<32>[2]");
}

#[test]
fn numbers_at_the_end_of_their_type_are_refused_and_not_added_up() {
    let x = "%0 = input port port0 : secret[1x2x3x4]";
    let big = usize::MAX;
    let say = |node: &str| broken::<Nn>(&format!("{x} {node}"));
    let pad = |before: &str, interior: &str| {
        say(&format!(
            "%1 = pad %0 before {before} after [0, 0, 0, 1] interior {interior} value 0 : secret[1x2x3x4]"
        ))
    };
    let none = "[0, 0, 0, 0]";
    assert_snapshot!(pad(&format!("[0, 0, 0, {big}]"), none), @"%1 = pad: the padding is too large");
    assert_snapshot!(pad(none, &format!("[0, 0, 0, {big}]")), @"%1 = pad: the padding is too large");
    assert_snapshot!(say(&format!("%1 = slice %0 starts [0, 0, 0, {big}] steps [1, 1, 1, {}] : secret[1x2x3x4]", i64::MIN)), @"%1 = slice: axis 3 is cut out of range");
    let reach = "window 4294967295x1 stride 1x1 dilate 4294967295x1 pad [4294967295, 0, 0, 0]";
    assert_snapshot!(say(&format!("%1 = max_pool %0 {reach} : secret[1x2x3x4]")), @"%1 = max_pool: no window fits");
    let pads = format!("window 1x1 stride 1x1 dilate 1x1 pad [{big}, 0, {big}, 0]");
    assert_snapshot!(say(&format!("%1 = max_pool %0 {pads} : secret[1x2x3x4]")), @"%1 = max_pool: no window fits");
    assert_snapshot!(say(&format!("%1 = conv %0, %0 window 3x4 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups {big} : secret[1x1x1x1]")), @"%1 = conv: channels, groups and kernel do not match the weight");
    let huge = "%1 = relu %0 : secret[4294967295x4294967295x0x4294967295]";
    assert_snapshot!(refusal::<Nn>(&format!("nn {{ {x} {huge} }}")), @"line 1, column 103: too many elements");

    let x = "%0 = input port port0 mask m0 : masked<32q32767>[2]
             %1 = to_shares %0 : shares<32q32767>[2]
             %2 = input port port1 mask m1 : masked<32q-32768>[2]
             %3 = to_shares %2 : shares<32q-32768>[2]";
    let say = |node: &str| broken::<Masked>(&format!("{x} {node}"));
    assert_snapshot!(say("%4 = mul %0, %0 : shares<32q-2>[2]"), @"%4 = mul: kinds or formats do not fit: (masked<32q32767>[2], masked<32q32767>[2]) to shares<32q-2>[2]");
    assert_snapshot!(say("%4 = rescale %1 by 255 mask m2 : masked<20>[2]"), @"%4 = rescale: kinds or formats do not fit: (shares<32q32767>[2]) to masked<20>[2]");
    assert_snapshot!(say("%4 = rescale %3 by 4 mask m2 : masked<20q32764>[2]"), @"%4 = rescale: kinds or formats do not fit: (shares<32q-32768>[2]) to masked<20q32764>[2]");
}
