//! Every protocol against the clear result.

use super::{ExpandOptions, expand};
use mpcc_ir::masked::MaskedProgram;

#[test]
fn smoke() {
    let text = "program {
      %0 = input port port0 mask m0 : masked<32q8>[1x2x4x4]
      %1 = weight param w0 mask m1 : weight<32q8>[3x2x3x3]
      %2 = weight param w1 mask m2 : weight<32q16>[3]
      %3 = conv %0, %1, %2 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : shares<32q16>[1x3x4x4]
      %4 = rescale %3 by 8 mask m3 : masked<20q8>[1x3x4x4]
      %5 = relu %4 mask m4 : masked<32q8>[1x3x4x4]
      %6 = reveal %5 port port0 : masked<32q8>[1x3x4x4]
      return %6
    }";
    let p = MaskedProgram::parse(text).unwrap_or_else(|e| panic!("{e}"));
    p.verify().unwrap();
    let v = expand(&p, &ExpandOptions::default());
    println!("{v}");
    v.verify().unwrap_or_else(|e| panic!("{e}"));
}
