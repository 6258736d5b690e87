//! Types of the masked level.

use crate::shape::Shape;
use crate::text::{Attr, Lexer, ParseError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a tensor is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Every compute party knows `D = x + L`; the mask `L` is shared.
    Masked,
    /// Additive shares, one per compute party; whatever follows opens them.
    Shares,
    /// A parameter of the weights' owner, masked once per deployment.
    Weight,
    /// A constant of the graph that everybody knows.
    Public,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Masked, Self::Shares, Self::Weight, Self::Public];

    fn word(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Shares => "shares",
            Self::Weight => "weight",
            Self::Public => "public",
        }
    }
}

/// A tensor of ring elements: `masked<25q12>[4x4]` is in `Z_2^25` with 12 fractional bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ty {
    /// How it is held.
    pub kind: Kind,
    /// Bits of the ring, 1 to 64.
    pub ring: u8,
    /// Fractional bits: the real value is the ring element, read as a signed integer, times `2^-frac`.
    pub frac: i16,
    /// Extents.
    pub shape: Shape,
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, ring, frac, shape } = self;
        match frac {
            0 => write!(f, "{}<{ring}>{shape}", kind.word()),
            _ => write!(f, "{}<{ring}q{frac}>{shape}", kind.word()),
        }
    }
}

impl Attr for Ty {
    fn print(&self, out: &mut String) {
        out.push_str(&self.to_string());
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let word = lexer.word()?;
        let kind = Kind::ALL.into_iter().find(|k| k.word() == word);
        let kind = kind.ok_or_else(|| lexer.error("expected masked, shares, weight or public"))?;
        lexer.punct("<")?;
        let ring = lexer.prefixed("")?;
        let ring = u8::try_from(ring).ok().filter(|r| (1..=64).contains(r));
        let ring = ring.ok_or_else(|| lexer.error("a ring has 1 to 64 bits"))?;
        let frac = if lexer.try_punct("q") { lexer.number()? } else { 0 };
        lexer.punct(">")?;
        Ok(Self { kind, ring, frac, shape: lexer.shape()? })
    }
}
