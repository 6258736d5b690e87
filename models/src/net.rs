//! Writes a network as an ONNX file, a line per layer.
//!
//! ```
//! use mpcc_models::net::{Conv, Net};
//!
//! let (mut net, x) = Net::new("tiny", 1, &[1, 3, 8, 8]);
//! let x = net.conv(&x, 4, Conv::same(3));
//! let x = net.relu(&x);
//! let x = net.max_pool(&x, 2, 2, 0);
//! let x = net.flatten(&x);
//! let y = net.dense(&x, 10);
//! assert_eq!(net.finish(y).output, [1, 10]);
//! ```

use crate::Model;
use crate::random::Random;
use prost::Message as _;
use std::collections::BTreeMap;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// A network under construction.
pub struct Net {
    graph: GraphProto,
    input: Value,
    random: Random,
    /// How many nodes each operator has so far; nodes are called `conv1`, `conv2`, `relu1`.
    counts: BTreeMap<String, usize>,
}

/// A tensor of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    name: String,
    dims: Vec<usize>,
}

impl Value {
    /// Its extents.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }
}

/// Geometry of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    kernel: usize,
    stride: usize,
    pad: usize,
    groups: usize,
    bias: bool,
}

impl Conv {
    /// An odd square kernel, padded so that the image keeps its size; with a bias.
    pub const fn same(kernel: usize) -> Self {
        Self { kernel, stride: 1, pad: kernel / 2, groups: 1, bias: true }
    }

    /// Without padding.
    #[must_use]
    pub const fn valid(self) -> Self {
        Self { pad: 0, ..self }
    }

    /// Every `stride`-th row and column.
    #[must_use]
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// In groups; as many as channels for a depthwise convolution.
    #[must_use]
    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Without a bias, as before batch normalisation.
    #[must_use]
    pub const fn no_bias(self) -> Self {
        Self { bias: false, ..self }
    }
}

impl Net {
    /// An empty network and its input.
    pub fn new(name: &str, seed: u64, input: &[usize]) -> (Self, Value) {
        let input = Value { name: "input".to_owned(), dims: input.to_vec() };
        let graph = GraphProto {
            name: name.to_owned(),
            input: vec![port(&input)],
            ..GraphProto::default()
        };
        let (random, counts) = (Random::new(seed), BTreeMap::new());
        (Self { graph, input: input.clone(), random, counts }, input)
    }

    /// Convolution with a square kernel.
    pub fn conv(&mut self, x: &Value, channels: usize, conv: Conv) -> Value {
        let Conv { kernel, stride, pad, groups, bias } = conv;
        let taps = x.dims[1] / groups * kernel * kernel;
        let weight = self.random.kaiming(channels * taps, taps);
        let mut params = vec![(vec![channels, x.dims[1] / groups, kernel, kernel], weight)];
        if bias {
            params.push((vec![channels], self.random.uniform(channels, -0.1, 0.1)));
        }
        let attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[pad; 4]),
            int("group", groups),
        ];
        let side = |at: usize| (x.dims[at] + 2 * pad - kernel) / stride + 1;
        let dims = vec![x.dims[0], channels, side(2), side(3)];
        self.layer("Conv", &[x], params, attributes, dims)
    }

    /// Batch normalisation with seeded statistics; `gain` is the mean of its factors.
    pub fn batch_norm(&mut self, x: &Value, gain: f32) -> Value {
        let channels = x.dims[1];
        let spread = [(0.75 * gain, 1.25 * gain), (-0.1, 0.1), (-0.1, 0.1), (0.75, 1.25)];
        let draw = |(lo, hi)| (vec![channels], self.random.uniform(channels, lo, hi));
        let params = spread.map(draw).to_vec();
        self.layer("BatchNormalization", &[x], params, vec![], x.dims.clone())
    }

    /// Fully connected layer.
    pub fn dense(&mut self, x: &Value, outputs: usize) -> Value {
        let inputs = x.dims[1];
        let weight = self.random.kaiming(outputs * inputs, inputs);
        let bias = self.random.uniform(outputs, -0.1, 0.1);
        let params = vec![(vec![outputs, inputs], weight), (vec![outputs], bias)];
        self.layer("Gemm", &[x], params, vec![int("transB", 1)], vec![x.dims[0], outputs])
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, x: &Value) -> Value {
        self.layer("Relu", &[x], vec![], vec![], x.dims.clone())
    }

    /// `min(max(x, 0), 6)`.
    pub fn relu6(&mut self, x: &Value) -> Value {
        let (lo, hi) = (self.constant(0.0), self.constant(6.0));
        self.layer("Clip", &[x, &lo, &hi], vec![], vec![], x.dims.clone())
    }

    /// `x * min(max(x / 6 + 1/2, 0), 1)`.
    pub fn hard_swish(&mut self, x: &Value) -> Value {
        self.layer("HardSwish", &[x], vec![], vec![], x.dims.clone())
    }

    /// `min(max(x / 5 + 1/2, 0), 1)`.
    pub fn hard_sigmoid(&mut self, x: &Value) -> Value {
        self.layer("HardSigmoid", &[x], vec![], vec![], x.dims.clone())
    }

    /// Sum of two tensors of equal extents.
    pub fn add(&mut self, x: &Value, y: &Value) -> Value {
        self.layer("Add", &[x, y], vec![], vec![], x.dims.clone())
    }

    /// Product; `y` has the extents of `x`, or 1.
    pub fn mul(&mut self, x: &Value, y: &Value) -> Value {
        self.layer("Mul", &[x, y], vec![], vec![], x.dims.clone())
    }

    /// Maximum over square windows.
    pub fn max_pool(&mut self, x: &Value, kernel: usize, stride: usize, pad: usize) -> Value {
        self.pool("MaxPool", x, [kernel, stride, pad])
    }

    /// Mean over square windows.
    pub fn average_pool(&mut self, x: &Value, kernel: usize, stride: usize) -> Value {
        self.pool("AveragePool", x, [kernel, stride, 0])
    }

    fn pool(&mut self, op: &str, x: &Value, [kernel, stride, pad]: [usize; 3]) -> Value {
        let attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[pad; 4]),
        ];
        let side = |at: usize| (x.dims[at] + 2 * pad - kernel) / stride + 1;
        let dims = vec![x.dims[0], x.dims[1], side(2), side(3)];
        self.layer(op, &[x], vec![], attributes, dims)
    }

    /// Mean of each channel.
    pub fn global_average_pool(&mut self, x: &Value) -> Value {
        let dims = vec![x.dims[0], x.dims[1], 1, 1];
        self.layer("GlobalAveragePool", &[x], vec![], vec![], dims)
    }

    /// One row per image.
    pub fn flatten(&mut self, x: &Value) -> Value {
        let dims = vec![x.dims[0], x.dims[1..].iter().product()];
        self.layer("Flatten", &[x], vec![], vec![int("axis", 1)], dims)
    }

    /// The file. `y` is the output.
    pub fn finish(mut self, y: Value) -> Model {
        for node in &mut self.graph.node {
            for name in node.input.iter_mut().chain(&mut node.output) {
                if *name == y.name {
                    "output".clone_into(name);
                }
            }
        }
        let output = Value { name: "output".to_owned(), ..y };
        self.graph.output.push(port(&output));
        let name = self.graph.name.clone();
        let proto = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "mpcc-models".to_owned(),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            graph: Some(self.graph),
            ..ModelProto::default()
        };
        Model { name, input: self.input.dims, output: output.dims, onnx: proto.encode_to_vec() }
    }

    /// Adds a node after `inputs`, with parameters of its own: extents and entries.
    fn layer(
        &mut self,
        op: &str,
        inputs: &[&Value],
        params: Vec<(Vec<usize>, Vec<f32>)>,
        attribute: Vec<AttributeProto>,
        dims: Vec<usize>,
    ) -> Value {
        let name = self.name(op);
        let mut input: Vec<String> = inputs.iter().map(|x| x.name.clone()).collect();
        for (at, (dims, data)) in params.into_iter().enumerate() {
            let tensor = tensor(&format!("{name}.{at}"), &dims, &data);
            input.push(tensor.name.clone());
            self.graph.initializer.push(tensor);
        }
        self.graph.node.push(NodeProto {
            name: name.clone(),
            op_type: op.to_owned(),
            input,
            output: vec![name.clone()],
            attribute,
            ..NodeProto::default()
        });
        Value { name, dims }
    }

    /// A public number: a node and not an initializer, which would be the weights' owner's.
    fn constant(&mut self, value: f32) -> Value {
        let attribute = AttributeProto {
            name: "value".to_owned(),
            r#type: AttributeType::Tensor as i32,
            t: Some(tensor("", &[], &[value])),
            ..AttributeProto::default()
        };
        self.layer("Constant", &[], vec![], vec![attribute], vec![])
    }

    fn name(&mut self, op: &str) -> String {
        let word = op.to_lowercase();
        let count = self.counts.entry(word.clone()).or_default();
        *count += 1;
        format!("{word}{count}")
    }
}

fn tensor(name: &str, dims: &[usize], data: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

fn int(name: &str, value: usize) -> AttributeProto {
    let (name, r#type) = (name.to_owned(), AttributeType::Int as i32);
    AttributeProto { name, r#type, i: value as i64, ..AttributeProto::default() }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let (name, r#type) = (name.to_owned(), AttributeType::Ints as i32);
    let ints = values.iter().map(|&v| v as i64).collect();
    AttributeProto { name, r#type, ints, ..AttributeProto::default() }
}

fn port(value: &Value) -> ValueInfoProto {
    let dim = |&d: &usize| Dimension {
        value: Some(dimension::Value::DimValue(d as i64)),
        ..Dimension::default()
    };
    let shape = Some(TensorShapeProto { dim: value.dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let value_type =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto {
        name: value.name.clone(),
        r#type: Some(value_type),
        ..ValueInfoProto::default()
    }
}
