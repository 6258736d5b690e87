//! The walk over the nn program, with its ports.

use super::error::FormatError;
use super::{InputFormat, Lowering, OutputFormat};
use mpcc_ir::masked::{Kind, Op, Ty};
use mpcc_ir::nn::{self, Range, Visibility};
use mpcc_ir::{Id, PortId};

impl Lowering<'_> {
    pub(super) fn emit_all(
        &mut self,
    ) -> Result<(Vec<InputFormat>, Vec<OutputFormat>), FormatError> {
        let graph = self.graph;
        for id in graph.program.ids() {
            if graph.program[id].ty.visibility == Visibility::Secret {
                self.origin = graph.program[id].origin;
                self.emit(id)?;
            }
        }
        let mut outputs = Vec::new();
        for (port, output) in graph.outputs.iter().enumerate() {
            outputs.push(self.output(PortId(port as u32), output)?);
        }
        Ok((self.inputs(), outputs))
    }

    /// A parameter or something moved from parameters.
    pub(super) fn is_weight(&self, id: Id) -> bool {
        self.graph.program[id].ty.visibility != Visibility::Secret
    }

    pub(super) fn args<const N: usize>(&self, id: Id) -> [Id; N] {
        // The nn verifier has counted the operands.
        std::array::from_fn(|i| self.graph.program[id].args[i])
    }

    pub(super) fn pair(&self, id: Id) -> [Id; 2] {
        self.args(id)
    }

    fn emit(&mut self, id: Id) -> Result<(), FormatError> {
        let graph = self.graph;
        match &graph.program[id].op {
            nn::Op::Input { port } => {
                self.input(id, *port);
                Ok(())
            }
            nn::Op::Conv { .. } => self.conv(id),
            nn::Op::MatMul => self.mat_mul(id),
            nn::Op::Mul => self.mul(id),
            nn::Op::Add => self.add(id, &Op::Add),
            nn::Op::Sub => self.add(id, &Op::Sub),
            nn::Op::Scale { by } => self.scale(id, *by),
            nn::Op::Offset { by } => self.offset(id, *by),
            nn::Op::Relu => self.relu(id),
            nn::Op::Max => self.max(id),
            nn::Op::MaxPool { window } => self.max_pool(id, window),
            nn::Op::ReduceSum { axes } => self.reduce_sum(id, axes),
            nn::Op::ReduceMax { axes } => self.reduce_max(id, axes),
            nn::Op::Concat { axis } => self.concat(id, *axis),
            nn::Op::Reshape
            | nn::Op::Transpose { .. }
            | nn::Op::Slice { .. }
            | nn::Op::Pad { .. }
            | nn::Op::Expand
            | nn::Op::Gather { .. } => self.move_one(id),
            nn::Op::Param { .. }
            | nn::Op::Clip { .. }
            | nn::Op::LeakyRelu { .. }
            | nn::Op::PRelu
            | nn::Op::HardSigmoid { .. }
            | nn::Op::HardSwish
            | nn::Op::Abs
            | nn::Op::Min
            | nn::Op::Pow { .. }
            | nn::Op::AvgPool { .. }
            | nn::Op::ReduceMean { .. } => {
                Err(self.unsupported(id, "it is not in the core; run the legalise pass first"))
            }
        }
    }

    fn input(&mut self, id: Id, port: PortId) {
        let frac = self.fractions.frac[id.index()];
        let wide = self.facts.wide[id.index()];
        let ring = if wide { i32::from(self.ring) } else { self.narrow_bits(id, frac) };
        let shape = self.graph.program[id].ty.shape.clone();
        let ty = Ty { kind: Kind::Masked, ring: ring as u8, frac: frac as i16, shape };
        let mask = self.fresh_mask();
        let made = self.push(Op::Input { port, mask }, &[], ty);
        self.hold(id, made);
    }

    fn inputs(&self) -> Vec<InputFormat> {
        let format = |input: &nn::Input| {
            let made = self.forms[input.value.index()].masked[0];
            let Ty { ring, frac, ref shape, .. } = *self.ty(made);
            let Range { lo, hi } = self.bounds(input.value);
            InputFormat { name: input.name.clone(), shape: shape.clone(), ring, frac, lo, hi }
        };
        self.graph.inputs.iter().map(format).collect()
    }

    fn output(&mut self, port: PortId, output: &nn::Output) -> Result<OutputFormat, FormatError> {
        self.origin = self.graph.program[output.value].origin;
        if self.is_weight(output.value) {
            return Err(
                self.unsupported(output.value, "an output that no input reaches is not private")
            );
        }
        let x = self.masked(output.value)?;
        let bits = self.facts.int_bits[output.value.index()] + self.frac_of(x) + 1;
        let x = self.narrowed(x, bits);
        let ty = self.ty(x).clone();
        let shown = self.push(Op::Reveal { port }, &[x], ty.clone());
        self.program.outputs.push(shown);
        Ok(OutputFormat {
            name: output.name.clone(),
            shape: ty.shape,
            ring: ty.ring,
            frac: ty.frac,
            clear: output.clear.clone(),
        })
    }
}
