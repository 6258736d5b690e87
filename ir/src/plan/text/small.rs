//! Text forms of the small types of a plan: names from a fixed list, registers, spans.

use crate::nn::ClearOp;
use crate::plan::{
    BitReg, MessageKind, Operand, OperandKind, Phase, Region, Role, Span, WeightsMode, Word,
    WordReg,
};
use crate::shape::Shape;
use crate::text::{Attr, Lexer, ParseError};
use std::fmt::Write as _;

/// A type that prints as one of a few words.
macro_rules! words {
    ($T:ident, $what:literal, [$($value:expr),*]) => {
        impl Attr for $T {
            fn print(&self, out: &mut String) {
                let _ = write!(out, "{self}");
            }

            fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
                let word = lexer.word()?;
                let mut values = [$($value),*].into_iter();
                let found = values.find(|value| value.to_string() == word);
                found.ok_or_else(|| lexer.error(format!("`{word}` is not a {}", $what)))
            }
        }
    };
}
words!(Phase, "phase", [Self::Setup, Self::Offline, Self::Online]);
words!(WeightsMode, "mode: party0, owner, public", [Self::Party0, Self::Owner, Self::Public]);
words!(
    MessageKind,
    "kind of message",
    [Self::Open, Self::Correction, Self::Mask, Self::Input, Self::Weight, Self::Reveal]
);

impl Attr for Role {
    fn print(&self, out: &mut String) {
        let _ = write!(out, "{self}");
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        lexer.word()?.parse().map_err(|message: String| lexer.error(message))
    }
}

impl Attr for Word {
    fn print(&self, out: &mut String) {
        let _ = write!(out, "{}", self.bits());
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        match lexer.number()? {
            32_u32 => Ok(Self::W32),
            64 => Ok(Self::W64),
            other => Err(lexer.error(format!("a word has 32 or 64 bits, not {other}"))),
        }
    }
}

impl Attr for Span {
    fn print(&self, out: &mut String) {
        let region = match self.region {
            Region::Deploy => "deploy",
            Region::Run => "run",
        };
        let _ = write!(out, "{region}@{}+{}", self.at, self.len);
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let region = match lexer.word()? {
            "deploy" => Region::Deploy,
            "run" => Region::Run,
            other => return Err(lexer.error(format!("expected deploy or run, found `{other}`"))),
        };
        lexer.punct("@")?;
        let at = lexer.digits()?;
        lexer.punct("+")?;
        Ok(Self { region, at, len: lexer.digits()? })
    }
}

/// A register prints as its number behind a letter.
macro_rules! register {
    ($T:ident, $prefix:literal) => {
        impl Attr for $T {
            fn print(&self, out: &mut String) {
                let _ = write!(out, concat!($prefix, "{}"), self.0);
            }

            fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
                let index = lexer.prefixed($prefix)?;
                u16::try_from(index).map(Self).map_err(|_| lexer.error("register out of range"))
            }
        }
    };
}
register!(WordReg, "w");
register!(BitReg, "b");

impl Attr for Operand {
    fn print(&self, out: &mut String) {
        out.push_str(if self.write { "write " } else { "read " });
        let _ = match self.kind {
            OperandKind::Words => write!(out, "words"),
            OperandKind::Packed { bits } => write!(out, "packed bits {bits}"),
            OperandKind::Table { inner, len } => write!(out, "table inner {inner} len {len}"),
        };
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let write = lexer.try_keyword("write");
        if !write {
            lexer.keyword("read")?;
        }
        let kind = match lexer.word()? {
            "words" => OperandKind::Words,
            "packed" => OperandKind::Packed { bits: field("bits", lexer)? },
            "table" => {
                OperandKind::Table { inner: field("inner", lexer)?, len: field("len", lexer)? }
            }
            other => return Err(lexer.error(format!("unknown layout `{other}`"))),
        };
        Ok(Self { kind, write })
    }
}

impl Attr for ClearOp {
    fn print(&self, out: &mut String) {
        let _ = match self {
            Self::Softmax { axis } => write!(out, "softmax axis {axis}"),
            Self::Sigmoid => write!(out, "sigmoid"),
            Self::ArgMax { axis, last } => write!(out, "argmax axis {axis} last {last}"),
            Self::Reshape { shape } => write!(out, "reshape shape {shape}"),
        };
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        match lexer.word()? {
            "softmax" => Ok(Self::Softmax { axis: field("axis", lexer)? }),
            "sigmoid" => Ok(Self::Sigmoid),
            "argmax" => {
                Ok(Self::ArgMax { axis: field("axis", lexer)?, last: field("last", lexer)? })
            }
            "reshape" => Ok(Self::Reshape { shape: field::<Shape>("shape", lexer)? }),
            other => Err(lexer.error(format!("unknown clear operation `{other}`"))),
        }
    }
}

/// `name value`.
pub(super) fn field<T: Attr>(name: &str, lexer: &mut Lexer<'_>) -> Result<T, ParseError> {
    lexer.keyword(name)?;
    T::parse(lexer)
}
