//! Parameters stored the way their only reader wants them.
//!
//! Convolutions want filters with channels last. Where nothing else reads a parameter than a transpose of it, the
//! weights file has it transposed, and no role has to do it.

use super::Lowered;
use crate::masked_passes::remove_dead;
use mpcc_ir::channels_last::{permuted, transpose};
use mpcc_ir::masked::Op;

impl Lowered {
    /// Takes transposes of parameters out of the program.
    pub fn store_transposed(&mut self) {
        let uses = self.program.use_counts();
        let mut named = vec![0; self.params.len()];
        for node in &self.program.nodes {
            if let Op::Weight { param, .. } = node.op {
                named[param.index()] += 1;
            }
        }
        for id in self.program.ids() {
            let Op::Transpose { perm } = self.program[id].op.clone() else { continue };
            let weight = self.program[id].args[0];
            let Op::Weight { param, .. } = self.program[weight].op else { continue };
            if uses[weight.index()] > 1 || named[param.index()] > 1 {
                continue;
            }
            let stored = &mut self.params[param.index()];
            stored.data = transpose(&stored.data, &stored.shape, &perm);
            stored.shape = permuted(&stored.shape, &perm);
            // The parameter takes the place of the transpose, so that ids stay.
            let op = self.program[weight].op.clone();
            let node = &mut self.program[id];
            (node.op, node.args) = (op, Vec::new());
        }
        remove_dead(&mut self.program);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LowerOptions, lower};
    use crate::calibrate::{calibrate, random_samples};
    use crate::masked_passes;
    use crate::passes::testing::graph;
    use insta::assert_snapshot;
    use mpcc_ir::masked::interp::Truncation;

    #[test]
    fn filters_are_stored_with_channels_last() {
        let mut graph = graph(
            "nn {
            %0 = input port port0 : secret[1x2x5x5]
            %1 = param id w0 : weight[3x2x3x2]
            %2 = conv %0, %1 window 3x2 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : secret[1x3x3x4]
            return %2
        }",
        );
        let samples = vec![random_samples(&graph, 1)];
        calibrate(&mut graph, &samples).unwrap();
        let mut lowered = lower(&graph, &LowerOptions::default()).unwrap();
        let before = lowered.evaluate(&samples[0], Truncation::Nearest).unwrap();
        masked_passes::run_all(&mut lowered.program);
        lowered.store_transposed();
        lowered.program.verify().unwrap();
        assert_eq!(before, lowered.evaluate(&samples[0], Truncation::Nearest).unwrap());
        assert_snapshot!(lowered.program, @"
        program {
          %0 = input port port0 mask m0 : masked<32q13>[1x2x5x5]
          %1 = transpose %0 perm [0, 2, 3, 1] : masked<32q13>[1x5x5x2]
          %2 = weight param w0 mask m1 : weight<32q12>[3x2x2x3]
          %3 = conv %1, %2 window 3x2 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32q25>[1x3x4x3]
          %4 = rescale %3 by 11 mask m2 : masked<21q14>[1x3x4x3]
          %5 = transpose %4 perm [0, 3, 1, 2] : masked<21q14>[1x3x3x4]
          %6 = reveal %5 port port0 : masked<21q14>[1x3x3x4]
          return %6
        }
        ");
    }
}
