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
    assert_snapshot!(accepted(&model), @r#"
    nn {
      name "s"
      name "zero"
      name "batch"
      name "rest"
      name "to"
      name "flat"
      name "half"
      name "z"
      name "y"
      %0 = input port port0 : secret[2x3x4]
      %1 = reshape %0 : secret[2x12] @5
      %2 = scale %1 by 0.5 : secret[2x12] @7
      %3 = param id w0 : weight[1x12] @8
      %4 = expand %3 : weight[2x12] @8
      %5 = add %2, %4 : secret[2x12] @8
      return %5
    }
    "#);
}

#[test]
fn the_end_of_a_model_is_left_to_the_receiver() {
    let nodes =
        vec![node("r = Relu x"), node("p = Softmax r"), int_attr(node("y = ArgMax p"), "axis", 1)];
    let bytes = model(&["2", "3"], vec![], nodes).encode_to_vec();
    let graph = import(&bytes, &ImportOptions::default()).unwrap();
    assert_snapshot!(format!("{:?}", graph.outputs[0].clear), @"[Softmax { axis: 1 }, ArgMax { axis: 1, last: false }]");
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
    assert_snapshot!(refused(&model), @r"
    7 nodes of the model cannot be run privately
      Tanh `a`: the operator is not supported; use Relu, LeakyRelu, HardSigmoid, HardSwish or Clip in its place and train again
      Sigmoid `b`: it is supported only at the very end of the model, where the receiver computes it in the clear; use HardSigmoid or Relu in its place and train again
      Div `c`: its divisor depends on a model input; divide by a constant, or compute the division outside of the model
      Sqrt `d`: the operator is not supported; compute it outside of the model, or see README.md for what is supported
      Pow `f`: its exponent is 0.5; only the same whole number from 1 to 16 everywhere is supported: rewrite the formula
      TopK `g`: the operator is not supported; compute it outside of the model, or see README.md for what is supported
      Erf `i`: the operator is not supported; use Relu, LeakyRelu, HardSigmoid, HardSwish or Clip in its place and train again
    ");
}

#[test]
fn open_shapes_say_which_option_closes_them() {
    let model = model(&["batch", "3", "h", "w"], vec![], vec![node("y = Relu x")]);
    assert_snapshot!(refused(&model), @r"
    the shapes of some inputs are open, and a private run needs fixed ones
      `x` is [batch,3,h,w]: for example, add --shape x=1,3,224,224
    ");
    let shapes = |name: &str, dims: &[usize]| ImportOptions {
        shapes: vec![(name.to_owned(), dims.to_vec())],
        ..ImportOptions::default()
    };
    let import = |options| super::import(&model.encode_to_vec(), &options);
    let graph = import(shapes("x", &[1, 3, 8, 8])).unwrap();
    assert_eq!(graph.program.nodes[0].ty.shape[..], [1, 3, 8, 8]);
    assert_snapshot!(import(shapes("x", &[1, 4, 8, 8])).unwrap_err(), @"input `x` is [batch,3,h,w] in the model, and [1,4,8,8] does not fit; correct the shape");
    assert_snapshot!(import(shapes("z", &[1])).unwrap_err(), @"the model has no input `z`; its inputs are: x");
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
    assert_snapshot!(messages.join("\n"), @r"
    the file holds no graph; it may be truncated or not an ONNX model: export it again
    the file does not say which ONNX operator set it uses; export it again
    the model uses ONNX operator set 6, and 7 to 28 are supported; convert it with onnx.version_converter or export it with opset_version=17
    node `y` reads `c`, which nothing defines; export the model again
    the nodes y form a cycle; export the model again
    `y` is defined twice; export the model again
    output `z` is not computed by any node; export the model again
    output `b` depends on no input, so there is nothing to compute; remove it
    the model has no inputs; export it again with at least one
    tensor `b` has an entry that is not a number; a private run cannot represent it: repair the weights
    tensor `b`: it holds 1 elements of FLOAT and should hold 2; export the model again
    tensor `b` is kept in another file; join them with onnx.save(onnx.load(path), joined_path)
    tensor `b`: its extents [1099511627776, 1099511627776] are not valid; export the model again
    tensor `b`: its extents [-2] are not valid; export the model again
    ");
    let bytes = good.encode_to_vec();
    assert_snapshot!(import(&bytes[..bytes.len() - 3], &ImportOptions::default()).unwrap_err(), @"this is not an ONNX file (failed to decode Protobuf message: ModelProto.opset_import: invalid varint); it may be truncated: fetch or export it again");
}

#[test]
fn a_small_file_cannot_ask_for_a_large_tensor() {
    let huge = |op: &str| {
        let shape = ints("s", &[1 << 20, 1 << 20]);
        let nodes = vec![node(op), node("y = Add x c")];
        refused(&model(&["2"], vec![shape, floats("one", &[1, 1], &[1.0])], nodes))
    };
    let messages =
        [huge("c = ConstantOfShape s"), huge("c = Expand one s"), huge("c = Tile one s")];
    assert_snapshot!(messages.join("\n"), @r"
    the number of elements of `c` is 1099511627776, over the limit of 268435456; raise the limit if you trust the model
    the number of elements of `c` is 1099511627776, over the limit of 268435456; raise the limit if you trust the model
    the number of elements of `c` is 1099511627776, over the limit of 268435456; raise the limit if you trust the model
    ");
}

#[test]
fn many_small_nodes_cannot_ask_for_much_memory_together() {
    let limits = Limits { tensor_elements: 100, stored_elements: 250, ..Limits::default() };
    let options = ImportOptions { limits, ..ImportOptions::default() };
    let says = |op: &str| {
        let make = |at: usize| node(&format!("c{at} = {op}"));
        let mut nodes: Vec<_> = (0..3).map(make).collect();
        nodes.push(node("y = Relu x"));
        let given = vec![ints("s", &[100]), floats("one", &[1], &[1.0])];
        let model = model(&["2"], given, nodes);
        import(&model.encode_to_vec(), &options).map_or_else(|e| e.to_string(), |_| String::new())
    };
    assert_snapshot!(says("ConstantOfShape s"), @"the number of elements of all parameters and computed constants is 300, over the limit of 250; raise the limit if you trust the model");
    assert_eq!(says("Expand one s"), says("ConstantOfShape s"));
    // What is handed on takes no memory.
    assert_eq!(says("Identity one"), "");
    // The same constant under other extents is stored again.
    let nodes = vec![
        node("c = ConstantOfShape s"),
        node("a = Add x c"),
        constant(ints("to", &[1, 1, 100])),
        node("b = Reshape a to"),
        node("y = Add b c"),
    ];
    let model = model(&["100"], vec![ints("s", &[100])], nodes);
    let says = import(&model.encode_to_vec(), &options).unwrap_err().to_string();
    assert!(says.contains("parameters and computed constants is 303, over"), "{says}");
}

#[test]
fn the_least_integer_is_no_amount_of_padding() {
    let pads = ints("pads", &[i64::MIN, 0]);
    let model = model(&["2"], vec![pads], vec![node("y = Pad x pads")]);
    assert_snapshot!(refused(&model), @r"
    1 node of the model cannot be run privately
      Pad `y`: its pads [-9223372036854775808, 0] do not match shape [2]; check the model with onnx.checker
    ");
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
