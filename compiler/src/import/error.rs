//! Why a model is not imported. Every message names the place and what the user can do about it.

use std::fmt;
use std::path::PathBuf;

/// A node that cannot be run privately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The node's name in the model, or its first output where it has none.
    pub node: String,
    /// The operator, with its domain where that is not ONNX's own.
    pub op: String,
    /// What is wrong.
    pub reason: String,
    /// What the user can do about it.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, op, reason, remedy } = self;
        write!(f, "{op} `{node}`: {reason}; {remedy}")
    }
}

/// A model input whose extents the file leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenShape {
    /// The input's name.
    pub input: String,
    /// Its extents as the file states them; a name or `?` where one is open.
    pub dims: Vec<String>,
}

impl OpenShape {
    /// An option that closes it, with a batch of one and an image of the usual size.
    fn option(&self) -> String {
        let image = self.dims.len() == 4;
        let close = |(at, d): (usize, &String)| match d.parse::<usize>() {
            Ok(_) => d.clone(),
            Err(_) if image && at > 1 => "224".to_owned(),
            Err(_) => "1".to_owned(),
        };
        let dims: Vec<_> = self.dims.iter().enumerate().map(close).collect();
        format!("--shape {}={}", self.input, dims.join(","))
    }
}

/// Why a model is refused.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
#[non_exhaustive]
pub enum ImportError {
    #[error("cannot read `{}`: {reason}; check the path", path.display())]
    Read { path: PathBuf, reason: std::io::Error },
    #[error("the file is empty; export or copy the model again")]
    Empty,
    #[error("this is not an ONNX file ({reason}); it may be truncated: fetch or export it again")]
    Protobuf { reason: prost::DecodeError },
    #[error("the file holds no graph; it may be truncated or not an ONNX model: export it again")]
    NoGraph,
    #[error(
        "the model uses ONNX operator set {found}, and {oldest} to {newest} are supported; \
         convert it with onnx.version_converter or export it with opset_version=17"
    )]
    Opset { found: i64, oldest: i64, newest: i64 },
    #[error("the file does not say which ONNX operator set it uses; export it again")]
    NoOpset,
    #[error(
        "tensor `{tensor}` is kept in another file; join them with \
         onnx.save(onnx.load(path), joined_path)"
    )]
    ExternalData { tensor: String },
    #[error("tensor `{tensor}`: {reason}; export the model again")]
    BadTensor { tensor: String, reason: String },
    #[error(
        "tensor `{tensor}` has {reason}; a private run cannot represent it: repair the weights"
    )]
    NotFinite { tensor: String, reason: &'static str },
    #[error("node `{node}` reads `{value}`, which nothing defines; export the model again")]
    Undefined { node: String, value: String },
    #[error("`{value}` is defined twice; export the model again")]
    Duplicate { value: String },
    #[error("the nodes {} form a cycle; export the model again", nodes.join(", "))]
    Cycle { nodes: Vec<String> },
    #[error("the model has no {what}; export it again with at least one")]
    NoPorts { what: &'static str },
    #[error("output `{output}` is not computed by any node; export the model again")]
    MissingOutput { output: String },
    #[error("output `{output}` depends on no input, so there is nothing to compute; remove it")]
    ConstantOutput { output: String },
    #[error("no output depends on input `{input}`; remove it from the model")]
    IdleInput { input: String },
    #[error("{}", open_shapes(.0))]
    OpenShapes(Vec<OpenShape>),
    #[error("the model has no input `{name}`; its inputs are: {}", .inputs.join(", "))]
    NoSuchInput { name: String, inputs: Vec<String> },
    #[error(
        "input `{input}` is [{declared}] in the model, and [{given}] does not fit; correct the shape"
    )]
    ShapeConflict { input: String, declared: String, given: String },
    #[error("input `{input}` {reason}; {remedy}")]
    BadInput { input: String, reason: String, remedy: &'static str },
    #[error("{what} is {found}, over the limit of {limit}; raise the limit if you trust the model")]
    Limit { what: String, found: u64, limit: u64 },
    #[error("{}", refusals(.0))]
    Unsupported(Vec<Refusal>),
}

fn open_shapes(open: &[OpenShape]) -> String {
    let mut text =
        String::from("the shapes of some inputs are open, and a private run needs fixed ones");
    for shape in open {
        text += &format!(
            "\n  `{}` is [{}]: for example, add {}",
            shape.input,
            shape.dims.join(","),
            shape.option()
        );
    }
    text
}

fn refusals(list: &[Refusal]) -> String {
    let (count, plural) = (list.len(), if list.len() == 1 { "" } else { "s" });
    let mut text = format!("{count} node{plural} of the model cannot be run privately");
    for refusal in list {
        text += &format!("\n  {refusal}");
    }
    text
}

/// Why one node cannot be imported; the caller adds which.
#[derive(Debug)]
pub(super) enum Fault {
    /// The node is listed with all others that are refused.
    Refuse {
        /// What is wrong.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// Import stops here.
    Fatal(Box<ImportError>),
}

impl From<ImportError> for Fault {
    fn from(error: ImportError) -> Self {
        Self::Fatal(Box::new(error))
    }
}

/// A refusal with what to do about it.
pub(super) fn refuse<T>(reason: impl Into<String>, remedy: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Refuse { reason: reason.into(), remedy: remedy.into() })
}

/// A refusal of a node that breaks ONNX's own rules.
pub(super) fn invalid<T>(reason: impl Into<String>) -> Result<T, Fault> {
    refuse(reason, "check the model with onnx.checker")
}
