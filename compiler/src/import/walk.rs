//! Walks the nodes in order and keeps what each value of the model has become.

use super::ImportOptions;
use super::constant::Const;
use super::cx::{Clear, Cx, Value};
use super::error::{Fault, ImportError, Refusal};
use super::model::{Model, node_name};
use super::ops;
use super::tail::tail;
use mpcc_ir::nn::{Graph, Input, Op, Output, Ty, Visibility};
use mpcc_ir::{Id, PortId, Shape};
use std::collections::BTreeMap;
use std::rc::Rc;
use tract_onnx::pb::{NodeProto, TensorProto};

struct Walk<'a> {
    graph: Graph,
    values: BTreeMap<String, Value>,
    initializers: BTreeMap<String, TensorProto>,
    /// Parameters already in the graph, by name and extents.
    params: BTreeMap<(String, Vec<usize>), Id>,
    refusals: Vec<Refusal>,
    opset: i64,
    options: &'a ImportOptions,
    total_elements: u64,
    stored_elements: u64,
}

/// Translates a checked model.
///
/// # Errors
/// All refused nodes, or the first fault of the file.
pub(super) fn walk(model: Model, options: &ImportOptions) -> Result<Graph, ImportError> {
    let mut walk = Walk {
        graph: Graph::default(),
        values: BTreeMap::new(),
        initializers: model.initializers,
        params: BTreeMap::new(),
        refusals: Vec::new(),
        opset: model.opset,
        options,
        total_elements: 0,
        stored_elements: 0,
    };
    for (at, port) in model.inputs.into_iter().enumerate() {
        let op = Op::Input { port: PortId(at as u32) };
        let ty = Ty { visibility: Visibility::Secret, shape: Shape(port.dims), range: None };
        let id = walk.graph.program.push(op, &[], ty, None);
        walk.graph.inputs.push(Input { name: port.name.clone(), value: id });
        walk.values.insert(port.name, Value::Net { id, float: port.float });
    }
    let in_tail = tail(&model.nodes);
    let mut uses = BTreeMap::new();
    let read = model.nodes.iter().flat_map(|n| &n.input).chain(&model.outputs);
    for name in read {
        *uses.entry(name.clone()).or_insert(0usize) += 1;
    }
    for (at, node) in model.nodes.iter().enumerate() {
        walk.visit(node, in_tail.contains(&at))?;
        walk.release(node, &mut uses);
    }
    walk.finish(model.outputs)
}

/// An input that no output depends on: nobody would be told its mask.
fn idle_input(graph: &Graph) -> Option<&Input> {
    let mut used = vec![false; graph.program.nodes.len()];
    for output in &graph.program.outputs {
        used[output.index()] = true;
    }
    for (at, node) in graph.program.nodes.iter().enumerate().rev() {
        if used[at] {
            node.args.iter().for_each(|arg| used[arg.index()] = true);
        }
    }
    graph.inputs.iter().find(|input| !used[input.value.index()])
}

impl Walk<'_> {
    fn visit(&mut self, node: &NodeProto, in_tail: bool) -> Result<(), ImportError> {
        let op = match node.domain.as_str() {
            "" | "ai.onnx" => node.op_type.clone(),
            domain => format!("{domain}.{}", node.op_type),
        };
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(if name.is_empty() { None } else { Some(self.value(node, name)?) });
        }
        let origin = self.graph.program.names.len() as u32;
        self.graph.program.names.push(node_name(node));
        let unknown = inputs.iter().flatten().any(|v| matches!(v, Value::Unknown));
        let mut cx = Cx {
            graph: &mut self.graph,
            params: &mut self.params,
            total_elements: &mut self.total_elements,
            stored_elements: &mut self.stored_elements,
            node,
            inputs,
            opset: self.opset,
            limits: &self.options.limits,
            origin,
            in_tail,
        };
        let translated = ops::translate(&op, &mut cx, unknown).and_then(|outputs| {
            for constant in outputs.iter().filter_map(computed) {
                cx.store(constant.len())?;
            }
            Ok(outputs)
        });
        let outputs = match translated {
            Ok(outputs) => outputs,
            Err(Fault::Fatal(error)) => return Err(*error),
            Err(Fault::Refuse { reason, remedy }) => {
                let stand_in = if unknown { Value::Unknown } else { ops::stand_in(&op, &mut cx) };
                self.refusals.push(Refusal { node: node_name(node), op, reason, remedy });
                vec![stand_in; node.output.len()]
            }
        };
        for (at, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let value = outputs.get(at).cloned().unwrap_or(Value::Unknown);
            if at >= outputs.len() {
                let reason = format!("its output number {} is not supported", at + 1);
                let (node, op) = (node_name(node), node.op_type.clone());
                let remedy = "export the model for inference".to_owned();
                self.refusals.push(Refusal { node, op, reason, remedy });
            }
            self.values.insert(name.clone(), value);
        }
        Ok(())
    }

    /// What `name` is; an initializer is read at its first use.
    fn value(&mut self, node: &NodeProto, name: &str) -> Result<Value, ImportError> {
        if let Some(proto) = self.initializers.remove(name) {
            let constant = Const::read(proto, self.options.limits.tensor_elements)?;
            self.values.insert(name.to_owned(), Value::Const(Rc::new(constant)));
        }
        self.values
            .get(name)
            .cloned()
            .ok_or_else(|| ImportError::Undefined { node: node_name(node), value: name.to_owned() })
    }

    /// Drops values that nothing reads any more; weights are large.
    fn release(&mut self, node: &NodeProto, uses: &mut BTreeMap<String, usize>) {
        for name in &node.input {
            if let Some(count) = uses.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.values.remove(name);
                }
            }
        }
    }

    fn finish(mut self, outputs: Vec<String>) -> Result<Graph, ImportError> {
        if !self.refusals.is_empty() {
            return Err(ImportError::Unsupported(self.refusals));
        }
        for name in outputs {
            let (value, clear) = match self.values.get(&name) {
                Some(Value::Net { id, float: true }) => (*id, Vec::new()),
                Some(Value::Clear(clear)) => {
                    let Clear { base, ops, .. } = &**clear;
                    (*base, ops.clone())
                }
                Some(Value::Net { float: false, .. }) => {
                    return Err(ImportError::BadInput {
                        input: name,
                        reason: "holds integers and is handed out unchanged".to_owned(),
                        remedy: "remove this output",
                    });
                }
                Some(Value::Const(_)) => return Err(ImportError::ConstantOutput { output: name }),
                Some(Value::Unknown) | None => {
                    return Err(if self.initializers.contains_key(&name) {
                        ImportError::ConstantOutput { output: name }
                    } else {
                        ImportError::MissingOutput { output: name }
                    });
                }
            };
            if self.graph.program[value].ty.visibility != Visibility::Secret {
                return Err(ImportError::ConstantOutput { output: name });
            }
            self.graph.program.outputs.push(value);
            self.graph.outputs.push(Output { name, value, clear });
        }
        let idle = idle_input(&self.graph).map(|input| input.name.clone());
        idle.map_or(Ok(self.graph), |input| Err(ImportError::IdleInput { input }))
    }
}

/// The constant that a node has computed, not handed on: nothing else holds it yet.
fn computed(value: &Value) -> Option<&Const> {
    match value {
        Value::Const(constant) if Rc::strong_count(constant) == 1 => Some(constant),
        Value::Const(_) | Value::Net { .. } | Value::Clear(_) | Value::Unknown => None,
    }
}
