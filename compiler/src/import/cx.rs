//! What a node's translation works with: its attributes and inputs, and the graph it adds to.

use super::constant::{Const, count, extents};
use super::error::{Fault, ImportError, invalid, refuse};
use super::limits::{Limits, MAX_EXTENT, MAX_RANK};
use mpcc_ir::nn::{ClearOp, Graph, Op, Param, Ty, Visibility};
use mpcc_ir::{Id, Shape};
use std::collections::BTreeMap;
use std::rc::Rc;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};

/// The result of translating a node, or a part of it.
pub(super) type Res<T> = Result<T, Fault>;

/// What a value of the model has become.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Known now.
    Const(Rc<Const>),
    /// A value of the graph.
    Net {
        /// Which.
        id: Id,
        /// Reals; otherwise integers of an input, which must be cast before use.
        float: bool,
    },
    /// Computed by the receiver.
    Clear(Rc<Clear>),
    /// Comes out of a node that is refused.
    Unknown,
}

/// A value that the receiver computes from a revealed one.
#[derive(Clone, Debug)]
pub(super) struct Clear {
    /// What is revealed.
    pub(super) base: Id,
    /// What is done with it.
    pub(super) ops: Vec<ClearOp>,
    /// Extents of the result.
    pub(super) dims: Vec<usize>,
}

/// One node under translation.
pub(super) struct Cx<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) params: &'a mut BTreeMap<(String, Vec<usize>), Id>,
    pub(super) total_elements: &'a mut u64,
    pub(super) stored_elements: &'a mut u64,
    pub(super) node: &'a NodeProto,
    pub(super) inputs: Vec<Option<Value>>,
    pub(super) opset: i64,
    pub(super) limits: &'a Limits,
    pub(super) origin: u32,
    /// Everything that reads this node is computed by the receiver or is an output.
    pub(super) in_tail: bool,
}

/// Attributes.
impl Cx<'_> {
    fn attr(&self, name: &str, kind: AttributeType) -> Res<Option<&AttributeProto>> {
        let Some(attr) = self.node.attribute.iter().find(|a| a.name == name) else {
            return Ok(None);
        };
        // Files of old versions leave the type out.
        let types = [AttributeType::Undefined as i32, kind as i32];
        if !types.contains(&attr.r#type) || !attr.ref_attr_name.is_empty() {
            return invalid(format!("attribute `{name}` is not of type {}", kind.as_str_name()));
        }
        Ok(Some(attr))
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Res<i64> {
        Ok(self.attr(name, AttributeType::Int)?.map_or(default, |a| a.i))
    }

    pub(super) fn flag(&self, name: &str) -> Res<bool> {
        Ok(self.int(name, 0)? != 0)
    }

    pub(super) fn float(&self, name: &str, default: f64) -> Res<f64> {
        let value = self.attr(name, AttributeType::Float)?.map_or(default, |a| decimal(a.f));
        if value.is_nan() {
            return invalid(format!("attribute `{name}` is not a number"));
        }
        Ok(value)
    }

    pub(super) fn ints(&self, name: &str) -> Res<Option<Vec<i64>>> {
        Ok(self.attr(name, AttributeType::Ints)?.map(|a| a.ints.clone()))
    }

    pub(super) fn floats(&self, name: &str) -> Res<Option<Vec<f32>>> {
        Ok(self.attr(name, AttributeType::Floats)?.map(|a| a.floats.clone()))
    }

    pub(super) fn text(&self, name: &str, default: &str) -> Res<String> {
        let attr = self.attr(name, AttributeType::String)?;
        Ok(attr.map_or_else(|| default.to_owned(), |a| String::from_utf8_lossy(&a.s).into_owned()))
    }

    pub(super) fn tensor(&self, name: &str) -> Res<Option<Const>> {
        let Some(attr) = self.attr(name, AttributeType::Tensor)? else { return Ok(None) };
        let Some(proto) = attr.t.clone() else {
            return invalid(format!("attribute `{name}` holds no tensor"));
        };
        let constant = Const::read(proto, self.limits.tensor_elements)?;
        Ok(Some(Const { name: self.output_name(), private: false, ..constant }))
    }

    /// An axis given as an attribute, from 0.
    pub(super) fn axis_attr(&self, default: i64, rank: usize) -> Res<usize> {
        axis(self.int("axis", default)?, rank)
    }
}

/// Inputs.
impl Cx<'_> {
    pub(super) fn output_name(&self) -> String {
        self.node.output.first().cloned().unwrap_or_default()
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.inputs.get(at).is_some_and(Option::is_some)
    }

    pub(super) fn input(&self, at: usize) -> Res<Value> {
        match self.inputs.get(at) {
            Some(Some(value)) => Ok(value.clone()),
            Some(None) | None => invalid(format!("its input number {} is missing", at + 1)),
        }
    }

    /// An optional input that must be known now.
    pub(super) fn constant(&self, at: usize) -> Res<Option<Rc<Const>>> {
        match self.inputs.get(at) {
            Some(Some(Value::Const(constant))) => Ok(Some(constant.clone())),
            Some(None) | None => Ok(None),
            Some(Some(Value::Net { .. } | Value::Clear(_) | Value::Unknown)) => refuse(
                format!("its input `{}` depends on a model input", self.input_name(at)),
                "make it a constant, for example with a fixed batch and onnxsim",
            ),
        }
    }

    pub(super) fn required(&self, at: usize) -> Res<Rc<Const>> {
        match self.constant(at)? {
            Some(constant) => Ok(constant),
            None => invalid(format!("its input number {} is missing", at + 1)),
        }
    }

    /// Integers that are an attribute in old operator sets and an input in new ones.
    pub(super) fn ints_or_input(&self, attr: &str, at: usize) -> Res<Option<Vec<i64>>> {
        match self.constant(at)? {
            Some(constant) => Ok(Some(constant.integers()?.to_vec())),
            None => self.ints(attr),
        }
    }

    pub(super) fn input_name(&self, at: usize) -> &str {
        self.node.input.get(at).map_or("", String::as_str)
    }

    /// An input as a value of the graph; a constant becomes a parameter.
    pub(super) fn net(&mut self, at: usize) -> Res<Id> {
        let value = self.input(at)?;
        self.to_net(&value)
    }

    pub(super) fn to_net(&mut self, value: &Value) -> Res<Id> {
        match value {
            Value::Net { id, float: true } => Ok(*id),
            Value::Const(constant) => self.param(constant, &constant.dims),
            Value::Net { float: false, .. } => refuse(
                "it works on integers of a model input",
                "feed the model reals, or cast the input to float first",
            ),
            Value::Clear(_) => refuse("it follows an operator of the model's end", "remove it"),
            Value::Unknown => refuse("its input is refused", "see the other nodes"),
        }
    }

    pub(super) fn dims_of(&self, value: &Value) -> Vec<usize> {
        match value {
            Value::Const(constant) => constant.dims.clone(),
            Value::Net { id, .. } => self.dims(*id),
            Value::Clear(clear) => clear.dims.clone(),
            Value::Unknown => Vec::new(),
        }
    }
}

/// Building.
impl Cx<'_> {
    pub(super) fn dims(&self, id: Id) -> Vec<usize> {
        self.graph.program[id].ty.shape.0.clone()
    }

    /// A constant as a parameter with these extents.
    pub(super) fn param(&mut self, constant: &Const, dims: &[usize]) -> Res<Id> {
        let key = (constant.name.clone(), dims.to_vec());
        if let Some(&id) = self.params.get(&key) {
            return Ok(id);
        }
        let data = constant.floats()?.to_vec();
        let id = self.new_param(&constant.name, dims, data)?;
        self.params.insert(key, id);
        Ok(id)
    }

    /// A new private parameter.
    pub(super) fn new_param(&mut self, name: &str, dims: &[usize], data: Vec<f32>) -> Res<Id> {
        if let Some(bad) = data.iter().find(|x| !x.is_finite()) {
            let reason = if bad.is_nan() { "an entry that is not a number" } else { "an infinity" };
            return Err(ImportError::NotFinite { tensor: name.to_owned(), reason }.into());
        }
        self.admit(dims)?;
        if count(dims) != Some(data.len()) {
            return invalid(format!("`{name}` has {} elements, not {dims:?}", data.len()));
        }
        self.store(data.len())?;
        let param = Param { name: name.to_owned(), shape: Shape::of(dims), data, public: false };
        Ok(self.graph.add_param(param, Some(self.origin)))
    }

    /// A new private parameter made for this node, repeated to `dims`.
    pub(super) fn derived(
        &mut self,
        what: &str,
        own: &[usize],
        data: Vec<f32>,
        dims: &[usize],
    ) -> Res<Id> {
        let mut padded = vec![1; dims.len().saturating_sub(own.len())];
        padded.extend(own);
        let name = format!("{}.{what}", self.output_name());
        let id = self.new_param(&name, &padded, data)?;
        if padded == dims { Ok(id) } else { self.emit(Op::Expand, &[id], dims) }
    }

    /// Adds a node, checked by the rules of the nn level.
    pub(super) fn emit(&mut self, op: Op, args: &[Id], dims: &[usize]) -> Res<Id> {
        self.admit(dims)?;
        let tys: Vec<&Ty> = args.iter().map(|a| &self.graph.program[*a].ty).collect();
        let visibility = tys.iter().map(|t| t.visibility).max().unwrap_or(Visibility::Public);
        let ty = Ty { visibility, shape: Shape::of(dims), range: None };
        if let Err(message) = op.check(&tys, &ty) {
            return invalid(message);
        }
        Ok(self.graph.program.push(op, args, ty, Some(self.origin)))
    }

    /// Counts a new tensor against the limits.
    pub(super) fn admit(&mut self, dims: &[usize]) -> Res<()> {
        if dims.len() > MAX_RANK || dims.iter().any(|&d| d as i64 > MAX_EXTENT) {
            return refuse(
                format!("a tensor of shape {dims:?} is too large"),
                "use smaller inputs",
            );
        }
        let elements = count(dims).unwrap_or(usize::MAX);
        if elements == 0 {
            return refuse(format!("a tensor of shape {dims:?} is empty"), "use larger inputs");
        }
        let what = format!("the number of elements of `{}`", self.output_name());
        self.limits.check(&what, elements, self.limits.tensor_elements)?;
        *self.total_elements += elements as u64;
        let total = usize::try_from(*self.total_elements).unwrap_or(usize::MAX);
        let what = "the number of elements of all tensors";
        Ok(self.limits.check(what, total, self.limits.total_elements)?)
    }

    /// Counts elements that stay in memory against the limits.
    pub(super) fn store(&mut self, elements: usize) -> Res<()> {
        *self.stored_elements += elements as u64;
        let stored = usize::try_from(*self.stored_elements).unwrap_or(usize::MAX);
        let what = "the number of elements of all parameters and computed constants";
        Ok(self.limits.check(what, stored, self.limits.stored_elements)?)
    }

    /// Adds an operation on one value that keeps its shape.
    pub(super) fn map(&mut self, op: Op, x: Id) -> Res<Id> {
        let dims = self.dims(x);
        self.emit(op, &[x], &dims)
    }

    pub(super) fn reshape(&mut self, x: Id, dims: &[usize]) -> Res<Id> {
        if self.dims(x) == dims { Ok(x) } else { self.emit(Op::Reshape, &[x], dims) }
    }

    pub(super) fn transpose(&mut self, x: Id, perm: &[usize]) -> Res<Id> {
        let old = self.dims(x);
        let Some(dims) = perm.iter().map(|&p| old.get(p).copied()).collect::<Option<Vec<_>>>()
        else {
            return invalid(format!("{perm:?} is no permutation of {} axes", old.len()));
        };
        if perm.iter().copied().eq(0..old.len()) {
            return Ok(x);
        }
        self.emit(Op::Transpose { perm: perm.to_vec() }, &[x], &dims)
    }

    /// Repeats `x` to `dims`, putting axes of extent 1 in front where it has too few.
    pub(super) fn broadcast(&mut self, x: &Value, dims: &[usize]) -> Res<Id> {
        let old = self.dims_of(x);
        let mut padded = vec![1; dims.len().saturating_sub(old.len())];
        padded.extend(&old);
        let id = match x {
            Value::Const(constant) => self.param(constant, &padded)?,
            Value::Net { .. } | Value::Clear(_) | Value::Unknown => {
                let id = self.to_net(x)?;
                self.reshape(id, &padded)?
            }
        };
        if padded == dims { Ok(id) } else { self.emit(Op::Expand, &[id], dims) }
    }
}

/// An axis from 0, given from either end.
pub(super) fn axis(axis: i64, rank: usize) -> Res<usize> {
    let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_front) {
        Ok(axis) if axis < rank => Ok(axis),
        Ok(_) | Err(_) => invalid(format!("axis {axis} is out of range for rank {rank}")),
    }
}

/// Axes from 0, sorted, each once.
pub(super) fn axes(list: &[i64], rank: usize) -> Res<Vec<usize>> {
    let mut out = list.iter().map(|&a| axis(a, rank)).collect::<Res<Vec<_>>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return invalid(format!("axes {list:?} name one axis twice"));
    }
    Ok(out)
}

/// The extents that two shapes broadcast to.
pub(super) fn broadcast_dims(a: &[usize], b: &[usize]) -> Res<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let join = |i| match (at(a, i), at(b, i)) {
        (x, y) if x == y => Ok(x),
        (1, y) => Ok(y),
        (x, 1) => Ok(x),
        (_, _) => invalid(format!("shapes {a:?} and {b:?} do not broadcast")),
    };
    (0..rank).map(join).collect()
}

/// The real that a person wrote where the file keeps its single precision: 0.1 and not 0.100000001.
pub(super) fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| f64::from(x))
}

/// Extents that a tensor of the model holds.
pub(super) fn dims_from(list: &[i64]) -> Res<Vec<usize>> {
    match extents(list) {
        Some((dims, _)) => Ok(dims),
        None => invalid(format!("{list:?} is no shape")),
    }
}
