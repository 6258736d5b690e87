//! Convolution, matrix product and element-wise product: wide masked operands, a result in shares.
//!
//! Convolutions below the nn level have channels last; the transposes around them vanish in `masked_passes`.

use super::Lowering;
use super::error::{FormatError, no_room};
use super::fractions::{least_weight_frac, most_weight_frac};
use mpcc_ir::Id;
use mpcc_ir::channels_last::{FILTER, IMAGE, IMAGE_BACK, permuted};
use mpcc_ir::masked::{Kind, Op, Ty};
use mpcc_ir::nn;

impl Lowering<'_> {
    pub(super) fn conv(&mut self, id: Id) -> Result<(), FormatError> {
        let node = self.graph.program[id].clone();
        let nn::Op::Conv { window, groups } = node.op else { return Ok(()) };
        if self.is_weight(node.args[0]) || !self.is_weight(node.args[1]) {
            return Err(
                self.unsupported(id, "the kernel has to be a parameter and the image secret")
            );
        }
        let (x, w) = self.operands(id, node.args[0], node.args[1])?;
        let bias_frac = self.frac_of(x) + self.frac_of(w);
        let mut args = vec![self.transposed(x, &IMAGE), self.transposed(w, &FILTER)];
        if let Some(&bias) = node.args.get(2) {
            if !self.is_weight(bias) {
                return Err(self.unsupported(id, "the bias has to be a parameter"));
            }
            args.push(self.weight(bias, self.ring, bias_frac)?);
        }
        let ty = self.product_ty(x, w, permuted(&node.ty.shape, &IMAGE));
        let z = self.push(Op::Conv { window, groups }, &args, ty);
        let z = self.transposed(z, &IMAGE_BACK);
        self.hold(id, z);
        Ok(())
    }

    pub(super) fn mat_mul(&mut self, id: Id) -> Result<(), FormatError> {
        let [a, b] = self.pair(id);
        if self.is_weight(a) {
            return self.mat_mul_from_left(id, a, b);
        }
        let (x, y) = self.operands(id, a, b)?;
        self.product(id, Op::MatMul, &[x, y]);
        Ok(())
    }

    /// `a b` with a parameter on the left, as the transpose of `b' a'`: the first operand is masked.
    fn mat_mul_from_left(&mut self, id: Id, a: Id, b: Id) -> Result<(), FormatError> {
        let (x, y) = self.operands(id, b, a)?;
        let rank = self.ty(x).shape.rank();
        if self.ty(y).shape.rank() != rank {
            return Err(
                self.unsupported(id, "a parameter on the left needs the rank of the secret")
            );
        }
        let mut swap: Vec<usize> = (0..rank).collect();
        swap.swap(rank - 1, rank - 2);
        let (x, y) = (self.transposed(x, &swap), self.transposed(y, &swap));
        let ty = self.product_ty(x, y, permuted(&self.graph.program[id].ty.shape, &swap));
        let z = self.push(Op::MatMul, &[x, y], ty);
        let z = self.transposed(z, &swap);
        self.hold(id, z);
        Ok(())
    }

    /// Axis `i` of the result is axis `perm[i]` of `x`.
    fn transposed(&mut self, x: Id, perm: &[usize]) -> Id {
        let mut ty = self.ty(x).clone();
        ty.shape = permuted(&ty.shape, perm);
        self.push(Op::Transpose { perm: perm.to_vec() }, &[x], ty)
    }

    pub(super) fn mul(&mut self, id: Id) -> Result<(), FormatError> {
        let [a, b] = self.pair(id);
        let (a, b) = if self.is_weight(a) { (b, a) } else { (a, b) };
        let (x, y) = self.operands(id, a, b)?;
        self.product(id, Op::Mul, &[x, y]);
        Ok(())
    }

    /// The secret `a`, wide, and `b` at the fraction that the product's room leaves.
    fn operands(&mut self, id: Id, a: Id, b: Id) -> Result<(Id, Id), FormatError> {
        let room = self.facts.room[id.index()];
        let x = self.wide(a)?;
        let y = match self.facts.weights[b.index()] {
            Some(stats) => {
                let frac = (room - self.frac_of(x)).min(most_weight_frac(stats.max));
                if frac < least_weight_frac(stats.rms) {
                    let lacks = least_weight_frac(stats.rms) - frac;
                    let wanted = i32::from(self.ring) + lacks;
                    return Err(no_room(
                        self.graph,
                        id,
                        "range and fraction of the product",
                        wanted,
                        self.ring,
                    ));
                }
                self.weight(b, self.ring, frac)?
            }
            None => self.wide(b)?,
        };
        let frac = self.frac_of(x) + self.frac_of(y);
        if frac > room {
            let wanted = i32::from(self.ring) + frac - room;
            return Err(no_room(
                self.graph,
                id,
                "range and fraction of the product",
                wanted,
                self.ring,
            ));
        }
        Ok((x, y))
    }

    fn product(&mut self, id: Id, op: Op, args: &[Id]) {
        let ty = self.product_ty(args[0], args[1], self.graph.program[id].ty.shape.clone());
        let z = self.push(op, args, ty);
        self.hold(id, z);
    }

    fn product_ty(&self, x: Id, y: Id, shape: mpcc_ir::Shape) -> Ty {
        let frac = self.ty(x).frac + self.ty(y).frac;
        Ty { kind: Kind::Shares, ring: self.ring, frac, shape }
    }
}
