//! Small models, spelled out, and the messages that bad ones get.

use super::*;
use insta::assert_snapshot;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

/// A port: name and extents, a word where one is open.
fn port(name: &str, dims: &[&str]) -> ValueInfoProto {
    let dim = |d: &&str| Dimension {
        value: Some(match d.parse() {
            Ok(value) => dimension::Value::DimValue(value),
            Err(_) => dimension::Value::DimParam((*d).to_owned()),
        }),
        ..Dimension::default()
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// A node from `y = Op a b`.
fn node(text: &str) -> NodeProto {
    let (outputs, call) = text.split_once(" = ").unwrap();
    let mut words = call.split(' ').map(str::to_owned);
    NodeProto {
        op_type: words.next().unwrap(),
        input: words.collect(),
        output: outputs.split(", ").map(str::to_owned).collect(),
        ..NodeProto::default()
    }
}

fn floats(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        float_data: data.to_vec(),
        ..TensorProto::default()
    }
}

fn ints(name: &str, data: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![data.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: data.to_vec(),
        ..TensorProto::default()
    }
}

fn int_attr(node: NodeProto, name: &str, i: i64) -> NodeProto {
    let attr = AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    };
    NodeProto { attribute: [node.attribute, vec![attr]].concat(), ..node }
}

/// A `Constant` node.
fn constant(tensor: TensorProto) -> NodeProto {
    let attr = AttributeProto {
        name: "value".to_owned(),
        r#type: AttributeType::Tensor as i32,
        t: Some(tensor.clone()),
        ..AttributeProto::default()
    };
    NodeProto {
        op_type: "Constant".to_owned(),
        output: vec![tensor.name],
        attribute: vec![attr],
        ..NodeProto::default()
    }
}

/// A model with input `x` and output `y`.
fn model(x: &[&str], initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> ModelProto {
    ModelProto {
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(GraphProto {
            node,
            initializer,
            input: vec![port("x", x)],
            output: vec![port("y", &[])],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn accepted(model: &ModelProto) -> String {
    let graph = import(&model.encode_to_vec(), &ImportOptions::default()).unwrap();
    graph.program.verify().unwrap();
    graph.program.to_string()
}

fn refused(model: &ModelProto) -> String {
    import(&model.encode_to_vec(), &ImportOptions::default()).unwrap_err().to_string()
}

#[test]
fn shape_arithmetic_vanishes_and_scalars_stay_public() {
    let nodes = vec![
        node("s = Shape x"),
        constant(ints("zero", &[0])),
        node("batch = Gather s zero"),
        constant(ints("rest", &[-1])),
        int_attr(node("to = Concat batch rest"), "axis", 0),
        node("flat = Reshape x to"),
        constant(floats("half", &[], &[0.5])),
        node("z = Mul flat half"),
        node("y = Add z b"),
    ];
    let model = model(&["2", "3", "4"], vec![floats("b", &[12], &[1.0; 12])], nodes);
    assert_snapshot!(accepted(&model), @"");
}

#[test]
fn the_end_of_a_model_is_left_to_the_receiver() {
    let nodes = vec![node("r = Relu x"), node("p = Softmax r"), int_attr(node("y = ArgMax p"), "axis", 1)];
    let bytes = model(&["2", "3"], vec![], nodes).encode_to_vec();
    let graph = import(&bytes, &ImportOptions::default()).unwrap();
    assert_snapshot!(format!("{:?}", graph.outputs[0].clear), @"");
}

#[test]
fn all_nodes_that_cannot_run_are_named_at_once() {
    let nodes = vec![
        node("a = Tanh x"),
        node("b = Sigmoid a"),
        node("c = Div b x"),
        node("d = Sqrt c"),
        constant(floats("e", &[], &[0.5])),
        node("f = Pow d e"),
        node("g, h = TopK f k"),
        node("i = Erf g"),
        node("y = Relu i"),
    ];
    let model = model(&["2", "3"], vec![ints("k", &[1])], nodes);
    assert_snapshot!(refused(&model), @"");
}

#[test]
fn open_shapes_say_which_option_closes_them() {
    let model = model(&["batch", "3", "h", "w"], vec![], vec![node("y = Relu x")]);
    assert_snapshot!(refused(&model), @"");
    let shapes = |name: &str, dims: &[usize]| ImportOptions {
        shapes: vec![(name.to_owned(), dims.to_vec())],
        ..ImportOptions::default()
    };
    let import = |options| super::import(&model.encode_to_vec(), &options);
    let graph = import(shapes("x", &[1, 3, 8, 8])).unwrap();
    assert_eq!(graph.program.nodes[0].ty.shape[..], [1, 3, 8, 8]);
    assert_snapshot!(import(shapes("x", &[1, 4, 8, 8])).unwrap_err(), @"");
    assert_snapshot!(import(shapes("z", &[1])).unwrap_err(), @"");
}

#[test]
fn broken_files_are_named() {
    let good = model(&["2"], vec![floats("b", &[2], &[1.0, 2.0])], vec![node("y = Add x b")]);
    let change = |edit: &dyn Fn(&mut ModelProto)| {
        let mut model = good.clone();
        edit(&mut model);
        refused(&model)
    };
    let graph = |edit: &dyn Fn(&mut GraphProto)| change(&|m| edit(m.graph.as_mut().unwrap()));
    let messages = [
        change(&|m| m.graph = None),
        change(&|m| m.opset_import.clear()),
        change(&|m| m.opset_import[0].version = 6),
        graph(&|g| g.node[0].input[1] = "c".to_owned()),
        graph(&|g| g.node[0].input[0] = "y".to_owned()),
        graph(&|g| g.node.push(node("y = Relu x"))),
        graph(&|g| g.output[0].name = "z".to_owned()),
        graph(&|g| g.output[0].name = "b".to_owned()),
        graph(&|g| g.input.clear()),
        graph(&|g| g.initializer[0].float_data[1] = f32::NAN),
        graph(&|g| g.initializer[0].float_data.truncate(1)),
        graph(&|g| g.initializer[0].data_location = Some(1)),
        graph(&|g| g.initializer[0].dims = vec![1 << 40, 1 << 40]),
        graph(&|g| g.initializer[0].dims = vec![-2]),
    ];
    assert_snapshot!(messages.join("\n"), @"");
    let bytes = good.encode_to_vec();
    assert_snapshot!(import(&bytes[..bytes.len() - 3], &ImportOptions::default()).unwrap_err(), @"");
}

#[test]
fn a_small_file_cannot_ask_for_a_large_tensor() {
    let huge = |op: &str| {
        let shape = ints("s", &[1 << 20, 1 << 20]);
        let nodes = vec![node(op), node("y = Add x c")];
        refused(&model(&["2"], vec![shape, floats("one", &[1, 1], &[1.0])], nodes))
    };
    let messages = [huge("c = ConstantOfShape s"), huge("c = Expand one s"), huge("c = Tile one s")];
    assert_snapshot!(messages.join("\n"), @"");
}

/// Files cut off or with a byte changed are refused or accepted, and never a panic.
#[test]
fn mutated_files_do_not_panic() {
    let weight = floats("w", &[2, 1, 2, 2], &[1.0; 8]);
    let nodes = vec![
        int_attr(node("a = Conv x w"), "group", 1),
        node("b = MaxPool a"),
        constant(ints("to", &[1, -1])),
        node("c = Reshape a to"),
        node("y = Softmax c"),
    ];
    let bytes = model(&["1", "1", "4", "4"], vec![weight], nodes).encode_to_vec();
    let mut accepted = 0;
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            accepted += usize::from(import(&changed, &ImportOptions::default()).is_ok());
        }
        accepted += usize::from(import(&bytes[..at], &ImportOptions::default()).is_ok());
    }
    assert!(accepted < 6 * bytes.len());
}
