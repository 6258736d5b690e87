//! How passes change a graph: nodes are overwritten in place or appended, and `tidy` restores the
//! order of the program and the tables.

use mpcc_ir::nn::{Graph, Nn, Op, Param, Ty, Visibility};
use mpcc_ir::ssa::Node;
use mpcc_ir::{Id, ParamId, Shape};

/// Appends a node made for `at`: it inherits the layer's name and is as secret as its operands.
pub(crate) fn push(graph: &mut Graph, at: Id, op: Op, args: &[Id], shape: Shape) -> Id {
    let program = &mut graph.program;
    let visibility =
        args.iter().map(|a| program[*a].ty.visibility).max().unwrap_or(Visibility::Public);
    let origin = program[at].origin;
    program.push(op, args, Ty { visibility, shape, range: None }, origin)
}

/// Appends an element-wise node made for `at`.
pub(crate) fn map(graph: &mut Graph, at: Id, op: Op, args: &[Id]) -> Id {
    let shape = graph.program[args[0]].ty.shape.clone();
    push(graph, at, op, args, shape)
}

/// Appends a parameter made for `at`.
pub(crate) fn param(graph: &mut Graph, at: Id, name: String, data: Vec<f32>, like: &Like) -> Id {
    let origin = graph.program[at].origin;
    let Like { shape, public } = like.clone();
    graph.add_param(Param { name, shape, data, public }, origin)
}

/// Shape and visibility of a new parameter.
#[derive(Clone, Debug)]
pub(crate) struct Like {
    /// Extents.
    pub(crate) shape: Shape,
    /// Whether everybody may know it.
    pub(crate) public: bool,
}

/// Makes `at` compute something else of the same type.
pub(crate) fn replace(graph: &mut Graph, at: Id, op: Op, args: &[Id]) {
    let node = &mut graph.program[at];
    node.op = op;
    node.args = args.to_vec();
}

/// Lets all readers of `from` read `to`.
pub(crate) fn redirect(graph: &mut Graph, from: Id, to: Id) {
    let program = &mut graph.program;
    let args = program.nodes.iter_mut().flat_map(|node| &mut node.args);
    for arg in args.chain(&mut program.outputs).filter(|arg| **arg == from) {
        *arg = to;
    }
}

/// The parameter that `id` reads.
pub(crate) fn param_at(graph: &Graph, id: Id) -> Option<&Param> {
    let Op::Param { id } = graph.program[id].op else { return None };
    Some(&graph.params[id.index()])
}

/// Whether `id` depends on an input.
pub(crate) fn is_secret(graph: &Graph, id: Id) -> bool {
    graph.program[id].ty.visibility == Visibility::Secret
}

/// Whether each element of the result depends on the same element of the operands alone.
pub(crate) fn is_element_wise(op: &Op) -> bool {
    matches!(
        op,
        Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Scale { .. }
            | Op::Offset { .. }
            | Op::Relu
            | Op::Max
            | Op::Clip { .. }
            | Op::LeakyRelu { .. }
            | Op::PRelu
            | Op::HardSigmoid { .. }
            | Op::HardSwish
            | Op::Abs
            | Op::Min
            | Op::Pow { .. }
    )
}

/// Sweeps over the nodes, tidying after each sweep, until `step` changes none; it says whether it did.
///
/// Nodes that `step` appends are visited in the next sweep. What it leaves unread stays in the program
/// until the sweep ends.
pub(crate) fn to_fixpoint(graph: &mut Graph, step: fn(&mut Graph, Id) -> bool) {
    loop {
        let mut changed = false;
        for id in graph.program.ids() {
            changed |= step(graph, id);
        }
        tidy(graph);
        if !changed {
            return;
        }
    }
}

/// Restores a well-formed graph: an order that can be executed, no unread nodes or parameters.
pub(crate) fn tidy(graph: &mut Graph) {
    sort(graph);
    let renamed = graph.program.remove_dead(|op| matches!(op, Op::Input { .. }));
    for input in &mut graph.inputs {
        input.value = renamed[input.value.index()].unwrap_or(input.value);
    }
    for (output, value) in graph.outputs.iter_mut().zip(&graph.program.outputs) {
        output.value = *value;
    }
    sort_params(graph);
}

/// Puts every operand before its readers and otherwise keeps the order.
fn sort(graph: &mut Graph) {
    let nodes = &graph.program.nodes;
    let mut order: Vec<Id> = Vec::with_capacity(nodes.len());
    let mut placed: Vec<Option<Id>> = vec![None; nodes.len()];
    for root in graph.program.ids() {
        let mut stack = vec![root];
        while let Some(&id) = stack.last() {
            let waits_for = nodes[id.index()].args.iter().find(|a| placed[a.index()].is_none());
            match waits_for {
                Some(arg) if placed[id.index()].is_none() => stack.push(*arg),
                _ => {
                    stack.pop();
                    if placed[id.index()].is_none() {
                        placed[id.index()] = Some(Id(order.len() as u32));
                        order.push(id);
                    }
                }
            }
        }
    }
    let renamed = |id: &Id| placed[id.index()].unwrap_or(*id);
    let moved = |id: &Id| {
        let node = &nodes[id.index()];
        Node::<Nn> { args: node.args.iter().map(renamed).collect(), ..node.clone() }
    };
    let sorted = order.iter().map(moved).collect();
    graph.program.outputs = graph.program.outputs.iter().map(renamed).collect();
    for input in &mut graph.inputs {
        input.value = renamed(&input.value);
    }
    graph.program.nodes = sorted;
}

/// Numbers parameters in the order in which nodes read them, and drops those that none reads.
fn sort_params(graph: &mut Graph) {
    let mut old: Vec<Option<Param>> =
        std::mem::take(&mut graph.params).into_iter().map(Some).collect();
    let mut renamed: Vec<Option<ParamId>> = vec![None; old.len()];
    for node in &mut graph.program.nodes {
        let Op::Param { id } = &mut node.op else { continue };
        if let Some(param) = old[id.index()].take() {
            renamed[id.index()] = Some(ParamId(graph.params.len() as u32));
            graph.params.push(param);
        }
        *id = renamed[id.index()].unwrap_or(*id);
    }
}
