//! Layers whose weight is a parameter, and how factors and terms go into it.
//!
//! Channels are the entries of the axis that the weight contracts (inputs) or makes (outputs): axis 1
//! of a convolution, the last axis of `x W`, the last but one of `W x`.

use super::edit::{self, Like, is_secret, param_at};
use mpcc_ir::Id;
use mpcc_ir::nn::{Graph, Op};

/// A `conv` or `matmul` of a secret with a parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    /// The node.
    pub(crate) node: Id,
    /// The secret operand.
    pub(crate) data: Id,
    /// Position of the weight among the operands.
    weight: usize,
}

/// A side of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// What goes in.
    Inputs,
    /// What comes out.
    Outputs,
}

/// One number for a whole tensor, or one per channel; whoever may know them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Channels {
    /// One entry, or one per channel.
    pub(crate) values: Vec<f64>,
    /// Whether everybody may know the values.
    pub(crate) public: bool,
}

impl Channels {
    /// The same public number everywhere.
    pub(crate) fn uniform(value: f64) -> Self {
        Self { values: vec![value], public: true }
    }

    fn at(&self, channel: usize) -> f64 {
        self.values[channel % self.values.len()]
    }
}

impl Layer {
    /// The layer at `node`; `None` unless one operand is secret and the others are parameters.
    pub(crate) fn at(graph: &Graph, node: Id) -> Option<Self> {
        let args = &graph.program[node].args;
        let op = &graph.program[node].op;
        let weight = if matches!(op, Op::MatMul) {
            usize::from(is_secret(graph, args[0]))
        } else if matches!(op, Op::Conv { .. }) {
            1
        } else {
            return None;
        };
        let data = args[1 - weight];
        let others = args.iter().filter(|a| **a != data);
        let ok = is_secret(graph, data)
            && args.iter().filter(|a| **a == data).count() == 1
            && others.into_iter().all(|a| param_at(graph, *a).is_some());
        ok.then_some(Self { node, data, weight })
    }

    /// The axis of channels in the operand or result of `rank` axes.
    pub(crate) fn axis(&self, graph: &Graph) -> usize {
        let rank = graph.program[self.node].ty.shape.rank();
        if matches!(graph.program[self.node].op, Op::Conv { .. }) {
            1
        } else {
            rank - 2 + self.weight
        }
    }

    /// Whether a term added before the layer can be added after it: no padding takes part.
    pub(crate) fn is_unpadded(&self, graph: &Graph) -> bool {
        !matches!(&graph.program[self.node].op, Op::Conv { window, .. } if window.pads != [0; 4])
    }

    /// How many neighbouring weight entries share a channel, and the channel of each such run.
    fn runs(&self, graph: &Graph, side: Side) -> (usize, impl Fn(usize) -> usize + use<>) {
        let node = &graph.program[self.node];
        let shape = graph.program[node.args[self.weight]].ty.shape.clone();
        let rank = shape.rank();
        let groups = if let Op::Conv { groups, .. } = node.op { groups } else { 0 };
        let (before, last) = (shape[rank - 2], shape[rank - 1]);
        let is_last = (self.weight == 1) == (side == Side::Outputs);
        let run = match (groups, side) {
            (0, _) if is_last => 1,
            (0, _) => last,
            (_, Side::Inputs) => before * last,
            (_, Side::Outputs) => shape[1] * before * last,
        };
        let channel = move |at: usize| match (groups, side) {
            (0, _) if is_last => at % last,
            (0, _) => at % before,
            (_, Side::Inputs) => at / shape[1] / (shape[0] / groups) * shape[1] + at % shape[1],
            (_, Side::Outputs) => at,
        };
        (run.max(1), channel)
    }

    /// Multiplies channels on one side by `factors`.
    pub(crate) fn scale(&self, graph: &mut Graph, side: Side, factors: &Channels) {
        let (run, channel) = self.runs(graph, side);
        self.change(graph, self.weight, run, factors, |at, w| w * factors.at(channel(at)));
        if side == Side::Outputs && graph.program[self.node].args.len() == 3 {
            self.change(graph, 2, 1, factors, |at, b| b * factors.at(at));
        }
    }

    /// Adds `terms` to the output channels. Only a convolution has room for them.
    pub(crate) fn add(&self, graph: &mut Graph, terms: &Channels) {
        if graph.program[self.node].args.len() == 3 {
            return self.change(graph, 2, 1, terms, |at, b| b + terms.at(at));
        }
        let outputs = graph.program[self.node].ty.shape[1];
        let data = (0..outputs).map(|i| terms.at(i) as f32).collect();
        let like = Like { shape: vec![outputs].into(), public: terms.public };
        let bias = edit::param(graph, self.node, "bias".to_owned(), data, &like);
        graph.program[self.node].args.push(bias);
    }

    /// What `terms` on the inputs amount to on the outputs, one per output channel.
    pub(crate) fn pass_on(&self, graph: &Graph, terms: &Channels) -> Channels {
        let weight = graph.program[self.node].args[self.weight];
        let Some(param) = param_at(graph, weight) else { return terms.clone() };
        let axis = self.axis(graph);
        let mut values = vec![0.0; graph.program[self.node].ty.shape[axis]];
        let (in_run, input) = self.runs(graph, Side::Inputs);
        let (out_run, output) = self.runs(graph, Side::Outputs);
        for (i, w) in param.data.iter().enumerate() {
            values[output(i / out_run)] += f64::from(*w) * terms.at(input(i / in_run));
        }
        Channels { values, public: param.public && terms.public }
    }

    /// Replaces the parameter at operand `slot` by `f(i / run, value)` for its entries `i`; others may
    /// still read the old one.
    fn change(
        &self,
        graph: &mut Graph,
        slot: usize,
        run: usize,
        by: &Channels,
        f: impl Fn(usize, f64) -> f64,
    ) {
        let Some(old) = param_at(graph, graph.program[self.node].args[slot]) else { return };
        let mut data = old.data.clone();
        for (at, values) in data.chunks_mut(run).enumerate() {
            for value in values {
                *value = f(at, f64::from(*value)) as f32;
            }
        }
        let like = Like { shape: old.shape.clone(), public: old.public && by.public };
        let name = old.name.clone();
        let new = edit::param(graph, self.node, name, data, &like);
        graph.program[self.node].args[slot] = new;
    }
}

/// The values of a parameter that is constant but for `axis`, with or without `expand`.
pub(crate) fn channels(graph: &Graph, id: Id, axis: usize) -> Option<Channels> {
    let node = &graph.program[id];
    if matches!(node.op, Op::Expand) {
        return channels(graph, node.args[0], axis);
    }
    let param = param_at(graph, id)?;
    let elsewhere = param.shape.iter().enumerate().filter(|(at, _)| *at != axis);
    let along = elsewhere.into_iter().all(|(_, extent)| *extent == 1);
    let values = param.data.iter().map(|x| f64::from(*x)).collect();
    along.then_some(Channels { values, public: param.public })
}
