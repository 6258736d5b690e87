//! Programs in static single assignment form, the same container at every level.

use crate::id::Id;
use crate::text::{Attr, Lexer, OpText, ParseError};
use std::fmt::{self, Debug, Display};

/// One level of the IR: which operations and types its programs have.
pub trait Level: Clone + Debug + PartialEq + 'static {
    /// Operations.
    type Op: OpText + Clone + Debug + PartialEq;
    /// Types of values.
    type Ty: Attr + Clone + Debug + PartialEq + Display;
    /// The word that opens a program in the text form.
    const KEYWORD: &'static str;

    /// Checks one node's operand types against its result type.
    ///
    /// # Errors
    /// Says what is wrong; the caller adds which node.
    fn check(op: &Self::Op, args: &[&Self::Ty], result: &Self::Ty) -> Result<(), String>;
}

/// One operation and the value it computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<L: Level> {
    /// What is computed.
    pub op: L::Op,
    /// Operands; each comes earlier in the program.
    pub args: Vec<Id>,
    /// The result's type.
    pub ty: L::Ty,
    /// What this node was made from: an index into [`Program::names`] for the nn and masked levels,
    /// a node of the masked program for the views level.
    pub origin: Option<u32>,
}

/// A list of nodes in an order that can be executed, and the values that leave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Program<L: Level> {
    /// Nodes; the index is the value's [`Id`].
    pub nodes: Vec<Node<L>>,
    /// Values returned.
    pub outputs: Vec<Id>,
    /// Names of the layers of the original model.
    pub names: Vec<String>,
}

impl<L: Level> Default for Program<L> {
    fn default() -> Self {
        Self { nodes: Vec::new(), outputs: Vec::new(), names: Vec::new() }
    }
}

impl<L: Level> std::ops::Index<Id> for Program<L> {
    type Output = Node<L>;

    fn index(&self, id: Id) -> &Node<L> {
        &self.nodes[id.index()]
    }
}

impl<L: Level> std::ops::IndexMut<Id> for Program<L> {
    fn index_mut(&mut self, id: Id) -> &mut Node<L> {
        &mut self.nodes[id.index()]
    }
}

/// A program that breaks a rule of its level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct VerifyError {
    /// The node or part of the program.
    pub place: String,
    /// The rule.
    pub message: String,
}

impl<L: Level> Program<L> {
    /// Appends a node and returns its value.
    pub fn push(&mut self, op: L::Op, args: &[Id], ty: L::Ty, origin: Option<u32>) -> Id {
        let id = Id(self.nodes.len() as u32);
        self.nodes.push(Node { op, args: args.to_vec(), ty, origin });
        id
    }

    /// All values in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = Id> + use<L> {
        (0..self.nodes.len() as u32).map(Id)
    }

    /// How often each value is an operand or an output.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.nodes.len()];
        for id in self.nodes.iter().flat_map(|n| &n.args).chain(&self.outputs) {
            counts[id.index()] += 1;
        }
        counts
    }

    /// Drops nodes that no output needs, except those that `keep` holds on to, and renumbers the rest.
    /// Returns the new id of every old value that is left.
    pub fn remove_dead(&mut self, keep: impl Fn(&L::Op) -> bool) -> Vec<Option<Id>> {
        let mut live = vec![false; self.nodes.len()];
        for id in &self.outputs {
            live[id.index()] = true;
        }
        for at in (0..self.nodes.len()).rev() {
            live[at] |= keep(&self.nodes[at].op);
            if live[at] {
                for arg in &self.nodes[at].args {
                    live[arg.index()] = true;
                }
            }
        }
        let mut renamed = vec![None; self.nodes.len()];
        let mut kept = Vec::with_capacity(self.nodes.len());
        for (at, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if live[at] {
                for arg in &mut node.args {
                    *arg = renamed[arg.index()].unwrap_or(*arg);
                }
                renamed[at] = Some(Id(kept.len() as u32));
                kept.push(node);
            }
        }
        self.nodes = kept;
        for id in &mut self.outputs {
            *id = renamed[id.index()].unwrap_or(*id);
        }
        renamed
    }

    /// Checks order of definition and every node's types.
    ///
    /// # Errors
    /// Names the first node that breaks a rule.
    pub fn verify(&self) -> Result<(), VerifyError> {
        for (at, node) in self.nodes.iter().enumerate() {
            let fail = |message: String| VerifyError {
                place: format!("%{at} = {}", node.op.mnemonic()),
                message,
            };
            if let Some(late) = node.args.iter().find(|a| a.index() >= at) {
                return Err(fail(format!("operand {late} is not defined before it is used")));
            }
            let args: Vec<&L::Ty> = node.args.iter().map(|a| &self[*a].ty).collect();
            L::check(&node.op, &args, &node.ty).map_err(fail)?;
        }
        match self.outputs.iter().find(|o| o.index() >= self.nodes.len()) {
            Some(id) => Err(VerifyError {
                place: format!("return {id}"),
                message: "no such value".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// Says at which line and column the text is not a program of this level.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut lexer = Lexer::new(text);
        let program = Self::parse_from(&mut lexer)?;
        if lexer.at_end() { Ok(program) } else { Err(lexer.error("text after the program")) }
    }

    fn parse_from(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let mut program = Self::default();
        lexer.keyword(L::KEYWORD)?;
        lexer.punct("{")?;
        while lexer.try_keyword("name") {
            program.names.push(lexer.quoted()?);
        }
        while !lexer.try_keyword("return") {
            let id = lexer.prefixed("%")?;
            if id as usize != program.nodes.len() {
                return Err(lexer.error(format!("expected %{}", program.nodes.len())));
            }
            lexer.punct("=")?;
            program.nodes.push(parse_node(lexer)?);
        }
        while lexer.peek("%") {
            program.outputs.push(Id::parse(lexer)?);
            if !lexer.try_punct(",") {
                break;
            }
        }
        lexer.punct("}")?;
        Ok(program)
    }
}

fn parse_node<L: Level>(lexer: &mut Lexer<'_>) -> Result<Node<L>, ParseError> {
    let mnemonic = lexer.word()?;
    let mut args = Vec::new();
    while lexer.peek("%") {
        args.push(Id::parse(lexer)?);
        if !lexer.try_punct(",") {
            break;
        }
    }
    let op = L::Op::parse_fields(mnemonic, lexer)?;
    lexer.punct(":")?;
    let ty = L::Ty::parse(lexer)?;
    let origin = if lexer.try_punct("@") { Some(lexer.number()?) } else { None };
    Ok(Node { op, args, ty, origin })
}

impl<L: Level> Display for Program<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &[Id]| ids.iter().map(Id::to_string).collect::<Vec<_>>().join(", ");
        writeln!(f, "{} {{", L::KEYWORD)?;
        for name in &self.names {
            writeln!(f, "  name {name:?}")?;
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let mut fields = String::new();
            node.op.print_fields(&mut fields);
            let space = if node.args.is_empty() { "" } else { " " };
            let (mnemonic, args) = (node.op.mnemonic(), list(&node.args));
            write!(f, "  %{at} = {mnemonic}{space}{args}{fields} : {}", node.ty)?;
            match node.origin {
                Some(origin) => writeln!(f, " @{origin}")?,
                None => writeln!(f)?,
            }
        }
        let space = if self.outputs.is_empty() { "" } else { " " };
        write!(f, "  return{space}{}\n}}", list(&self.outputs))
    }
}
