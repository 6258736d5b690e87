//! What a step costs: a profile of a machine, measured once, and of a link, given or by name.
//!
//! A profile is plain data in a TOML file. Products have rates by shape, element-wise programs the
//! sum of what their instructions cost per element, everything else a rate per word.

mod link;
pub mod measure;
mod products;
#[cfg(test)]
mod tests;
mod transport;

pub use link::{Link, LinkError};
pub use products::Products;

use mpcc_ir::plan::{OperandKind, Plan, StepOp, TileOp, TileProgram, Word};
use mpcc_ir::text::OpText as _;
use mpcc_runtime::kernels::Cpu;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What steps cost on a host; `mpcc profile machine` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The kernels that were measured.
    pub kernels: String,
    /// Microseconds that any step takes besides its work.
    pub step_us: f64,
    /// Microseconds until a thread that waits notices that it may go on.
    pub wake_us: f64,
    /// Microseconds of a compute thread that writes a message to a connection, besides those for its bytes.
    pub send_us: f64,
    /// Microseconds per kilobyte of that.
    pub send_us_per_kb: f64,
    /// Microseconds for which the system takes the core of that thread once the message has left, besides those for its
    /// bytes: where one host plays several, it carries messages between them, before threads that compute. None where a network
    /// card does that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub carry_us: f64,
    /// Microseconds per kilobyte of that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub carry_us_per_kb: f64,
    /// Microseconds of the thread that reads a message into its place, besides those for its bytes: a delay. Where roles
    /// share cores, work that takes a core before those that compute.
    pub receive_us: f64,
    /// Microseconds per kilobyte of that; where roles do not share cores, a message is read as it comes.
    pub receive_us_per_kb: f64,
    /// Microseconds per kilobyte of operands that no cache holds.
    pub memory_us_per_kb: f64,
    /// Rates of 32-bit words.
    pub ring32: Rates,
    /// Rates of 64-bit words.
    pub ring64: Rates,
}

/// The key by which a profile of a machine is told from other files.
const KEY: &str = "kernels";

/// Whether a text is a table with a key.
fn has_key(text: &str, key: &str) -> bool {
    text.parse::<toml::Table>().is_ok_and(|table| table.contains_key(key))
}

/// Whether nothing is at `path` but perhaps a file that is empty, or a table with a key: a profile may go there.
fn is_free_or_has(path: &Path, key: &str) -> bool {
    let is_profile = |text: String| text.is_empty() || has_key(&text, key);
    !path.exists() || path.is_file() && std::fs::read_to_string(path).is_ok_and(is_profile)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// What work on ring words of one width costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Nanoseconds per element of each instruction of tile programs, by mnemonic and, where it
    /// matters, width.
    pub tile_ns: BTreeMap<String, f64>,
    /// Nanoseconds per word of data movement and sums.
    pub word_ns: BTreeMap<String, f64>,
    /// Products and convolutions.
    pub products: Products,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum ProfileError {
    #[error("there is no profile `{path}`; `mpcc profile machine -o {path}` makes one")]
    Missing { path: PathBuf },
    #[error("cannot read the profile `{path}`; give a file that `mpcc profile machine` wrote")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "`{path}` is not a profile of a machine; give a file that `mpcc profile machine` wrote"
    )]
    Other { path: PathBuf },
    #[error(
        "`{path}` is damaged, or of another version of mpcc; `mpcc profile machine -o {path}` measures it again"
    )]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("`{path}`: {key} is {value}; `mpcc profile machine -o {path}` measures it again")]
    Value { path: PathBuf, key: String, value: f64 },
    #[error(
        "`{path}`: kernels are `{kernels}`, which are not {}; `mpcc profile machine -o {path}` measures it again",
        Cpu::ALL.map(Cpu::name).join(", ")
    )]
    Kernels { path: PathBuf, kernels: String },
    #[error("`{path}` lacks {key}; `mpcc profile machine -o {path}` measures it again")]
    Lacks { path: PathBuf, key: String },
}

/// Microseconds, nanoseconds or operations a nanosecond beyond which a number in a profile is a mistake.
const MOST: f64 = 1e6;

impl Default for Machine {
    /// One core of a server with AVX-512.
    fn default() -> Self {
        toml::from_str(include_str!("default.toml")).expect("a test reads the built-in profile")
    }
}

impl Machine {
    /// Reads a profile.
    ///
    /// # Errors
    /// [`ProfileError`] for a file that cannot be read, is something else, or has a number that cannot be.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let own = || path.to_owned();
        let text = std::fs::read_to_string(path).map_err(|source| {
            if source.kind() == ErrorKind::NotFound {
                ProfileError::Missing { path: own() }
            } else if source.kind() == ErrorKind::InvalidData {
                ProfileError::Other { path: own() }
            } else {
                ProfileError::Read { path: own(), source }
            }
        })?;
        if !has_key(&text, KEY) {
            return Err(ProfileError::Other { path: own() });
        }
        let machine: Self = toml::from_str(&text)
            .map_err(|source| ProfileError::Parse { path: own(), source: Box::new(source) })?;
        if !Cpu::ALL.iter().any(|cpu| cpu.name() == machine.kernels) {
            return Err(ProfileError::Kernels { path: own(), kernels: machine.kernels });
        }
        if let Some((key, value)) =
            machine.numbers().find(|(_, value)| !(0.0..=MOST).contains(value))
        {
            return Err(ProfileError::Value { path: own(), key, value });
        }
        match machine.lacks() {
            Some(key) => Err(ProfileError::Lacks { path: own(), key }),
            None => Ok(machine),
        }
    }

    /// Whether a new profile may have this place: nothing is there, or a profile of a machine.
    pub fn may_replace(path: &Path) -> bool {
        is_free_or_has(path, KEY)
    }

    /// What predictions need and the profile does not have.
    fn lacks(&self) -> Option<String> {
        let whole = Self::default();
        let rings =
            [("ring32", &self.ring32, &whole.ring32), ("ring64", &self.ring64, &whole.ring64)];
        rings.into_iter().find_map(|(ring, own, all)| {
            let tables =
                [("tile_ns", &own.tile_ns, &all.tile_ns), ("word_ns", &own.word_ns, &all.word_ns)];
            let absent = tables.into_iter().find_map(|(table, own, all)| {
                let key = all.keys().find(|key| !own.contains_key(*key))?;
                Some(format!("{ring}.{table}.{key}"))
            });
            let is_whole = own.products.are_whole();
            absent
                .or_else(|| (!is_whole).then(|| format!("numbers that can be in {ring}.products")))
        })
    }

    /// Its numbers, but those of products, with their names.
    fn numbers(&self) -> impl Iterator<Item = (String, f64)> {
        let rings = [("ring32", &self.ring32), ("ring64", &self.ring64)];
        let named = rings.into_iter().flat_map(|(ring, rates)| {
            let named = |table: &'static str, values: &BTreeMap<String, f64>| {
                let named = values.iter().map(|(name, ns)| (format!("{ring}.{table}.{name}"), *ns));
                named.collect::<Vec<_>>()
            };
            [named("tile_ns", &rates.tile_ns), named("word_ns", &rates.word_ns)].concat()
        });
        let own = [
            ("step_us", self.step_us),
            ("wake_us", self.wake_us),
            ("send_us", self.send_us),
            ("send_us_per_kb", self.send_us_per_kb),
            ("carry_us", self.carry_us),
            ("carry_us_per_kb", self.carry_us_per_kb),
            ("receive_us", self.receive_us),
            ("receive_us_per_kb", self.receive_us_per_kb),
            ("memory_us_per_kb", self.memory_us_per_kb),
        ];
        own.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(named)
    }

    /// The profile as text.
    ///
    /// # Errors
    /// A number that is none.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The rates for words of a width.
    pub fn rates(&self, word: Word) -> &Rates {
        match word {
            Word::W32 => &self.ring32,
            Word::W64 => &self.ring64,
        }
    }
}

/// The cost of the steps of one plan: what does not depend on the step is worked out once.
pub struct StepCosts<'a> {
    machine: &'a Machine,
    rates: &'a Rates,
    word_bytes: f64,
    /// Nanoseconds per element of each program.
    programs: Vec<f64>,
}

impl<'a> StepCosts<'a> {
    /// For a plan's programs and words.
    pub fn new(machine: &'a Machine, plan: &Plan) -> Self {
        let rates = machine.rates(plan.word);
        let programs = plan.programs.iter().map(|p| rates.program_ns(p)).collect();
        Self { machine, rates, word_bytes: plan.word.bytes() as f64, programs }
    }

    /// Microseconds of a compute thread.
    pub fn step_us(&self, op: &StepOp) -> f64 {
        self.machine.step_us + self.work_us(op)
    }

    fn work_us(&self, op: &StepOp) -> f64 {
        let word = |name: &str, bytes: u64| {
            self.rates.word_ns.get(name).copied().unwrap_or(1.0) * bytes as f64
                / self.word_bytes
                / 1e3
        };
        let products = &self.rates.products;
        match op {
            StepOp::Map { program, count, .. } => {
                self.programs[*program as usize] * *count as f64 / 1e3
            }
            StepOp::Conv { window, groups, x_shape, out_channels, x, w, out } => {
                let us = products.conv_ns(window, *groups, *x_shape, *out_channels) / 1e3;
                us.max(self.memory_us(x.len + w.len + out.len))
            }
            StepOp::MatMul { batch, mkn, a, b, out, .. } => {
                let us = products.gemm_ns(*mkn) * *batch as f64 / 1e3;
                us.max(self.memory_us(a.len + b.len + out.len))
            }
            StepOp::Strided { shape, src_strides, dst_strides, .. } => {
                let words: usize = shape.iter().product();
                let inner = shape.iter().rposition(|n| *n > 1);
                let runs = inner.is_none_or(|axis| {
                    shape[axis] >= 8 && (src_strides[axis], dst_strides[axis]) == (1, 1)
                });
                let name = if runs { "copy runs" } else { "copy words" };
                word(name, words as u64 * self.word_bytes as u64)
            }
            StepOp::Fill { dst, .. } => word("fill", dst.len),
            StepOp::Gather { inner, dst, .. } => {
                word(if *inner >= 8 { "copy runs" } else { "copy words" }, dst.len)
            }
            StepOp::Sum { inner, src, .. } => {
                word(if *inner >= 8 { "sum rows" } else { "sum" }, src.len)
            }
            StepOp::Load { dst, .. } => self.memory_us(dst.len * 2),
            StepOp::Send { src, .. } => {
                self.machine.send_us + self.machine.send_us_per_kb * src.len as f64 / 1e3
            }
            // A message that nothing else waits for is in its place when the step begins.
            StepOp::Receive { .. } => 0.0,
        }
    }

    /// The time to read or write so many bytes, if they are more than caches hold.
    fn memory_us(&self, bytes: u64) -> f64 {
        const CACHES: u64 = 8 << 20;
        if bytes <= CACHES { 0.0 } else { self.machine.memory_us_per_kb * bytes as f64 / 1e3 }
    }
}

impl Rates {
    fn program_ns(&self, program: &TileProgram) -> f64 {
        let cost = |op: &TileOp| self.tile_ns.get(&tile_key(*op, program)).copied().unwrap_or(0.5);
        program.ops.iter().map(cost).sum()
    }
}

/// The name under which an instruction's cost is kept: instructions that take the same time share one.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others have no width and no twin")]
fn tile_key(op: TileOp, program: &TileProgram) -> String {
    let operand = |at: u16| program.operands.get(usize::from(at)).map(|operand| operand.kind);
    let width = |at| match operand(at) {
        Some(OperandKind::Packed { bits }) => bits,
        _ => 64,
    };
    match op {
        TileOp::Load { operand: at, .. } => match operand(at) {
            Some(OperandKind::Table { inner: 0..8, .. }) => "load entries".to_owned(),
            Some(OperandKind::Table { .. }) => "load table".to_owned(),
            _ => "load".to_owned(),
        },
        TileOp::Unpack { operand, .. } => format!("unpack {}", width(operand)),
        TileOp::Pack { operand, .. } => format!("pack {}", width(operand)),
        TileOp::Random { bits: 0 | 1, .. } => "random 1".to_owned(),
        TileOp::Random { bits: 2..=32, .. } => "random 32".to_owned(),
        TileOp::Random { .. } => "random 64".to_owned(),
        TileOp::Sub { .. } => "add".to_owned(),
        TileOp::AddConst { .. } | TileOp::Neg { .. } | TileOp::Low { .. } => "shl".to_owned(),
        TileOp::ShiftLeft { .. } | TileOp::ShiftRight { .. } => "shl".to_owned(),
        TileOp::And { .. } | TileOp::Not { .. } | TileOp::Xor { .. } => "xor".to_owned(),
        _ => op.mnemonic().to_owned(),
    }
}
