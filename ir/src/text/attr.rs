//! Values that appear as fields of operations.

use super::{Lexer, ParseError};
use std::fmt::Write as _;

/// A field value with a text form that reads back as itself.
pub trait Attr: Sized {
    /// Appends the text form.
    fn print(&self, out: &mut String);

    /// Reads the text form.
    ///
    /// # Errors
    /// The next token is not of this form.
    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError>;
}

macro_rules! number {
    ($($t:ty),*) => { $(
        impl Attr for $t {
            fn print(&self, out: &mut String) {
                let _ = write!(out, "{self}");
            }

            fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
                lexer.number()
            }
        }
    )* };
}
number!(u8, u16, u32, u64, usize, i16, i32, i64, f64);

impl Attr for bool {
    fn print(&self, out: &mut String) {
        let _ = write!(out, "{self}");
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        match lexer.word()? {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(lexer.error(format!("expected true or false, found `{other}`"))),
        }
    }
}

impl Attr for String {
    fn print(&self, out: &mut String) {
        let _ = write!(out, "{self:?}");
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        lexer.quoted()
    }
}

impl<T: Attr> Attr for Vec<T> {
    fn print(&self, out: &mut String) {
        out.push('[');
        for (i, item) in self.iter().enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            item.print(out);
        }
        out.push(']');
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        lexer.punct("[")?;
        let mut items = Vec::new();
        while !lexer.try_punct("]") {
            if !items.is_empty() {
                lexer.punct(",")?;
            }
            items.push(T::parse(lexer)?);
        }
        Ok(items)
    }
}

impl<T: Attr + Copy + Default, const N: usize> Attr for [T; N] {
    fn print(&self, out: &mut String) {
        self.to_vec().print(out);
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        let items = Vec::<T>::parse(lexer)?;
        let found = items.len();
        items.try_into().map_err(|_| lexer.error(format!("expected {N} items, found {found}")))
    }
}

impl<T: Attr> Attr for Option<T> {
    fn print(&self, out: &mut String) {
        match self {
            Some(value) => value.print(out),
            None => out.push_str("none"),
        }
    }

    fn parse(lexer: &mut Lexer<'_>) -> Result<Self, ParseError> {
        if lexer.try_keyword("none") { Ok(None) } else { T::parse(lexer).map(Some) }
    }
}
