//! Types of the nn level.

use crate::shape::Shape;
use crate::text::{Attr, Lexer, ParseError};
use std::fmt;

/// Who may know a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Visibility {
    /// Everybody: part of the graph.
    Public,
    /// The weights' owner (or everybody, where the plan says that weights are public).
    Weight,
    /// Nobody: depends on an input.
    Secret,
}

impl Visibility {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Weight => "weight",
            Self::Secret => "secret",
        }
    }
}

/// A closed interval of reals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Least value.
    pub lo: f64,
    /// Greatest value.
    pub hi: f64,
}

impl Range {
    /// The largest magnitude in the interval.
    pub fn magnitude(&self) -> f64 {
        self.lo.abs().max(self.hi.abs())
    }

    /// The smallest interval that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }
}

/// A tensor of reals: `secret[1x3x4x4] in -1.5..2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ty {
    /// Who may know it.
    pub visibility: Visibility,
    /// Extents.
    pub shape: Shape,
    /// Calibrated range of its values, once known.
    pub range: Option<Range>,
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.visibility.word(), self.shape)?;
        match self.range {
            Some(Range { lo, hi }) => write!(f, " in [{lo}, {hi}]"),
            None => Ok(()),
        }
    }
}

impl Attr for Ty {
    fn print(&self, out: &mut String) {
        out.push_str(&self.to_string());
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let (visibility, shape) = (Visibility::parse(lexer)?, lexer.shape()?);
        let range = if lexer.try_keyword("in") {
            let [lo, hi] = <[f64; 2]>::parse(lexer)?;
            Some(Range { lo, hi })
        } else {
            None
        };
        Ok(Self { visibility, shape, range })
    }
}
