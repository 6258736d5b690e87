//! The text form shared by all levels: `%2 = rescale %0 by 12 mask m0 : masked<25>[4x4]`.
//!
//! A line is a result, a mnemonic, operands, `name value` pairs for the fields of the operation, and
//! the result's type. The `ops!` macro declares an operation enum together with both directions of
//! this form, so that the two cannot drift apart.

mod attr;
mod lexer;
mod ops;

pub use attr::Attr;
pub use lexer::{Lexer, ParseError};
pub(crate) use ops::ops;

/// An operation enum that prints and parses its mnemonic and fields.
pub trait OpText: Sized {
    /// The word that names the operation.
    fn mnemonic(&self) -> &'static str;

    /// Appends ` name value` for every field.
    fn print_fields(&self, out: &mut String);

    /// Reads the fields of the operation called `mnemonic`.
    ///
    /// # Errors
    /// The word is unknown, or a field is missing or malformed.
    fn parse_fields(mnemonic: &str, lexer: &mut Lexer<'_>) -> Result<Self, ParseError>;
}
