//! Masked program to views program, node by node.

use super::ExpandOptions;
use super::builder::Builder;
use super::handle::{AtP0, Bilinear, Masked, Val, know};
use super::local::{Local, Value, pad};
use super::product::{self, Bias};
use super::weights::Weight;
use super::{lift, relu, rescale};
use mpcc_ir::masked::{Kind, MaskedProgram, Op, Ty};
use mpcc_ir::views::{self, ViewsProgram};
use mpcc_ir::{Id, Shape};

/// Writes every masked operation as its protocol.
///
/// The result's `origin`s are nodes of `program`, and its outputs are those of `program` in order: the
/// revealed values. Nodes that no reveal needs are left out.
///
/// # Panics
/// If `program` does not verify, which would be a bug of the pass before.
pub fn expand(program: &MaskedProgram, options: &ExpandOptions) -> ViewsProgram {
    let mut expansion =
        Expansion { b: Builder::new(), program, options, values: Vec::with_capacity(64) };
    for id in program.ids() {
        let value = expansion.node(id);
        expansion.values.push(value);
    }
    let outputs = program.outputs.iter().map(|id| expansion.output(*id)).collect();
    expansion.b.finish(outputs)
}

struct Expansion<'a> {
    b: Builder,
    program: &'a MaskedProgram,
    options: &'a ExpandOptions,
    values: Vec<Value>,
}

impl Expansion<'_> {
    fn output(&self, id: Id) -> Id {
        match &self.values[id.index()] {
            Value::Masked(m) => m.delta.id(),
            value @ (Value::Shares(_) | Value::Weight(_)) => value.to_shares().id(),
        }
    }

    fn masked(&self, id: Id) -> &Masked {
        let Value::Masked(m) = &self.values[id.index()] else {
            panic!("{id} is not masked: the masked program was not verified")
        };
        m
    }

    fn node(&self, id: Id) -> Value {
        self.b.set_origin(id);
        let node = &self.program[id];
        let (ty, args) = (&node.ty, &node.args[..]);
        match &node.op {
            Op::Input { port, .. } => Value::Masked(self.b.input(*port, ty.ring, &ty.shape)),
            Op::Weight { param, .. } => {
                let public = ty.kind == Kind::Public;
                let mode = self.options.weights;
                Value::Weight(Weight::load(&self.b, *param, ty.ring, &ty.shape, mode, public))
            }
            Op::Conv { window, groups } => {
                let op = views::Op::Conv { window: *window, groups: *groups };
                self.product(op, args, ty)
            }
            Op::MatMul => self.product(views::Op::MatMul, args, ty),
            Op::Mul => self.product(views::Op::Mul, args, ty),
            Op::ToShares => Value::Shares(self.masked(args[0]).shares()),
            Op::Rescale { by, .. } => {
                let z = self.values[args[0].index()].to_shares();
                Value::Masked(rescale::open_truncated(
                    &self.b,
                    &z,
                    *by,
                    ty.ring,
                    self.options.parties,
                ))
            }
            Op::Lift { .. } => Value::Masked(lift::lift(&self.b, self.masked(args[0]), ty.ring)),
            Op::Relu { .. } => {
                let u = self.masked(args[0]);
                Value::Masked(relu::relu(&self.b, u, ty.ring, self.options.block))
            }
            Op::Reveal { port } => {
                let x = self.masked(args[0]);
                let delta = self.b.reveal(*port, x);
                Value::Masked(Masked { delta, lam: x.lam.clone() })
            }
            op @ (Op::Add
            | Op::Sub
            | Op::Scale { .. }
            | Op::Offset { .. }
            | Op::Narrow
            | Op::Sum { .. }
            | Op::Reshape
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Expand
            | Op::Concat { .. }
            | Op::Gather { .. }) => {
                let values: Vec<&Value> = args.iter().map(|a| &self.values[a.index()]).collect();
                local(op, ty).apply(&self.b, &values)
            }
        }
    }

    fn product(&self, op: views::Op, args: &[Id], ty: &Ty) -> Value {
        let op = Bilinear { op, shape: ty.shape.clone() };
        let x = self.masked(args[0]);
        let bias = args.get(2).map(|id| self.bias(*id, &ty.shape));
        Value::Shares(match &self.values[args[1].index()] {
            Value::Weight(w) => product::by_weight(&self.b, &op, x, w, bias.as_ref()),
            Value::Masked(y) => product::of_masked(&self.b, &op, x, y, bias.as_ref()),
            Value::Shares(_) => panic!("a product by shares: the masked program was not verified"),
        })
    }

    /// A bias `[o]` in the shape `[n, h, w, o]` of the convolution's result.
    fn bias(&self, id: Id, shape: &Shape) -> Bias {
        let channels = Shape::of(&[1, 1, 1, shape[3]]);
        match &self.values[id.index()] {
            Value::Weight(Weight::Public(w)) => Bias::AtP0(spread(&w.at_p0(), &channels, shape)),
            Value::Weight(Weight::Party0 { plain, .. }) => {
                Bias::AtP0(spread(plain, &channels, shape))
            }
            value @ (Value::Weight(Weight::Owner { .. }) | Value::Masked(_) | Value::Shares(_)) => {
                Bias::Shared(spread(&value.to_shares(), &channels, shape))
            }
        }
    }
}

/// The same elements in the shape `unit`, repeated to `shape`.
fn spread<K: know::Knows>(x: &Val<K>, unit: &Shape, shape: &Shape) -> Val<K> {
    x.layout(views::Op::Reshape, unit).layout(views::Op::Expand, shape)
}

/// The local operation of a node with result type `ty`.
fn local(op: &Op, ty: &Ty) -> Local {
    let layout = |op: views::Op| Local::Layout(op, ty.shape.clone());
    match op {
        Op::Add => Local::Add,
        Op::Sub => Local::Sub,
        Op::Scale { by } => Local::Times(*by),
        Op::Offset { by } => Local::Plus(*by),
        Op::Narrow => Local::Narrow(ty.ring),
        Op::Sum { axes } => layout(views::Op::Sum { axes: axes.clone() }),
        Op::Reshape => layout(views::Op::Reshape),
        Op::Transpose { perm } => layout(views::Op::Transpose { perm: perm.clone() }),
        Op::Slice { starts, steps } => {
            layout(views::Op::Slice { starts: starts.clone(), steps: steps.clone() })
        }
        Op::Pad { before, after, interior, value } => {
            layout(pad(before, after, interior, *value, ty.ring))
        }
        Op::Expand => layout(views::Op::Expand),
        Op::Concat { axis } => Local::Concat(*axis, ty.shape.clone()),
        Op::Gather { axis, indices } => {
            layout(views::Op::Gather { axis: *axis, indices: indices.clone() })
        }
        Op::Input { .. }
        | Op::Weight { .. }
        | Op::Conv { .. }
        | Op::MatMul
        | Op::Mul
        | Op::ToShares
        | Op::Rescale { .. }
        | Op::Lift { .. }
        | Op::Relu { .. }
        | Op::Reveal { .. } => unreachable!("{op:?} is not local"),
    }
}
