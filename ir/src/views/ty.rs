//! Types of the views level: who knows a value, and what its elements are.

use crate::shape::Shape;
use crate::text::{Attr, Lexer, ParseError};
use std::fmt;

/// Who knows a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// Everybody, the dealer included: constants of the graph, public weights.
    Public,
    /// Every compute party, not the dealer: opened values.
    Delta,
    /// Each compute party its own share, the dealer the total: masks and dealt values.
    Mask,
    /// Each compute party its own share.
    Share,
    /// `P_0` the value, the other parties' shares are zero.
    Share0,
    /// The dealer alone.
    Dealt,
}

impl View {
    const ALL: [Self; 6] =
        [Self::Public, Self::Delta, Self::Mask, Self::Share, Self::Share0, Self::Dealt];

    fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Delta => "delta",
            Self::Mask => "mask",
            Self::Share => "share",
            Self::Share0 => "share0",
            Self::Dealt => "dealt",
        }
    }
}

/// What the elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Elem {
    /// Integers modulo `2^k`, shared by addition.
    Ring(u8),
    /// Bits, shared by exclusive or.
    Bit,
}

impl Elem {
    /// Bits per element when packed.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Ring(k) => k,
            Self::Bit => 1,
        }
    }
}

/// A tensor in a view: `delta<25>[4x4]`, `mask<bit>[4x4]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ty {
    /// Who knows it.
    pub view: View,
    /// Its elements.
    pub elem: Elem,
    /// Extents.
    pub shape: Shape,
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.elem {
            Elem::Ring(k) => write!(f, "{}<{k}>{}", self.view.word(), self.shape),
            Elem::Bit => write!(f, "{}<bit>{}", self.view.word(), self.shape),
        }
    }
}

impl Attr for Ty {
    fn print(&self, out: &mut String) {
        out.push_str(&self.to_string());
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let word = lexer.word()?;
        let view = View::ALL.into_iter().find(|v| v.word() == word);
        let view = view.ok_or_else(|| lexer.error("expected a view: public, delta, mask, ..."))?;
        lexer.punct("<")?;
        let elem = if lexer.try_keyword("bit") {
            Elem::Bit
        } else {
            let k = u8::try_from(lexer.prefixed("")?).ok().filter(|k| (1..=64).contains(k));
            Elem::Ring(k.ok_or_else(|| lexer.error("a ring has 1 to 64 bits"))?)
        };
        lexer.punct(">")?;
        Ok(Self { view, elem, shape: lexer.shape()? })
    }
}
