//! Moves transposes towards the outputs, until they meet what undoes them.
//!
//! Convolutions have channels last and the model channels first, so lowering puts a transpose before and after
//! each. Everything between two convolutions works on any order of axes, given that its own axes are renamed: an
//! element-wise operation, a sum, a slice, a pad, a concatenation. Only a reshape, a matrix product and a reveal ask
//! for the order that the model has; a reshape that merely drops axes of extent one does not.
//!
//! Exact. Saves a copy of every image before and after every convolution.

use mpcc_ir::channels_last::permuted;
use mpcc_ir::masked::{Kind, Masked, MaskedProgram, Op, Ty};
use mpcc_ir::{Id, Shape, ssa};
use std::collections::BTreeMap;

pub(super) fn run(program: &mut MaskedProgram) {
    let old = std::mem::take(program);
    let mut sinking =
        Sinking { program: MaskedProgram::default(), values: Vec::new(), moved: BTreeMap::new() };
    sinking.program.names.clone_from(&old.names);
    for node in &old.nodes {
        let value = sinking.node(node);
        sinking.values.push(value);
    }
    let outputs: Vec<Id> = old.outputs.iter().map(|id| sinking.in_place(*id)).collect();
    *program = sinking.program;
    program.outputs = outputs;
    super::remove_dead(program);
}

/// A value of the old program: axis `i` of it is axis `perm[i]` of `id`.
struct Value {
    id: Id,
    perm: Vec<usize>,
}

struct Sinking {
    program: MaskedProgram,
    /// By old id.
    values: Vec<Value>,
    /// Transposes that exist, by operand and permutation.
    moved: BTreeMap<(Id, Vec<usize>), Id>,
}

impl Sinking {
    fn node(&mut self, node: &ssa::Node<Masked>) -> Value {
        let own: Vec<usize> = (0..node.ty.shape.rank()).collect();
        if let Op::Transpose { perm } = &node.op {
            let Value { id, perm: inner } = &self.values[node.args[0].index()];
            return Value { id: *id, perm: permute(inner, perm) };
        }
        if let (Op::Reshape, &[x]) = (&node.op, &node.args[..]) {
            return self.reshape(x, node, own);
        }
        let order = self.order(node);
        let arg = |arg: &Id| match &order {
            Some(perm) => self.in_order(*arg, perm),
            None => self.in_place(*arg),
        };
        let args: Vec<Id> = node.args.iter().map(arg).collect();
        let perm = order.unwrap_or(own);
        let ty = Ty { shape: back(&node.ty.shape, &perm), ..node.ty.clone() };
        let id = self.program.push(renamed(&node.op, &perm), &args, ty, node.origin);
        Value { id, perm }
    }

    /// The order of axes to compute a node in: that of the first operand that a transpose waits for. `None` where
    /// the operation wants the axes as they are.
    fn order(&self, node: &ssa::Node<Masked>) -> Option<Vec<usize>> {
        let any_order = match &node.op {
            Op::Mul
            | Op::Add
            | Op::Sub
            | Op::Scale { .. }
            | Op::Offset { .. }
            | Op::ToShares
            | Op::Narrow
            | Op::Rescale { .. }
            | Op::Lift { .. }
            | Op::Relu { .. }
            | Op::Sum { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Expand
            | Op::Concat { .. }
            | Op::Gather { .. } => true,
            Op::Input { .. }
            | Op::Weight { .. }
            | Op::Conv { .. }
            | Op::MatMul
            | Op::Reshape
            | Op::Transpose { .. }
            | Op::Reveal { .. } => false,
        };
        let mut perms = node.args.iter().map(|arg| &self.values[arg.index()].perm);
        let perm = perms.find(|perm| !is_identity(perm)).filter(|_| any_order)?;
        // A sum is taken over neighbours.
        let stays = if let Op::Sum { axes } = &node.op { neighbours(axes, perm) } else { true };
        stays.then(|| perm.clone())
    }

    /// An old value as the model has it.
    fn in_place(&mut self, old: Id) -> Id {
        let own: Vec<usize> = (0..self.values[old.index()].perm.len()).collect();
        self.in_order(old, &own)
    }

    /// An old value with axis `i` as axis `perm[i]`.
    fn in_order(&mut self, old: Id, perm: &[usize]) -> Id {
        let Value { id, perm: has } = &self.values[old.index()];
        self.transposed(*id, spread(has, perm))
    }

    /// Axis `i` of the result is axis `perm[i]` of `x`. Parameters are transposed before they are repeated.
    fn transposed(&mut self, x: Id, perm: Vec<usize>) -> Id {
        if is_identity(&perm) {
            return x;
        }
        let key = (x, perm);
        if let Some(known) = self.moved.get(&key) {
            return *known;
        }
        let (x, perm) = key.clone();
        let node = self.program[x].clone();
        let ty = Ty { shape: permuted(&node.ty.shape, &perm), ..node.ty.clone() };
        let constant = matches!(node.ty.kind, Kind::Weight | Kind::Public);
        let made = if constant && node.op == Op::Expand {
            let small = self.transposed(node.args[0], perm);
            self.program.push(Op::Expand, &[small], ty, node.origin)
        } else {
            self.program.push(Op::Transpose { perm }, &[x], ty, node.origin)
        };
        self.moved.insert(key, made);
        made
    }

    /// A reshape of elements that are in the model's order but for axes of extent one reads them where they are.
    fn reshape(&mut self, x: Id, node: &ssa::Node<Masked>, own: Vec<usize>) -> Value {
        let Value { id, perm } = &self.values[x.index()];
        let shape = &self.program[*id].ty.shape;
        let long: Vec<usize> = perm.iter().copied().filter(|axis| shape[*axis] != 1).collect();
        let arg = if long.is_sorted() { *id } else { self.in_place(x) };
        let id = self.program.push(Op::Reshape, &[arg], node.ty.clone(), node.origin);
        Value { id, perm: own }
    }
}

fn is_identity(perm: &[usize]) -> bool {
    perm.iter().copied().eq(0..perm.len())
}

/// Entry `i` is entry `by[i]` of `list`.
fn permute(list: &[usize], by: &[usize]) -> Vec<usize> {
    by.iter().map(|at| list[*at]).collect()
}

/// The list whose entry `perm[i]` is entry `i` of `list`.
fn spread<T: Copy + Default>(list: &[T], perm: &[usize]) -> Vec<T> {
    let mut result = vec![T::default(); list.len()];
    for (entry, axis) in list.iter().zip(perm) {
        result[*axis] = *entry;
    }
    result
}

/// The shape of a value before the transpose.
fn back(shape: &Shape, perm: &[usize]) -> Shape {
    Shape(spread(shape, perm))
}

/// Whether axes are neighbours after renaming.
fn neighbours(axes: &[usize], perm: &[usize]) -> bool {
    let mut renamed = permute(perm, axes);
    renamed.sort_unstable();
    renamed.windows(2).all(|pair| pair[0] + 1 == pair[1])
}

/// The operation with axis `i` renamed to `perm[i]`.
fn renamed(op: &Op, perm: &[usize]) -> Op {
    let mut op = op.clone();
    if let Op::Sum { axes } = &mut op {
        *axes = permute(perm, axes);
        axes.sort_unstable();
    } else if let Op::Slice { starts, steps } = &mut op {
        (*starts, *steps) = (spread(starts, perm), spread(steps, perm));
    } else if let Op::Pad { before, after, interior, .. } = &mut op {
        for list in [before, after, interior] {
            *list = spread(list, perm);
        }
    } else if let Op::Concat { axis } | Op::Gather { axis, .. } = &mut op {
        *axis = perm[*axis];
    }
    op
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use super::run;
    use insta::assert_snapshot;

    #[test]
    fn nothing_is_moved_between_convolutions() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[1x2x4x4]
          %1 = weight param w0 mask m1 : weight<32q8>[1x1x2x3]
          %2 = weight param w1 mask m2 : weight<32q8>[1x1x3x2]
          %3 = weight param w2 mask m3 : weight<32q16>[1x3x1x1]
          %4 = transpose %0 perm [0, 2, 3, 1] : masked<32q8>[1x4x4x2]
          %5 = conv %4, %1 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32q16>[1x4x4x3]
          %6 = transpose %5 perm [0, 3, 1, 2] : shares<32q16>[1x3x4x4]
          %7 = expand %3 : weight<32q16>[1x3x4x4]
          %8 = add %6, %7 : shares<32q16>[1x3x4x4]
          %9 = rescale %8 by 8 mask m4 : masked<24q8>[1x3x4x4]
          %10 = slice %9 starts [0, 0, 1, 0] steps [1, 1, 2, 1] : masked<24q8>[1x3x2x4]
          %11 = relu %10 mask m5 : masked<32q8>[1x3x2x4]
          %12 = transpose %11 perm [0, 2, 3, 1] : masked<32q8>[1x2x4x3]
          %13 = conv %12, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32q16>[1x2x4x2]
          %14 = transpose %13 perm [0, 3, 1, 2] : shares<32q16>[1x2x2x4]
          %15 = sum %14 axes [2, 3] : shares<32q16>[1x2x1x1]
          %16 = rescale %15 by 8 mask m6 : masked<24q8>[1x2x1x1]
          %17 = reshape %16 : masked<24q8>[1x2]
          %18 = reveal %17 port port0 : masked<24q8>[1x2]
          return %18
        }";
        assert_snapshot!(after(run, src), @"
        program {
          %0 = input port port0 mask m0 : masked<32q8>[1x2x4x4]
          %1 = weight param w0 mask m1 : weight<32q8>[1x1x2x3]
          %2 = weight param w1 mask m2 : weight<32q8>[1x1x3x2]
          %3 = weight param w2 mask m3 : weight<32q16>[1x3x1x1]
          %4 = transpose %0 perm [0, 2, 3, 1] : masked<32q8>[1x4x4x2]
          %5 = conv %4, %1 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32q16>[1x4x4x3]
          %6 = transpose %3 perm [0, 2, 3, 1] : weight<32q16>[1x1x1x3]
          %7 = expand %6 : weight<32q16>[1x4x4x3]
          %8 = add %5, %7 : shares<32q16>[1x4x4x3]
          %9 = rescale %8 by 8 mask m4 : masked<24q8>[1x4x4x3]
          %10 = slice %9 starts [0, 1, 0, 0] steps [1, 2, 1, 1] : masked<24q8>[1x2x4x3]
          %11 = relu %10 mask m5 : masked<32q8>[1x2x4x3]
          %12 = conv %11, %2 window 1x1 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 1 : shares<32q16>[1x2x4x2]
          %13 = sum %12 axes [1, 2] : shares<32q16>[1x1x1x2]
          %14 = rescale %13 by 8 mask m6 : masked<24q8>[1x1x1x2]
          %15 = reshape %14 : masked<24q8>[1x2]
          %16 = reveal %15 port port0 : masked<24q8>[1x2]
          return %16
        }  ; 5 rounds, 282 B each way
        ");
    }

    #[test]
    fn a_reveal_wants_the_order_of_the_model() {
        let src = "program {
          %0 = input port port0 mask m0 : masked<32q8>[2x3x4]
          %1 = transpose %0 perm [2, 0, 1] : masked<32q8>[4x2x3]
          %2 = scale %1 by 3 : masked<32q8>[4x2x3]
          %3 = reveal %2 port port0 : masked<32q8>[4x2x3]
          return %3
        }";
        assert_snapshot!(after(run, src), @"
        program {
          %0 = input port port0 mask m0 : masked<32q8>[2x3x4]
          %1 = scale %0 by 3 : masked<32q8>[2x3x4]
          %2 = transpose %1 perm [2, 0, 1] : masked<32q8>[4x2x3]
          %3 = reveal %2 port port0 : masked<32q8>[4x2x3]
          return %3
        }  ; 0 rounds, 0 B each way
        ");
    }
}
