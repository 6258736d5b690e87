//! A folder to run `mpcc` in, and the files that the tests need.

use mpcc_ir::Shape;
use mpcc_runtime::client::Output as Array;
use mpcc_runtime::tensors::write_outputs;
use prost::Message as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// What `mpcc` says while it works, where stderr is no terminal.
const STAGES: [&str; 8] = [
    "reading the model",
    "simplifying",
    "calibrating",
    "choosing number formats",
    "scheduling",
    "verifying the plan",
    "starting the roles",
    "running",
];

/// A folder with a model, `m.onnx`, and inputs for it, `x.npy` of shape `[8, 30]`.
pub(crate) struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::copy(stored("cancer-mlp/model.onnx"), site.path("m.onnx")).unwrap();
        std::fs::copy(stored("cancer-mlp/input_0.npy"), site.path("x.npy")).unwrap();
        site
    }

    /// The same with `m.plan` and `m.weights`.
    pub(crate) fn compiled() -> Self {
        let site = Self::new();
        site.stdout("compile m.onnx --calibrate x.npy");
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    /// Writes arrays as `.npz`, or one as `.npy`.
    pub(crate) fn arrays(&self, file: &str, arrays: &[(&str, &[usize], &[f32])]) {
        let array = |(name, dims, values): &(&str, &[usize], &[f32])| Array {
            name: (*name).to_owned(),
            shape: Shape::of(dims),
            values: values.to_vec(),
            raw: Vec::new(),
        };
        let arrays: Vec<Array> = arrays.iter().map(array).collect();
        write_outputs(&self.path(file), &arrays).unwrap();
    }

    /// Runs `mpcc` in the folder; arguments are separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mpcc"));
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        command.env_remove("COLUMNS").env_remove("RUST_BACKTRACE").output().unwrap()
    }

    /// What a command that succeeds prints.
    pub(crate) fn stdout(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments}: {stderr}");
        self.plain(&output.stdout)
    }

    pub(crate) fn json(&self, arguments: &str) -> serde_json::Value {
        serde_json::from_str(&self.stdout(arguments)).unwrap()
    }

    /// Exit code and stderr of a command that fails, without the stages. It must print nothing and leave every file as
    /// it was.
    pub(crate) fn refusal(&self, arguments: &str) -> String {
        let before = self.contents();
        let output = self.run(arguments);
        assert_eq!(self.plain(&output.stdout), "", "{arguments}");
        assert!(self.contents() == before, "{arguments}: files have changed");
        let stderr = self.plain(&output.stderr);
        let said: Vec<&str> = stderr.lines().filter(|line| !STAGES.contains(line)).collect();
        format!("{}: {}", output.status.code().unwrap(), said.join("\n"))
    }

    /// Text without this folder and the folder of stored models.
    fn plain(&self, text: &[u8]) -> String {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let text = text.replace(&format!("{}/", self.folder.path().display()), "");
        text.replace(&format!("{}/", stored("").display()), "").trim_end().to_owned()
    }

    /// Names and contents of the files.
    fn contents(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.map(|path| (path.clone(), std::fs::read(path).ok())).collect()
    }
}

/// A file of a stored model.
pub(crate) fn stored(name: &str) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("models/real");
    models.join(name).components().collect()
}

/// An ONNX file from inputs such as `x=1,3,h,w` and nodes such as `y = Relu x`; the last node makes the output.
pub(crate) fn onnx(inputs: &[&str], nodes: &[&str]) -> Vec<u8> {
    let node: Vec<NodeProto> = nodes.iter().map(|text| node(text)).collect();
    let output = node.last().unwrap().output[0].clone();
    let graph = GraphProto {
        input: inputs.iter().map(|text| port(text)).collect(),
        output: vec![ValueInfoProto { name: output, ..ValueInfoProto::default() }],
        node,
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    ModelProto { opset_import, graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
}

fn node(text: &str) -> NodeProto {
    let (output, call) = text.split_once(" = ").unwrap();
    let mut words = call.split(' ').map(str::to_owned);
    NodeProto {
        op_type: words.next().unwrap(),
        input: words.collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn port(text: &str) -> ValueInfoProto {
    let (name, dims) = text.split_once('=').unwrap();
    let dim = |d: &str| match d.parse() {
        Ok(value) => dimension::Value::DimValue(value),
        Err(_) => dimension::Value::DimParam(d.to_owned()),
    };
    let dim = |d: &str| Dimension { value: Some(dim(d)), ..Dimension::default() };
    let shape = Some(TensorShapeProto { dim: dims.split(',').map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    let r#type = Some(TypeProto { value, ..TypeProto::default() });
    ValueInfoProto { name: name.to_owned(), r#type, ..ValueInfoProto::default() }
}

/// Text with every decimal number blurred: seconds, megabytes, and results, whose last digits are random.
pub(crate) fn blur(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split_inclusive([' ', '\n', '(', ')', ',', ';']) {
        let word = piece.trim_end_matches([' ', '\n', '(', ')', ',', ';']);
        let decimal = word.contains('.') && word.parse::<f64>().is_ok();
        out += if decimal { "#" } else { word };
        out += &piece[word.len()..];
    }
    out
}
