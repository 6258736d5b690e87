//! Lowers an nn graph to a masked program: number formats are chosen here, and where values are opened.
//!
//! A program has one *wide* ring, 32 or 64 bits, in which products are taken. A value is held as
//! lazily as its readers allow, and converted when a reader asks for another form:
//! - additive **shares** in the wide ring with many fractional bits, as products leave it. Sums of
//!   products, residual branches included, stay shares: fractions are aligned by a power of two and
//!   truncated once, where the sum is opened;
//! - **narrow** masked, as the truncating opening leaves it: what ReLU and maxima want;
//! - **wide** masked, as ReLU, a lift or an input leaves it: what products want. Narrowing is free.
//!
//! `facts` finds what each value's format must hold, `fractions` chooses the fractional bits, and the
//! other files emit, each a family of operations. Nothing overflows silently: whatever does not fit is
//! a [`FormatError`] that names the tensor.

mod emit;
mod error;
mod facts;
mod forms;
mod fractions;
mod maximum;
mod measure;
#[cfg(test)]
mod models;
mod moves;
mod noise;
mod product;
mod report;
mod stored;
mod sum;
#[cfg(test)]
mod tests;
mod weights;

pub use error::FormatError;
pub use measure::lower_measured;
pub use report::{FormatReport, Headroom};
pub use weights::QuantParam;

use facts::Facts;
use forms::Forms;
use fractions::Fractions;
use mpcc_ir::masked::{MaskedProgram, Op, Ty};
use mpcc_ir::nn::{ClearOp, Graph, Range};
use mpcc_ir::plan::Word;
use mpcc_ir::{Id, MaskId, Shape};
use std::collections::BTreeMap;

/// Which ring a program computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RingChoice {
    /// 32 bits where the predicted error is small, else 64.
    #[default]
    Auto,
    /// 32 bits.
    R32,
    /// 64 bits.
    R64,
}

/// How to choose formats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowerOptions {
    /// The ring.
    pub ring: RingChoice,
    /// Bits above the calibrated range: 2 let a value be four times as large as any sample's.
    pub margin_bits: u8,
    /// Compute parties; the error of a truncating opening is at most half as many units in the last place.
    pub parties: u8,
    /// `Auto` takes 32 bits if the predicted error is at most this part of the largest output.
    pub tolerance: f64,
}

impl Default for LowerOptions {
    fn default() -> Self {
        Self { ring: RingChoice::Auto, margin_bits: 2, parties: 2, tolerance: 0.01 }
    }
}

/// A model input's format.
#[derive(Clone, Debug, PartialEq)]
pub struct InputFormat {
    /// Name in the model.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// Bits of the ring it is masked in.
    pub ring: u8,
    /// Fractional bits.
    pub frac: i16,
    /// Reals below do not fit the formats.
    pub lo: f64,
    /// Reals above do not fit the formats.
    pub hi: f64,
}

/// A model output's format.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputFormat {
    /// Name in the model.
    pub name: String,
    /// Extents of what is revealed.
    pub shape: Shape,
    /// Bits of the ring it is revealed in.
    pub ring: u8,
    /// Fractional bits.
    pub frac: i16,
    /// What the receiver does in the clear, in order.
    pub clear: Vec<ClearOp>,
}

/// A model with its number formats.
#[derive(Clone, Debug, PartialEq)]
pub struct Lowered {
    /// The program; its ports and params are indices into the tables below.
    pub program: MaskedProgram,
    /// Width of its wide ring.
    pub word: Word,
    /// Parameters in the order of the weights file.
    pub params: Vec<QuantParam>,
    /// Inputs by port.
    pub inputs: Vec<InputFormat>,
    /// Outputs by port.
    pub outputs: Vec<OutputFormat>,
    /// What was chosen and what it costs in accuracy.
    pub report: FormatReport,
}

/// Chooses formats for `graph`, whose secret values all have calibrated ranges, and lowers it.
///
/// `RingChoice::Auto` goes by the statistical error estimate of the report.
///
/// # Errors
/// [`FormatError`] names the tensor that has no range, no format or no lowering.
pub fn lower(graph: &Graph, options: &LowerOptions) -> Result<Lowered, FormatError> {
    match options.ring {
        RingChoice::R32 => lower_in(graph, options, Word::W32),
        RingChoice::R64 => lower_in(graph, options, Word::W64),
        RingChoice::Auto => match lower_in(graph, options, Word::W32) {
            Ok(narrow) if narrow.report.relative_error() <= options.tolerance => Ok(narrow),
            Ok(_) | Err(FormatError::NoRoom { .. }) => lower_in(graph, options, Word::W64),
            Err(other) => Err(other),
        },
    }
}

fn lower_in(graph: &Graph, options: &LowerOptions, word: Word) -> Result<Lowered, FormatError> {
    let facts = Facts::gather(graph, word.bits(), options.margin_bits)?;
    let fractions = Fractions::choose(graph, &facts);
    let mut lowering = Lowering {
        graph,
        options,
        ring: word.bits(),
        facts,
        fractions,
        program: MaskedProgram::default(),
        forms: vec![Forms::default(); graph.program.nodes.len()],
        readers: graph.program.use_counts(),
        params: Vec::new(),
        weights: BTreeMap::new(),
        masks: 0,
        origin: None,
    };
    lowering.program.names.clone_from(&graph.program.names);
    let (inputs, outputs) = lowering.emit_all()?;
    let report = lowering.report();
    let Lowering { program, params, .. } = lowering;
    program.verify()?;
    Ok(Lowered { program, word, params, inputs, outputs, report })
}

/// The state of one lowering.
struct Lowering<'g> {
    graph: &'g Graph,
    options: &'g LowerOptions,
    /// Bits of the wide ring.
    ring: u8,
    facts: Facts,
    fractions: Fractions,
    program: MaskedProgram,
    /// The forms that each nn value already has.
    forms: Vec<Forms>,
    /// Readers of each nn value.
    readers: Vec<usize>,
    params: Vec<QuantParam>,
    /// Parameter expressions by nn value, ring and fraction.
    weights: BTreeMap<(Id, u8, i32), Id>,
    masks: u32,
    /// Layer of the nodes that are being emitted.
    origin: Option<u32>,
}

impl Lowering<'_> {
    fn fresh_mask(&mut self) -> MaskId {
        self.masks += 1;
        MaskId(self.masks - 1)
    }

    fn push(&mut self, op: Op, args: &[Id], ty: Ty) -> Id {
        self.program.push(op, args, ty, self.origin)
    }

    fn ty(&self, id: Id) -> &Ty {
        &self.program[id].ty
    }

    fn frac_of(&self, id: Id) -> i32 {
        i32::from(self.ty(id).frac)
    }

    /// The inputs' declared bounds: what the margin allows.
    fn bounds(&self, id: Id) -> Range {
        let range = self.graph.program[id].ty.range.unwrap_or(Range { lo: 0.0, hi: 0.0 });
        let most = range.magnitude() * f64::from(self.options.margin_bits).exp2();
        Range { lo: -most, hi: most }
    }
}
