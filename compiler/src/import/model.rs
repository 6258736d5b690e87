//! Checks the file's structure: versions, names, order of nodes, shapes of inputs.

use super::ImportOptions;
use super::constant::count;
use super::error::{ImportError, OpenShape};
use super::limits::{MAX_EXTENT, MAX_RANK};
use std::collections::{BTreeMap, BTreeSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

/// Oldest operator set.
const OLDEST: i64 = 7;
/// Newest operator set. From 22 to 28 the supported operators only gained types and the CRD mode of
/// `SpaceToDepth`.
const NEWEST: i64 = 28;

/// An input of the model.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    /// Reals; otherwise integers, which must be cast to reals first.
    pub(super) float: bool,
}

/// A model whose structure has been checked.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) opset: i64,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<String>,
    /// In an order in which each follows what it reads.
    pub(super) nodes: Vec<NodeProto>,
    pub(super) initializers: BTreeMap<String, TensorProto>,
}

impl Model {
    /// # Errors
    /// Names what is wrong with the file.
    pub(super) fn new(proto: ModelProto, options: &ImportOptions) -> Result<Self, ImportError> {
        let opset = opset(&proto);
        let graph = proto.graph.ok_or(ImportError::NoGraph)?;
        let opset = opset?;
        let limit = options.limits.nodes;
        options.limits.check("the number of nodes", graph.node.len(), limit)?;
        if let Some(sparse) = graph.sparse_initializer.first() {
            let tensor = sparse.values.as_ref().map_or_else(String::new, |v| v.name.clone());
            return Err(ImportError::BadTensor { tensor, reason: "it is sparse".to_owned() });
        }
        let mut initializers = BTreeMap::new();
        for tensor in graph.initializer {
            let name = tensor.name.clone();
            if initializers.insert(name.clone(), tensor).is_some() {
                return Err(ImportError::Duplicate { value: name });
            }
        }
        // Files of old versions list initializers among the inputs too.
        let open = graph.input.iter().filter(|i| !initializers.contains_key(&i.name));
        let inputs = ports(&open.collect::<Vec<_>>(), options)?;
        let outputs: Vec<_> = graph.output.into_iter().map(|o| o.name).collect();
        for (what, count) in [("inputs", inputs.len()), ("outputs", outputs.len())] {
            if count == 0 {
                return Err(ImportError::NoPorts { what });
            }
        }
        let given = inputs.iter().map(|p| &p.name).chain(initializers.keys());
        let given: BTreeSet<String> = given.cloned().collect();
        let nodes = sort(graph.node, given)?;
        Ok(Self { opset, inputs, outputs, nodes, initializers })
    }
}

/// Checks that a graph has the inputs of `options.shapes`, in these shapes, and no others.
///
/// # Errors
/// Names the input that does not fit.
pub(super) fn check_inputs(graph: &GraphProto, options: &ImportOptions) -> Result<(), ImportError> {
    let stored: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let open = graph.input.iter().filter(|i| !stored.contains(i.name.as_str()));
    let found = ports(&open.collect::<Vec<_>>(), options)?;
    match found.into_iter().find(|p| options.shapes.iter().all(|(name, _)| *name != p.name)) {
        Some(Port { name: input, .. }) => Err(ImportError::BadInput {
            input,
            reason: "is not among those given".to_owned(),
            remedy: "use a model with the same inputs",
        }),
        None => Ok(()),
    }
}

fn opset(proto: &ModelProto) -> Result<i64, ImportError> {
    let onnx = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let import = proto.opset_import.iter().find(|o| onnx(&o.domain));
    let found = import.ok_or(ImportError::NoOpset)?.version;
    if (OLDEST..=NEWEST).contains(&found) {
        Ok(found)
    } else {
        Err(ImportError::Opset { found, oldest: OLDEST, newest: NEWEST })
    }
}

fn ports(infos: &[&ValueInfoProto], options: &ImportOptions) -> Result<Vec<Port>, ImportError> {
    for (name, _) in &options.shapes {
        if !infos.iter().any(|i| i.name == *name) {
            let inputs = infos.iter().map(|i| i.name.clone()).collect();
            return Err(ImportError::NoSuchInput { name: name.clone(), inputs });
        }
    }
    let (mut ports, mut open) = (Vec::new(), Vec::new());
    for info in infos {
        let (dims, float) = declared(info)?;
        let given = options.shapes.iter().find(|(name, _)| *name == info.name);
        match (given, dims) {
            (Some((_, given)), dims) => {
                agree(&info.name, dims.as_deref(), given)?;
                ports.push(Port { name: info.name.clone(), dims: given.clone(), float });
            }
            (None, Some(dims)) => match dims.iter().map(|d| d.parse().ok()).collect() {
                Some(dims) => ports.push(Port { name: info.name.clone(), dims, float }),
                None => open.push(OpenShape { input: info.name.clone(), dims }),
            },
            (None, None) => {
                let dims = vec!["..".to_owned()];
                open.push(OpenShape { input: info.name.clone(), dims });
            }
        }
    }
    if !open.is_empty() {
        return Err(ImportError::OpenShapes(open));
    }
    for port in &ports {
        check_port(port, options)?;
    }
    Ok(ports)
}

fn check_port(port: &Port, options: &ImportOptions) -> Result<(), ImportError> {
    let fits = port.dims.iter().all(|&d| d as i64 <= MAX_EXTENT) && port.dims.len() <= MAX_RANK;
    let elements = if fits { count(&port.dims) } else { None }.unwrap_or(usize::MAX);
    if elements == 0 {
        return Err(ImportError::BadInput {
            input: port.name.clone(),
            reason: "has an extent of zero".to_owned(),
            remedy: "give positive extents with --shape",
        });
    }
    let what = format!("the number of elements of input `{}`", port.name);
    options.limits.check(&what, elements, options.limits.tensor_elements)
}

/// The extents as text, `None` where even their number is open, and whether the elements are reals.
fn declared(info: &ValueInfoProto) -> Result<(Option<Vec<String>>, bool), ImportError> {
    let bad = |reason: &str| ImportError::BadInput {
        input: info.name.clone(),
        reason: reason.to_owned(),
        remedy: "make it a float32 tensor and export the model again",
    };
    let Some(type_proto::Value::TensorType(tensor)) =
        info.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err(bad("is not a tensor"));
    };
    let float = match DataType::try_from(tensor.elem_type) {
        Ok(DataType::Float | DataType::Float16 | DataType::Double) => true,
        Ok(
            DataType::Uint8
            | DataType::Int8
            | DataType::Uint16
            | DataType::Int16
            | DataType::Uint32
            | DataType::Int32
            | DataType::Int64
            | DataType::Uint64,
        ) => false,
        Ok(kind) => return Err(bad(&format!("has elements of type {}", kind.as_str_name()))),
        Err(_) => return Err(bad("has elements of an unknown type")),
    };
    let text = |dim: &Option<Dim>| match dim {
        Some(Dim::DimValue(v)) if *v >= 0 => v.to_string(),
        Some(Dim::DimParam(name)) if name.parse::<u64>().is_err() => name.clone(),
        Some(Dim::DimValue(_) | Dim::DimParam(_)) | None => "?".to_owned(),
    };
    let dims = tensor.shape.as_ref().map(|s| s.dim.iter().map(|d| text(&d.value)).collect());
    Ok((dims, float))
}

fn agree(input: &str, declared: Option<&[String]>, given: &[usize]) -> Result<(), ImportError> {
    // Exporters write the batch as 1; a private run may have a larger one.
    let batch = |axis: usize, d: usize| axis == 0 && d == 1;
    let fits = |(axis, (d, g)): (usize, (&String, &usize))| {
        d.parse::<usize>().map_or(true, |d| d == *g || batch(axis, d))
    };
    match declared {
        Some(dims)
            if dims.len() != given.len() || !dims.iter().zip(given).enumerate().all(fits) =>
        {
            Err(ImportError::ShapeConflict {
                input: input.to_owned(),
                declared: dims.join(","),
                given: given.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// A node's name, or what it computes where it has none.
pub(super) fn node_name(node: &NodeProto) -> String {
    if node.name.is_empty() {
        node.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_else(|| node.op_type.clone())
    } else {
        node.name.clone()
    }
}

/// Puts nodes into an order in which each follows what it reads; keeps the file's where it can.
fn sort(nodes: Vec<NodeProto>, given: BTreeSet<String>) -> Result<Vec<NodeProto>, ImportError> {
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if given.contains(output) || makers.insert(output, at).is_some() {
                return Err(ImportError::Duplicate { value: output.clone() });
            }
        }
    }
    let mut waits = vec![0usize; nodes.len()];
    let mut readers = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for input in node.input.iter().filter(|i| !i.is_empty() && !given.contains(*i)) {
            let Some(&maker) = makers.get(input.as_str()) else {
                return Err(ImportError::Undefined { node: node_name(node), value: input.clone() });
            };
            waits[at] += 1;
            readers[maker].push(at);
        }
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&at| waits[at] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for &reader in &readers[at] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    if order.len() < nodes.len() {
        let stuck = (0..nodes.len()).filter(|&at| waits[at] > 0);
        let nodes = stuck.map(|at| node_name(&nodes[at])).collect();
        return Err(ImportError::Cycle { nodes });
    }
    let mut nodes: Vec<_> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| nodes[at].take()).collect())
}
